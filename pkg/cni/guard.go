package cni

import (
	"context"
	"time"

	"github.com/vishvananda/netlink"

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

// startGuardOfAddresses asks for the use of the NIC's addresses in parallel with
// the other checks; the returned function waits for the answer.
func (o *operation) startGuardOfAddresses(link netlink.Link, tables *netdev.Tables) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- o.guard(o.ctx, link, o.guards(tables).Addresses) }()
	return func() error { return <-done }
}

// startSurvey does the same for what is on top of the NIC in other namespaces. The
// way back deletes such things; this is for a NIC that came back another way.
func (o *operation) startSurvey(link netlink.Link) (wait func() error) {
	ctx, cancel := context.WithTimeout(o.ctx, surveyTimeout)
	done := make(chan error, 1)
	go func() {
		defer cancel()
		done <- o.guard(ctx, link, o.guards(nil).Elsewhere)
	}()
	return func() error { return <-done }
}

// surveyTimeout bounds the look into all namespaces, where somebody may be slow
// to answer.
const surveyTimeout = 500 * time.Millisecond

// uppers are the names of what is on top of a NIC. Only with "force" can there
// be any.
func (o *operation) uppers(link netlink.Link) ([]string, error) {
	names := []string{}
	if !o.config.Force {
		return names, nil
	}
	uppers, err := o.host.Uppers(o.ctx, link)
	if err != nil {
		return nil, fail(codeMove, link.Attrs().Name, "look for what is on top of it", err, "try again")
	}
	for _, u := range uppers {
		names = append(names, u.Name)
	}
	return names, nil
}
