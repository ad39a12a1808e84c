package cni

import (
	"fmt"
	"slices"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/netmanager"
)

// settleOwed gives NICs that came back what is owed to them by now. No command
// asked for it, so it returns no error.
func (o *operation) settleOwed() {
	owed, err := o.journal.Owed()
	if err != nil {
		o.Log.Warn("cannot list what is owed to NICs", "err", err)
	}
	attachment.SettleDue(o.ctx, owed, o.way)
}

// manager tells who configures a NIC on the host. state gets what is still owed
// to the NIC: its name, and, until its manager has had its time, what the host
// had configured, of which only a part may be in place. settled is to be called
// when the new record has that.
func (o *operation) manager(link netlink.Link, state *netdev.State) (manager netmanager.Manager, settled func() error, err error) {
	name := link.Attrs().Name
	owed, err := o.journal.Owed()
	if err != nil {
		return netmanager.None, nil, fail(codeJournal, name, "look for what is owed to the NIC", err, "is the state folder readable?")
	}
	for _, r := range owed {
		if !r.NIC.Netdev.IsOnHost(link) {
			continue
		}
		state.Name, state.AltNames = r.Host.Name, r.Host.AltNames
		if time.Now().Before(r.Due()) {
			state.Addresses, state.Routes, manager = r.Host.Addresses, r.Host.Routes, r.Manager
		} else {
			manager = o.Managers.Of(name, link.Attrs().Index)
		}
		if r.Manager == netmanager.None { // what the host has not taken yet
			*state = state.With(r.Host)
		}
		return manager, func() error { return o.journal.Settle(r) }, nil
	}
	return o.Managers.Of(name, link.Attrs().Index), func() error { return nil }, nil
}

// refuseOwedName refuses a name that belongs to a NIC which does not have it at
// present: the link that has it is not the one that the network means.
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
			continue // a pod has it, or the note is a leftover
		}
		return fail(codeNICNotFound, sel.value, fmt.Sprintf("the NIC is on the host as %s, because another link has its name", link.Attrs().Name), nil,
			"rename or remove that link, which `ip link show "+sel.value+"` shows; nothing was changed")
	}
	return nil
}
