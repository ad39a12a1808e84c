package cni

import (
	"fmt"
	"slices"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
)

// settleNames gives NICs that came home under another name their own, where
// that is free by now. It is nobody's command, so nothing of it is an error.
func (o *operation) settleNames() {
	owed, err := o.journal.Owed()
	if err != nil {
		o.Log.Warn("cannot look for names that are owed", "err", err)
	}
	for _, r := range owed {
		if err := o.settleName(r); err != nil {
			o.logFor(r).Warn("the NIC cannot have its own name yet", "err", err)
		}
	}
}

func (o *operation) settleName(r *attachment.Record) error {
	lock, err := o.lockNICOf(r)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	return o.way(r).Settle(o.ctx, r)
}

// refuseOwedName refuses a name that is a NIC's which does not have it: what has
// it is not what the network means.
func (o *operation) refuseOwedName(sel selector) error {
	if sel.key != "device" {
		return nil
	}
	owed, err := o.journal.Owed()
	if err != nil {
		return fail(codeJournal, sel.value, "look for names that are owed", err, "is the state folder readable?")
	}
	for _, r := range owed {
		if r.Host.Name != sel.value && !slices.Contains(r.Host.AltNames, sel.value) {
			continue
		}
		link, err := o.host.Link(o.ctx, r.NIC.Netdev, o.host)
		if err != nil {
			return fail(codeNICNotFound, sel.value, "find the NIC", err, "try again")
		}
		if link == nil || link.Attrs().Name == sel.value || slices.Contains(link.Attrs().AltNames, sel.value) {
			continue // a pod has it, or there is a note left
		}
		return fail(codeNICNotFound, sel.value, fmt.Sprintf("the NIC is on the host as %s, for another link has its name", link.Attrs().Name), nil,
			"rename or remove that one; `ip link show "+sel.value+"` shows it. Nothing was changed")
	}
	return nil
}
