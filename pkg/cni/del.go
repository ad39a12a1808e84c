package cni

import (
	"context"
	"errors"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/roce-k8s/roce-k8s/pkg/delegate"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// del ends an attachment. Nothing that is missing is an error: not the
// namespace, the NIC, the record, or a part of the configuration, because the
// record has the one that counts.
func (p *Plugin) del(args *skel.CmdArgs) error {
	c, err := readConfig(args.StdinData)
	if err != nil {
		p.Log.Warn("continuing with what could be read of the network configuration", "err", err)
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
	defer o.settleOwed()
	r, err := o.read(o.id())
	if err != nil {
		return err
	}
	if r == nil {
		if err := o.refuseHidden(); err != nil {
			return err
		}
		return o.detachUnrecorded()
	}
	nicLock, err := o.lockNICOf(r)
	if err != nil {
		return err
	}
	defer nicLock.Unlock()
	if err := o.release(r); err != nil || len(r.Config) > 0 {
		return err
	}
	return o.detachUnrecorded() // see freeFailed
}

// refuseHidden refuses a DEL without a record while the node's policy cannot be
// used and the pod has such an interface: the record may be in the state folder
// that the policy names. To say that all is done would lose the NIC, and free an
// address that it has.
func (o *operation) refuseHidden() error {
	if o.lawless == nil || o.args.Netns == "" {
		return nil
	}
	pod, err := netdev.OpenNamespace(o.args.Netns)
	if err != nil {
		return nil // it is gone, and with it the interface
	}
	defer pod.Close()
	link, err := pod.LinkNamed(o.args.IfName)
	if err == nil && link == nil {
		return nil
	}
	return fail(codeReturn, o.args.IfName, "the node's policy may name another state folder, with the record of it", errors.Join(o.lawless, err),
		"correct the policy; DEL will try again")
}

// detachUnrecorded is a DEL without a record: a second DEL, or one after an ADD
// that never got that far. Nothing says that a NIC in the pod is ours, however
// much it looks like the configured one: another plugin may have put it there.
// So no NIC is touched; the address is freed.
//
// An IPAM plugin that is not there, or that cannot read the configuration, has
// allocated none.
func (o *operation) detachUnrecorded() error {
	ctx, cancel := context.WithTimeout(o.ctx, ipamTimeout)
	defer cancel()
	err := o.execIPAMDel(ctx)
	switch {
	case delegate.NotFound(err) || delegate.RefusedConfig(err):
		o.Log.Warn("no address can have been allocated", "ipam", o.config.IPAM.Type, "err", err)
	case err != nil:
		return fail(codeIPAM, "", "free the address", err, "see the IPAM plugin's own documentation and log")
	}
	if err := o.journal.Remove(o.id()); err != nil {
		return fail(codeJournal, "", "clear the journal", err, "is the state folder writable?")
	}
	return nil
}
