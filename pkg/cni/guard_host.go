package cni

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// servesPod: the link is the host's end of another pod's interface. Whoever has
// it sees that pod's traffic, and can answer it. Its peer is in a namespace
// that a runtime named, or, with routed networks (Calico, Cilium), the host has
// a route through it to a single address.
func (o *operation) servesPod(link netlink.Link) (string, error) {
	if link.Type() != "veth" || link.Attrs().NetNsID < 0 {
		return "", nil
	}
	sandbox, err := o.host.SandboxNumbered(link.Attrs().NetNsID)
	if err != nil {
		return "", err
	}
	if sandbox != "" {
		return "it is the host's end of an interface of the pod in " + sandbox, nil
	}
	routes, err := o.host.AllRoutes(o.ctx)
	if err != nil {
		return "", err
	}
	for _, r := range routes {
		if r.LinkIndex != link.Attrs().Index || r.Dst == nil || r.Gw != nil {
			continue
		}
		if ones, bits := r.Dst.Mask.Size(); ones == bits {
			return fmt.Sprintf("it is the host's end of an interface of the pod with the address %s", r.Dst.IP), nil
		}
	}
	return "", nil
}

// startSurvey refuses a NIC with something on top of it in another namespace,
// where an earlier pod may have put it. The way back deletes such things; this
// is for a NIC that came back another way. Looking takes some ten microseconds
// for each namespace of the node, so it is done in parallel with the other
// checks; the returned function waits for the answer.
func (o *operation) startSurvey(link netlink.Link) (wait func() error) {
	if o.config.Force {
		return func() error { return nil }
	}
	ctx, cancel := context.WithTimeout(o.ctx, surveyTimeout)
	done := make(chan error, 1)
	go func() {
		defer cancel()
		done <- o.guard(link, func(link netlink.Link) (string, error) {
			if uppers := o.host.UppersElsewhere(ctx, link); len(uppers) > 0 {
				return uppers[0].String() + " in another namespace is on top of it", nil
			}
			return "", nil
		})
	}()
	return func() error { return <-done }
}

// surveyTimeout bounds the look into all namespaces, where somebody may be slow
// to answer.
const surveyTimeout = 500 * time.Millisecond

// startGuardOfAddresses refuses a NIC with addresses that the host has
// connections from or listens on: those of the kubelet to the API server, of a
// file system to its storage. Asking takes some milliseconds, because the
// kernel goes through all connections, so it is done in parallel with the other
// checks; the returned function waits for the answer.
func (o *operation) startGuardOfAddresses(link netlink.Link) (wait func() error) {
	if o.config.Force {
		return func() error { return nil }
	}
	done := make(chan error, 1)
	go func() { done <- o.guard(link, o.usesAddress) }()
	return func() error { return <-done }
}

func (o *operation) usesAddress(link netlink.Link) (string, error) {
	addresses, err := o.host.Addresses(o.ctx, link)
	if err != nil {
		return "", err
	}
	var tunnels []netdev.Tunnel
	if len(addresses) > 0 {
		if tunnels, err = o.host.Tunnels(o.ctx); err != nil {
			return "", err
		}
	}
	for _, t := range tunnels {
		if slices.Contains(addresses, t.From) {
			return fmt.Sprintf("%s sends from its address %s", t.Upper, t.From), nil
		}
	}
	for _, a := range addresses {
		connections, err := o.host.Connections(o.ctx, a)
		if err != nil {
			return "", err
		}
		if len(connections) > 0 {
			return fmt.Sprintf("the host uses its address %s: %s", a, connections[0]), nil
		}
	}
	return "", nil
}
