package guard

import (
	"context"
	"fmt"
	"net/netip"
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

// Elsewhere says, for each of several links, what is on top of it in another
// namespace, where an earlier pod may have put it. Looking takes some ten
// microseconds for each namespace of the node, for however many links.
func (g Guard) Elsewhere(ctx context.Context, links ...netlink.Link) []string {
	reasons := make([]string, len(links))
	all := g.Host.UppersElsewhere(ctx, links...)
	for i, link := range links {
		if uppers := all[link.Attrs().Index]; len(uppers) > 0 {
			reasons[i] = uppers[0].String() + " in another namespace is on top of it"
		}
	}
	return reasons
}

// usesAddress is Addresses for one link.
func (g Guard) usesAddress(ctx context.Context, link netlink.Link) (string, error) {
	tables, err := g.tables(ctx, link)
	if err != nil {
		return "", err
	}
	reasons, err := g.Addresses(ctx, tables)
	if err != nil {
		return "", err
	}
	return reasons[0], nil
}

// Addresses says, for each of several links, which of its addresses the host has
// connections from or listens on: those of the kubelet to the API server, of a
// file system to its storage. Asking takes some milliseconds, for however many
// links, because the kernel goes through all connections.
func (g Guard) Addresses(ctx context.Context, of ...*netdev.Tables) ([]string, error) {
	reasons := make([]string, len(of))
	var all []netip.Addr
	for _, tables := range of {
		all = append(all, tables.Addresses()...)
	}
	if len(all) == 0 {
		return reasons, nil
	}
	tunnels, err := g.Host.Tunnels(ctx)
	if err != nil {
		return nil, err
	}
	connections, err := g.Host.Connections(ctx, all)
	if err != nil {
		return nil, err
	}
	for i, tables := range of {
		reasons[i] = inUse(tables.Addresses(), tunnels, connections)
	}
	return reasons, nil
}

// inUse says what uses one of a link's addresses, "" for nothing.
func inUse(addresses []netip.Addr, tunnels []netdev.Tunnel, connections []netdev.Connection) string {
	for _, t := range tunnels {
		if slices.Contains(addresses, t.From) {
			return fmt.Sprintf("%s sends from its address %s", t.Upper, t.From)
		}
	}
	for _, a := range addresses {
		for _, c := range connections {
			if c.Local.Addr() == a {
				return fmt.Sprintf("the host uses its address %s: %s", a, c)
			}
		}
	}
	return ""
}
