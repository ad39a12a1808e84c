package cni

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/guard"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// guards knows what the host needs. tables are the link's, nil where no guard asks
// for them.
func (o *operation) guards(tables *netdev.Tables) guard.Guard {
	return guard.Guard{Host: o.host, Node: o.Node, Proc: o.Proc, RDMA: o.hostRDMA, Tables: tables}
}

// guard refuses a link that the host needs, unless "force" is set: why is the
// reason, "" for none.
func (o *operation) guard(ctx context.Context, link netlink.Link, why func(context.Context, netlink.Link) (string, error)) error {
	if o.config.Force {
		return nil
	}
	reason, err := why(ctx, link)
	if err != nil {
		return fail(codeGuard, link.Attrs().Name, "find out whether the host needs it", err, `"force": true moves it all the same`)
	}
	if reason != "" {
		return fail(codeGuard, link.Attrs().Name, reason, nil, `"force": true moves it all the same; nothing was changed`)
	}
	return nil
}

// guardRDMA refuses a netdev whose RDMA device the host needs.
func (o *operation) guardRDMA(link netlink.Link, device *rdma.Device) error {
	if device == nil {
		return nil
	}
	return o.guard(o.ctx, link, func(_ context.Context, link netlink.Link) (string, error) {
		return o.guards(nil).Device(link, *device)
	})
}

// askHostwide asks what the kernel goes through all of the host for, and so is
// asked once for all NICs of an ADD and not for each. What takes longest is asked
// in parallel with the other checks; the transfers' functions wait for it.
func (o *operation) askHostwide(all []*transfer) error {
	tables, err := o.host.Tables(o.ctx, linksOf(all)...)
	if err != nil {
		return fail(codeMove, all[0].nic.link.Attrs().Name, "read the NIC's state", err, "try again")
	}
	var guarded []*transfer
	var ofGuarded []*netdev.Tables
	for i, t := range all {
		t.tables = tables[i]
		if !t.config.Force {
			guarded, ofGuarded = append(guarded, t), append(ofGuarded, tables[i])
		}
	}
	if len(guarded) == 0 {
		return nil
	}
	g := o.guards(nil)
	addresses := o.meanwhile(func() ([]string, error) { return g.Addresses(o.ctx, ofGuarded...) })
	// The way back deletes what is on top of a NIC; this is for one that came back
	// another way.
	survey := o.meanwhile(func() ([]string, error) {
		ctx, cancel := context.WithTimeout(o.ctx, surveyTimeout)
		defer cancel()
		return g.Elsewhere(ctx, linksOf(guarded)...), nil
	})
	for i, t := range guarded {
		t.usesAddress = func(context.Context, netlink.Link) (string, error) { return answer(i, addresses) }
		t.hasUppersElsewhere = func(context.Context, netlink.Link) (string, error) { return answer(i, survey) }
	}
	return nil
}

// linksOf are the NICs, which are on the host yet.
func linksOf(all []*transfer) (links []netlink.Link) {
	for _, t := range all {
		links = append(links, t.nic.link)
	}
	return links
}

// meanwhile asks in parallel; the function that it returns waits for the answers, and
// so does the end of the operation.
func (o *operation) meanwhile(ask func() ([]string, error)) (wait func() ([]string, error)) {
	wait = sync.OnceValues(ask)
	o.asking.Go(func() { _, _ = wait() })
	return wait
}

// answer is one of several.
func answer(i int, all func() ([]string, error)) (string, error) {
	answers, err := all()
	if err != nil {
		return "", err
	}
	return answers[i], nil
}

// surveyTimeout bounds the look into all namespaces, where somebody may be slow
// to answer.
const surveyTimeout = 500 * time.Millisecond

// uppers writes down what is on top of a NIC, on the host and elsewhere, which is to
// stay when the NIC comes back. Only with "force" can there be any.
func (o *operation) uppers(link netlink.Link, state *netdev.State) error {
	state.Uppers = []string{}
	if !o.config.Force {
		return nil
	}
	uppers, err := o.host.Uppers(o.ctx, link)
	if err == nil {
		ctx, cancel := context.WithTimeout(o.ctx, surveyTimeout)
		defer cancel()
		state.Stacked, err = o.host.Stacked(ctx, link)
	}
	if err != nil {
		return fail(codeMove, link.Attrs().Name, "look for what is on top of it", err, "try again")
	}
	for _, u := range uppers {
		state.Uppers = append(state.Uppers, u.Name)
	}
	return nil
}

// refuseLower refuses a NIC that another pod's NIC is on, a macvlan or a VLAN, also
// with "force": what the host needs is its administrator's to take, and not what
// another pod has.
func (o *operation) refuseLower(of target) error {
	link := of.link.Attrs()
	r := o.holderIn(of.records, func(r *attachment.Record) bool {
		id := r.NIC.Netdev
		return !id.Physical() && id.Kind != "veth" && id.Lower == link.Index && !id.LowerAway
	})
	if r == nil {
		return nil
	}
	return fail(codeGuard, link.Name, fmt.Sprintf("the %s %s is on top of it, held by %s", r.NIC.Netdev.Kind, r.Host.Name, r.Holder()), nil,
		`the pod has to end first, also with "force"; nothing was changed`)
}
