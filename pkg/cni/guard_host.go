package cni

import (
	"context"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
)

// servesPod: the link is the host's end of another pod's interface. Whoever has
// it sees, and answers for, that pod's traffic. Its peer is in a namespace that a
// runtime named, or, as routed networks do (Calico, Cilium), the host has a route
// to the one address that is behind it.
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
	routes, err := o.host.MainRoutes(o.ctx)
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

// startSurvey refuses a NIC that something in another namespace is on top of, as
// an earlier pod may have put it there. The way back deletes such things; this
// is for a NIC that came another way. To look takes some ten microseconds for
// each namespace of the node; so it is done beside the other checks, and the
// function that is returned waits.
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

// startGuardOfAddresses refuses a NIC by whose addresses the host talks with
// others, or waits for them: the kubelet with the API server, a file system with
// its storage. To ask takes the kernel some milliseconds, for it goes through all connections;
// so it is done beside the other checks, and the function that is returned waits.
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
