package guard

import (
	"context"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// servesPod: the link is the host's end of another pod's interface. Whoever has
// it sees that pod's traffic, and can answer it. Its peer is in a namespace
// that a runtime named, or, with routed networks (Calico, Cilium), the host has
// a route through it to a single address.
func (g Guard) servesPod(ctx context.Context, link netlink.Link) (string, error) {
	if link.Type() != "veth" || link.Attrs().NetNsID < 0 {
		return "", nil
	}
	sandbox, err := g.Host.SandboxNumbered(link.Attrs().NetNsID)
	if err != nil {
		return "", err
	}
	if sandbox != "" {
		return "it is the host's end of an interface of the pod in " + sandbox, nil
	}
	tables, err := g.tables(ctx, link)
	if err != nil {
		return "", err
	}
	for _, r := range tables.Routes {
		if !r.Multipath && slices.Equal(r.Links, []int{link.Attrs().Index}) && r.Dst.IsSingleIP() && !r.Gateway.IsValid() {
			return fmt.Sprintf("it is the host's end of an interface of the pod with the address %s", r.Dst.Addr()), nil
		}
	}
	return "", nil
}

// Elsewhere says what is on top of a link in another namespace, where an earlier
// pod may have put it. Looking takes some ten microseconds for each namespace of
// the node.
func (g Guard) Elsewhere(ctx context.Context, link netlink.Link) (string, error) {
	if uppers := g.Host.UppersElsewhere(ctx, link); len(uppers) > 0 {
		return uppers[0].String() + " in another namespace is on top of it", nil
	}
	return "", nil
}

// Addresses says which of a link's addresses the host has connections from or
// listens on: those of the kubelet to the API server, of a file system to its
// storage. Asking takes some milliseconds, because the kernel goes through all
// connections.
func (g Guard) Addresses(ctx context.Context, link netlink.Link) (string, error) {
	tables, err := g.tables(ctx, link)
	if err != nil {
		return "", err
	}
	addresses := tables.Addresses()
	var tunnels []netdev.Tunnel
	if len(addresses) > 0 {
		if tunnels, err = g.Host.Tunnels(ctx); err != nil {
			return "", err
		}
	}
	for _, t := range tunnels {
		if slices.Contains(addresses, t.From) {
			return fmt.Sprintf("%s sends from its address %s", t.Upper, t.From), nil
		}
	}
	for _, a := range addresses {
		connections, err := g.Host.Connections(ctx, a)
		if err != nil {
			return "", err
		}
		if len(connections) > 0 {
			return fmt.Sprintf("the host uses its address %s: %s", a, connections[0]), nil
		}
	}
	return "", nil
}
