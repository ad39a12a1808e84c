package netdev

import (
	"context"
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
	GetNetNsIdByFd(fd int) (int, error)
	Close()
}

// lists are the netlink package's lists, any of which may be interrupted. They
// are asked for below, and nowhere else.
type lists interface {
	AddrList(link netlink.Link, family int) ([]netlink.Addr, error)
	RouteListFiltered(family int, filter *netlink.Route, mask uint64) ([]netlink.Route, error)
	RuleListFiltered(family int, filter *netlink.Rule, mask uint64) ([]netlink.Rule, error)
}

func (n *Namespace) listAddresses(ctx context.Context, link netlink.Link) ([]netlink.Addr, error) {
	return Complete(ctx, func() ([]netlink.Addr, error) { return n.lists.AddrList(link, unix.AF_UNSPEC) })
}

func (n *Namespace) listRoutes(ctx context.Context, filter *netlink.Route, mask uint64) ([]netlink.Route, error) {
	return Complete(ctx, func() ([]netlink.Route, error) {
		return n.lists.RouteListFiltered(unix.AF_UNSPEC, filter, mask)
	})
}

func (n *Namespace) listRules(ctx context.Context, filter *netlink.Rule, mask uint64) ([]netlink.Rule, error) {
	return Complete(ctx, func() ([]netlink.Rule, error) {
		return n.lists.RuleListFiltered(filter.Family, filter, mask)
	})
}
