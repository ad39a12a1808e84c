package cni

import (
	"context"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/roce-k8s/roce-k8s/pkg/delegate"
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
