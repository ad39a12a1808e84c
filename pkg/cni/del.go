package cni

import (
	"errors"
	"slices"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/claim"
	"github.com/roce-k8s/roce-k8s/pkg/delegate"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/policy"
)

// del ends what a call attached. Nothing that is missing is an error: not the
// namespace, the NIC, the record, or a part of the configuration, because the
// record has the one that counts.
func (p *Plugin) del(args *skel.CmdArgs) error {
	c, err := readConfig(args.StdinData)
	if err != nil {
		p.Log.Warn("continuing with what could be read of the network configuration", "err", err)
	}
	var claims []claim.Claim
	if c.Claims {
		stateDir, err := p.stateDir()
		if err != nil {
			return err
		}
		if claims, err = claimsBelow(stateDir, args); err != nil {
			p.Log.Warn("what is allotted to the pod cannot be read; the journal says what ends", "err", err)
		}
		if nothing, err := p.hasNothing(stateDir, args, claims); nothing || err != nil {
			return err
		}
	}
	o, err := p.begin(args, c)
	if err != nil {
		return err
	}
	defer o.end()
	o.claims = claims
	return o.detach()
}

func (o *operation) detach() error {
	lock, err := o.lockContainer(o.args.ContainerID)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	defer o.settleOwed()
	records, err := o.ofCall()
	if err != nil {
		return err
	}
	if len(records) == 0 {
		if err := o.refuseHidden(); err != nil {
			return err
		}
		return o.detachUnrecorded(o.unrecorded(o.mostListed()))
	}
	if failed := together(records, o.releaseAlone); len(failed) > 0 {
		return joined(failed)
	}
	if slices.ContainsFunc(records, func(r *attachment.Record) bool { return len(r.Config) == 0 }) {
		return o.detachUnrecorded(o.unrecorded(len(records))) // see freeFailed
	}
	return o.clearUnwritten()
}

// refuseHidden refuses a DEL without a record while the node's policy cannot be
// used and the pod has such an interface: the record may be in the state folder
// that the policy names. To say that all is done would lose the NIC, and free an
// address that it has.
func (o *operation) refuseHidden() error {
	if o.lawless == nil || o.config.Claims {
		return nil
	}
	pod, err := netdev.OpenNamespace(o.args.Netns)
	if err != nil {
		return nil // it is gone, as its path may be, and with it the interface
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
// So no NIC is touched; the addresses are freed.
//
// An IPAM plugin that is not there, that the policy does not allow, or that cannot
// read the configuration, has allocated none.
func (o *operation) detachUnrecorded(nics []*operation) error {
	if err := first(together(nics, (*operation).freeUnrecorded)); err != nil {
		return err
	}
	return o.clearUnwritten()
}

// mostListed is how many NICs an ADD can have had of "devices": none of a list that
// it refuses. What a pattern means is seen on the node.
func (o *operation) mostListed() int {
	if len(o.config.Devices) > mostNICs {
		return 0
	}
	names, err := o.expand(o.config.Devices)
	if err != nil {
		return len(o.config.Devices)
	}
	return min(len(names), mostNICs)
}

// unrecorded are the operations on the NICs that the call may have had.
func (o *operation) unrecorded(several int) (nics []*operation) {
	if o.config.Claims {
		nics, err := o.claimed()
		if err != nil {
			o.Log.Warn("continuing with what could be read of the network configuration", "err", err)
		}
		return nics
	}
	for i := range max(1, several) {
		nics = append(nics, o.forNIC(numbered(o.args.IfName, i), o.config))
	}
	return nics
}

// freeUnrecorded frees the address of an attachment without a record. If there is
// one, it is another call's, and so is the address.
func (o *operation) freeUnrecorded() error {
	if r, err := o.read(o.id()); r != nil || err != nil {
		return err
	}
	err := o.frees.ask(o.ctx, o.config.IPAM.Type, o.execIPAMDel)
	var denied *policy.Denied
	switch {
	case errors.As(err, &denied) || delegate.NotFound(err) || delegate.RefusedConfig(err):
		o.Log.Warn("no address can have been allocated", "ipam", o.config.IPAM.Type, "err", err)
	case err != nil:
		return fail(codeIPAM, "", "free the address", err, "see the IPAM plugin's own documentation and log")
	}
	return nil
}

// clearUnwritten removes what a crash left of the container's records that were
// never written.
func (o *operation) clearUnwritten() error {
	unwritten, err := o.journal.Unwritten()
	for _, id := range unwritten {
		if err == nil && id.ContainerID == o.args.ContainerID {
			err = o.journal.Clear(id)
		}
	}
	if err != nil {
		return fail(codeJournal, "", "", err, "is the state folder writable?")
	}
	return nil
}
