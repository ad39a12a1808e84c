package cni

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// A transfer is one NIC on its way into the pod, step by step. After an error of a
// step the caller undoes what is noted.
type transfer struct {
	*operation // of this NIC alone
	nic        target
	into       *netdev.Namespace // the pod's

	// Of the host, asked for all NICs together.
	tables                          *netdev.Tables
	usesAddress, hasUppersElsewhere func(context.Context, netlink.Link) (string, error) // nil with "force"

	record  *attachment.Record
	settled func() error // what was owed to the NIC is in the record
	noted   bool         // the record is written

	subsystem *rdma.Namespace // the pod's, nil if the NIC has no RDMA device
	moved     netlink.Link    // in the pod
	address   *current.Result
	plan      plan
}

func (t *transfer) close() {
	t.subsystem.Close()
	t.rdma.Close()
}

// examine looks whether the NIC can go to the pod, and changes nothing.
func (t *transfer) examine() (err error) {
	t.record, t.settled, err = t.prepare()
	return err
}

// note writes down what is about to be moved.
func (t *transfer) note() error {
	r := t.record
	if err := t.journal.Write(r); err != nil {
		err = errors.Join(err, t.journal.Remove(r.ID()))
		return fail(codeJournal, r.Host.Name, "write down what is about to be moved", err,
			"mount the state folder "+t.policy.StateDir+", or free space on it; nothing was changed")
	}
	t.noted = true
	if err := t.settled(); err != nil {
		t.logFor(r).Warn("could not remove the note of what was owed to the NIC", "err", err)
	}
	return nil
}

// bring moves the NIC into the pod while the IPAM plugin finds an address.
func (t *transfer) bring() (err error) {
	r := t.record
	if r.NIC.RDMA != nil {
		if t.subsystem, err = rdma.Open(t.into.NS); err != nil {
			return fail(codeMoveRDMA, r.Host.Name, "look at the pod's RDMA devices", err, "try again")
		}
	}
	waitForIPAM := t.startIPAM()
	t.moved, err = t.move(r, t.nic.link, t.into, t.subsystem)
	var ipamErr error
	t.address, ipamErr = waitForIPAM(err == nil)
	if ipamErr != nil {
		t.freeFailed(r)
	}
	if err != nil {
		return err
	}
	if ipamErr != nil {
		return fail(codeIPAM, r.Host.Name, "get an address from "+t.config.IPAM.Type, ipamErr, "see the IPAM plugin's own documentation and log")
	}
	return nil
}

// equip configures the NIC as the IPAM plugin, or the host's own state, says.
func (t *transfer) equip() error {
	r := t.record
	t.plan = t.config.plan(r, t.moved, t.address)
	if t.config.KeepAddresses {
		t.address = t.plan.resultOf()
	}
	if err := t.refuseGateway(r, t.plan, t.address); err != nil {
		return err
	}
	if mtu := t.moved.Attrs().MTU; mtu < minMTU6 && slices.ContainsFunc(t.plan.addresses, netdev.Address.Is6) {
		return fail(codeConfigure, r.Host.Name, fmt.Sprintf("IPv6 needs an MTU of %d bytes, but it has %d", minMTU6, mtu), nil, `set "mtu", or raise the NIC's MTU on the host`)
	}
	if err := t.configure(r, t.into, t.moved, t.plan); err != nil {
		return err
	}
	for i, route := range t.address.Routes {
		route.Priority = t.plan.routes[i].Priority // the one it got
	}
	return nil
}

// confirm waits until the NIC is usable, and writes down that the pod has it.
func (t *transfer) confirm() error {
	r := t.record
	if r.NIC.RDMA != nil {
		err := t.settle(r, t.into, t.subsystem, t.plan)
		if err != nil && t.goesWithout(r, err) {
			err = t.goWithout(r)
		}
		if err != nil {
			return fail(codeMoveRDMA, r.Host.Name, "wait for its RDMA device in the pod", err,
				`can its driver move it to another namespace? The kernel's Soft-RoCE cannot; "rdma": "optional" attaches the NIC without it`)
		}
	}
	for _, a := range t.plan.addresses {
		r.Addresses = append(r.Addresses, a.Prefix)
	}
	r.Step = attachment.Attached
	if err := t.journal.Update(r); err != nil {
		return fail(codeJournal, r.Host.Name, "write down that the pod has it", err, "mount the state folder "+t.policy.StateDir+", or free space on it")
	}
	return nil
}

// together does something about each of several NICs at the same time, and
// returns what failed, in their order.
func together[T any](all []T, do func(T) error) []error {
	if len(all) <= 1 {
		return inTurn(all, do)
	}
	failed := make([]error, len(all))
	var doing sync.WaitGroup
	for i, one := range all {
		doing.Go(func() { failed[i] = do(one) })
	}
	doing.Wait()
	return slices.DeleteFunc(failed, func(err error) bool { return err == nil })
}

// inTurn is together, one after the other, until one fails.
func inTurn[T any](all []T, do func(T) error) []error {
	for _, one := range all {
		if err := do(one); err != nil {
			return []error{err}
		}
	}
	return nil
}

// first makes one error of those of several NICs, for an ADD, which fails with the
// first: what failed is mostly the same for all.
func first(failed []error) error {
	if len(failed) == 0 {
		return nil
	}
	var e *types.Error
	if more := len(failed) - 1; more > 0 && errors.As(failed[0], &e) {
		return types.NewError(e.Code, fmt.Sprintf("%s (and %d more)", e.Msg, more), e.Details)
	}
	return failed[0]
}
