package netdev

import (
	"context"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// operations are what this package has the netlink package do in a namespace.
type operations interface {
	RouteGet(destination net.IP) ([]netlink.Route, error)
	RuleAdd(rule *netlink.Rule) error
	RuleDel(rule *netlink.Rule) error
	NeighSet(neigh *netlink.Neigh) error
	Close()

	// Any of these may be interrupted. They are asked for below, and nowhere
	// else.
	AddrList(link netlink.Link, family int) ([]netlink.Addr, error)
	RouteListFiltered(family int, filter *netlink.Route, mask uint64) ([]netlink.Route, error)
	RuleListFiltered(family int, filter *netlink.Rule, mask uint64) ([]netlink.Rule, error)
}

// operations opens a socket for them when one is first needed; for most
// namespaces none is.
func (n *Namespace) operations() (operations, error) {
	n.opening.Lock()
	defer n.opening.Unlock()
	if n.handle == nil {
		h, err := netlink.NewHandleAt(n.at, unix.NETLINK_ROUTE)
		if err != nil {
			return nil, fmt.Errorf("open a netlink socket in %s: %w", n.Path, err)
		}
		n.handle = h
	}
	return n.handle, nil
}

func (n *Namespace) listAddresses(ctx context.Context, link netlink.Link) ([]netlink.Addr, error) {
	return listed(ctx, n, func(o operations) ([]netlink.Addr, error) { return o.AddrList(link, unix.AF_UNSPEC) })
}

func (n *Namespace) listRoutes(ctx context.Context, filter *netlink.Route, mask uint64) ([]netlink.Route, error) {
	return listed(ctx, n, func(o operations) ([]netlink.Route, error) {
		return o.RouteListFiltered(unix.AF_UNSPEC, filter, mask)
	})
}

func (n *Namespace) listRules(ctx context.Context, filter *netlink.Rule, mask uint64) ([]netlink.Rule, error) {
	return listed(ctx, n, func(o operations) ([]netlink.Rule, error) {
		return o.RuleListFiltered(filter.Family, filter, mask)
	})
}

func listed[T any](ctx context.Context, n *Namespace, list func(operations) ([]T, error)) ([]T, error) {
	o, err := n.operations()
	if err != nil {
		return nil, err
	}
	return Complete(ctx, func() ([]T, error) { return list(o) })
}
