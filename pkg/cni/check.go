package cni

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/claim"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// check compares the pod with what ADD answered, as far as a later plugin of the
// chain may not have changed it: "The plugin must allow for a later chained plugin
// to have modified networking resources, e.g. routes, on ADD."
// Source: CNI specification 1.1.0, section 2, CHECK.
func (p *Plugin) check(args *skel.CmdArgs) error {
	c, err := parseConfig(args.StdinData)
	if err != nil {
		return err
	}
	result := c.previous
	if result == nil {
		return invalid("CHECK without prevResult", "the runtime passes the result of the ADD")
	}
	var claims []claim.Claim
	if c.Claims {
		if claims, err = p.claimsOf(args); len(claims) == 0 || err != nil {
			return err
		}
	}
	o, err := p.begin(args, c)
	if err != nil {
		return err
	}
	defer o.end()
	o.claims = claims
	nics, err := o.answered(result)
	if err != nil {
		return err
	}
	return first(inTurn(nics, func(nic *operation) error { return nic.checkNIC(result) }))
}

// answered are the operations on the NICs that the answer to the ADD has.
func (o *operation) answered(result *current.Result) ([]*operation, error) {
	if o.config.Claims {
		return o.claimed()
	}
	nics := []*operation{o.forNIC(o.args.IfName, o.config)}
	for i := 1; o.config.Devices != nil; i++ {
		name := numbered(o.args.IfName, i)
		if _, nic := ownInterface(result, name, o.args.Netns); nic == nil {
			break
		}
		nics = append(nics, o.forNIC(name, o.config))
	}
	return nics, nil
}

func (o *operation) checkNIC(result *current.Result) error {
	r, err := o.read(o.id())
	if err != nil {
		return err
	}
	if r == nil && o.claimUID != "" {
		if taken, err := o.wasTakenOver(); taken || err != nil {
			return err
		}
	}
	if r == nil || !o.journal.Current(r) || r.Step != attachment.Attached {
		return fail(codeCheck, o.args.IfName, "the journal has no such attachment", nil, createAnew)
	}
	if err := o.checkPod(r, result); err != nil {
		return fail(codeCheck, r.Host.Name, "compare the pod with the result of the ADD", err, createAnew)
	}
	return o.checkIPAM(r)
}

func (o *operation) checkPod(r *attachment.Record, result *current.Result) error {
	pod, err := netdev.OpenNamespace(o.args.Netns)
	if err != nil {
		return err
	}
	defer pod.Close()
	link, err := pod.Link(o.ctx, r.NIC.Netdev, o.host)
	if err != nil {
		return err
	}
	if link == nil {
		return fmt.Errorf("the netdev is not in the pod")
	}
	index, want := ownInterface(result, o.args.IfName, o.args.Netns)
	if want == nil {
		return fmt.Errorf("prevResult has no interface %s in %s", o.args.IfName, o.args.Netns)
	}
	a := link.Attrs()
	switch {
	case a.Name != want.Name:
		return fmt.Errorf("the netdev is called %s, not %s", a.Name, want.Name)
	case a.Flags&net.FlagUp == 0:
		return fmt.Errorf("%s is down", a.Name)
	case want.Mac != "" && !sameMAC(want.Mac, a.HardwareAddr.String()):
		return fmt.Errorf("%s has the MAC address %s, not %s", a.Name, a.HardwareAddr, want.Mac)
	}
	if mtu := o.expectedMTU(want); mtu != 0 && mtu != a.MTU {
		return fmt.Errorf("%s has an MTU of %d, not %d", a.Name, a.MTU, mtu)
	}
	answer := &current.Result{IPs: ownAddresses(result, index), Routes: result.Routes}
	p := o.config.plan(r, link, answer)
	p.made(r.Routes)
	if err := p.check(o.ctx, pod, link); err != nil {
		return err
	}
	return o.checkRDMA(r, pod, p)
}

// expectedMTU is what the netdev's MTU must be, 0 for any: where the network
// sets none, a tuning plugin after it may, and does not write that into the
// result. Another MTU in the result is a later plugin's, which says what it did.
func (o *operation) expectedMTU(nic *current.Interface) int {
	if o.config.MTU == 0 {
		return 0
	}
	return cmp.Or(nic.Mtu, o.config.MTU)
}

func (o *operation) checkRDMA(r *attachment.Record, pod *netdev.Namespace, p plan) error {
	if r.NIC.RDMA == nil {
		return nil
	}
	subsystem, err := rdma.Open(pod.NS)
	if err != nil {
		return err
	}
	defer subsystem.Close()
	node, done, err := rdma.NodeIn(pod.NS, o.Node.Dev)
	if errors.Is(err, unix.ENOSYS) {
		o.logFor(r).Warn("the GIDs are not checked: this kernel does not show them", "err", err)
		return checkGIDs(r, subsystem, node, plan{})
	}
	if err != nil {
		return err
	}
	defer done()
	return checkGIDs(r, subsystem, node, p)
}

// noCheck is what Whereabouts answers to every CHECK. It says nothing about the
// pod, so it is not a finding.
const noCheck = "CNI CHECK method is not implemented"

func (o *operation) checkIPAM(r *attachment.Record) error {
	if o.config.IPAM.Type == "" {
		return nil
	}
	if err := o.checkIPAMType(); err != nil {
		return fail(types.ErrInvalidNetworkConfig, r.Host.Name, "", err, "only the node's administrator can change that")
	}
	ctx, cancel := context.WithTimeout(o.ctx, ipamTimeout)
	defer cancel()
	path, err := o.findIPAM()
	if err == nil && path != "" {
		err = invoke.ExecPluginWithoutResult(ctx, path, o.config.raw, o.ipamArgs("CHECK"), plugins())
	}
	if err != nil && !strings.Contains(err.Error(), noCheck) {
		return fail(codeIPAM, r.Host.Name, "check its address with "+o.config.IPAM.Type, err, "see the IPAM plugin's own documentation and log")
	}
	return nil
}
