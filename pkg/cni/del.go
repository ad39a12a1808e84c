package cni

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// del ends an attachment. Nothing that is missing is an error: not the
// namespace, not the NIC, not the record, nor a part of the configuration: the
// record has the one that counts.
func (p *Plugin) del(args *skel.CmdArgs) error {
	c, err := readConfig(args.StdinData)
	if err != nil {
		p.Log.Warn("going on with what can be read of the network configuration", "err", err)
	}
	o, err := p.begin(args, c)
	if err != nil {
		return err
	}
	defer o.end()
	return o.detach()
}

func (o *operation) detach() error {
	lock, err := o.lockAttachment(o.id())
	if err != nil {
		return err
	}
	defer lock.Unlock()
	r, err := o.read(o.args.ContainerID, o.args.IfName)
	if err != nil {
		return err
	}
	if r == nil {
		return o.detachUnrecorded()
	}
	nicLock, err := o.lockNICOf(r)
	if err != nil {
		return err
	}
	defer nicLock.Unlock()
	return o.release(r)
}

// detachUnrecorded is a DEL without a record: a second DEL, one after an ADD
// that never came so far, or the journal is lost. The address is freed in any
// case. A NIC is taken back only if what says that it is the configured one
// could not have been written by the pod.
func (o *operation) detachUnrecorded() error {
	var errs []error
	if link, pod := o.unrecordedNIC(); link != nil {
		defer pod.Close()
		if err := o.returnUnrecordedRDMA(pod, link); err != nil {
			errs = append(errs, fail(codeReturn, o.config.Device, "give its RDMA device back to the host", err, "see `rdma dev` in the pod and on the host"))
		}
		if err := o.host.Restore(o.ctx, pod, link, o.guessState(link), o.Log); err != nil {
			errs = append(errs, fail(codeReturn, o.config.Device, "give it back to the host", err, "see `ip link` in the pod and on the host"))
		}
	}
	ctx, cancel := context.WithTimeout(o.ctx, releaseTimeout)
	defer cancel()
	if err := o.execIPAMDel(ctx); err != nil {
		errs = append(errs, fail(codeIPAM, "", "free the address", err, "see the IPAM plugin's own documentation and log"))
	}
	if err := o.journal.Remove(o.args.ContainerID, o.args.IfName); err != nil {
		errs = append(errs, fail(codeJournal, "", "clear the journal", err, "is the state folder writable?"))
	}
	if len(errs) > 0 {
		return joined(errs)
	}
	return nil
}

// returnUnrecordedRDMA brings back the RDMA device that sits on a netdev in the
// pod, in exclusive mode.
func (o *operation) returnUnrecordedRDMA(pod *netdev.Namespace, link netlink.Link) error {
	host, mode, err := o.rdmaMode()
	if err != nil || mode != rdma.Exclusive {
		return nil // without RDMA there is nothing to bring back
	}
	node, done, err := rdma.NodeIn(pod.NS, o.Node.Dev)
	if err != nil {
		return err
	}
	defer done()
	devices, err := node.Devices()
	if err != nil {
		return err
	}
	lock, err := o.journal.LockRDMAMoves(o.ctx, o.who())
	if err != nil {
		return err
	}
	defer lock.Unlock()
	there, err := rdma.Open(pod.NS)
	if err != nil {
		return err
	}
	defer there.Close()
	for _, d := range devices {
		if !slices.Contains(d.Netdevs, link.Attrs().Name) {
			continue
		}
		device, ok, err := there.Find(d)
		if !ok || err != nil {
			return err
		}
		return there.Move(device, host)
	}
	return nil
}

// unrecordedNIC finds the configured NIC in the pod without the journal's
// help: by an address of its hardware, or, when the configuration has only a
// name, as the one physical NIC in the pod that no other record claims.
func (o *operation) unrecordedNIC() (netlink.Link, *netdev.Namespace) {
	sel, err := o.config.selector()
	if err != nil {
		return nil, nil
	}
	pod, err := netdev.OpenNamespace(o.args.Netns)
	if err != nil || pod.ID == o.host.ID {
		if err != nil && o.args.Netns != "" && !errors.Is(err, fs.ErrNotExist) {
			o.Log.Warn("cannot look for an unrecorded NIC in the pod", "netns", o.args.Netns, "err", err)
		}
		return nil, nil
	}
	links, err := pod.Links(o.ctx)
	if err == nil {
		links = o.unclaimed(links)
	}
	var found []netlink.Link
	for _, link := range links {
		id := netdev.IdentityOf(link)
		r := &attachment.Record{NIC: attachment.NIC{Netdev: id, Address: id.Parent}}
		if id.Physical() && (sel.key == "device" || sel.isOf(r)) {
			found = append(found, link)
		}
	}
	if len(found) != 1 {
		if len(found) > 1 {
			o.Log.Warn("no journal record, and several NICs in the pod could be the configured one; leaving them to the kernel", "nic", sel.value)
		}
		pod.Close()
		return nil, nil
	}
	return found[0], pod
}

// unclaimed drops the links that other records claim.
func (o *operation) unclaimed(links []netlink.Link) []netlink.Link {
	var free []netlink.Link
	for _, link := range links {
		if r, err := o.holder(func(r *attachment.Record) bool { return r.NIC.Netdev.Matches(link) }); err == nil && r == nil {
			free = append(free, link)
		}
	}
	return free
}

// guessState is the host state of a NIC without a record: the configured name
// and what it has now.
func (o *operation) guessState(link netlink.Link) netdev.State {
	a := link.Attrs()
	name := cmp.Or(o.config.Device, a.Name)
	others := slices.DeleteFunc(slices.Clone(a.AltNames), func(alt string) bool { return alt == name })
	return netdev.State{Name: name, MTU: a.MTU, MAC: a.PermHWAddr.String(), Up: true, Alias: a.Alias, AltNames: others}
}
