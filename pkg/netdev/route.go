package netdev

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A Route goes through the netdev. A State has those of all tables, without the
// ones that the kernel adds for an address.
type Route struct {
	Dst      netip.Prefix `json:"dst"`
	Gateway  netip.Addr   `json:"gateway,omitzero"`
	Source   netip.Addr   `json:"source,omitzero"`
	Priority int          `json:"priority,omitempty"`
	Scope    int          `json:"scope,omitempty"`
	Protocol int          `json:"protocol,omitempty"`
	MTU      int          `json:"mtu,omitempty"`
	AdvMSS   int          `json:"advmss,omitempty"`
	OnLink   bool         `json:"onlink,omitempty"`
	// Table is the routing table, 0 for main.
	Table int `json:"table,omitempty"`
}

// AnyTable makes HasRoute look in all tables. It is the Table of no real Route.
const AnyTable = -1

// routes lists the routes through a link, without those to link-local addresses
// and the kernel's own table of local ones.
func (n *Namespace) routes(ctx context.Context, link netlink.Link) (routes []Route, err error) {
	a := link.Attrs()
	list, err := n.listRoutes(ctx, &netlink.Route{LinkIndex: a.Index, Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list the routes through %s: %w", a.Name, err)
	}
	for _, r := range list {
		if r.Dst == nil || isLinkLocal6(r.Dst.IP) || r.Table == unix.RT_TABLE_LOCAL {
			continue
		}
		if r.Table == unix.RT_TABLE_MAIN {
			r.Table = 0
		}
		routes = append(routes, Route{
			Dst: Prefix(r.Dst), Gateway: Addr(r.Gw), Source: Addr(r.Src), Priority: r.Priority,
			Scope: int(r.Scope), Protocol: int(r.Protocol), MTU: r.MTU, AdvMSS: r.AdvMSS,
			OnLink: r.Flags&unix.RTNH_F_ONLINK != 0, Table: r.Table,
		})
	}
	return routes, nil
}

// AddRoutes adds routes through a link. Where one to the same destination with
// the same metric exists, that one stays.
func (n *Namespace) AddRoutes(link netlink.Link, routes []Route) error {
	var errs []error
	// A route's gateway must be reachable when the route is added: link
	// routes before those that go through a gateway.
	for _, direct := range []bool{true, false} {
		for _, r := range routes {
			if direct == r.Gateway.IsValid() {
				continue
			}
			if _, err := n.AddRoute(link, r); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// AddRoute adds a route through a link. It adds none, and that is not an error,
// if one to the same destination with the same metric exists, whatever that
// goes through.
func (n *Namespace) AddRoute(link netlink.Link, r Route) (added bool, err error) {
	_, err = n.route.request(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK, r.message(link.Attrs().Index)...)
	if errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("add route %s: %w", r, err)
	}
	return true, nil
}

// AllRoutes lists the routes of all tables but the kernel's own of local
// addresses, whatever they go through.
func (n *Namespace) AllRoutes(ctx context.Context) ([]netlink.Route, error) {
	routes, err := n.listRoutes(ctx, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list the routes in %s: %w", n.Path, err)
	}
	return slices.DeleteFunc(routes, func(r netlink.Route) bool { return r.Table == unix.RT_TABLE_LOCAL }), nil
}

// WayTo returns the route that a packet to an address takes.
// Equivalent to: `ip route get $address`.
func (n *Namespace) WayTo(address net.IP) (netlink.Route, error) {
	o, err := n.operations()
	if err != nil {
		return netlink.Route{}, err
	}
	ways, err := o.RouteGet(address)
	if err == nil && len(ways) == 0 {
		err = unix.ENETUNREACH
	}
	if err != nil {
		return netlink.Route{}, fmt.Errorf("look up the route to %s: %w", address, err)
	}
	return ways[0], nil
}

// HasRoute tells whether a route is there.
func (n *Namespace) HasRoute(ctx context.Context, link netlink.Link, r Route) (bool, error) {
	want := r.netlink(link)
	switch want.Table {
	case 0:
		want.Table = unix.RT_TABLE_MAIN
	case AnyTable:
		want.Table = unix.RT_TABLE_UNSPEC
	}
	routes, err := n.listRoutes(ctx, want, netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST|netlink.RT_FILTER_GW)
	if err != nil {
		return false, fmt.Errorf("list the routes through %s: %w", link.Attrs().Name, err)
	}
	return len(routes) > 0, nil
}

func (r Route) String() string {
	s := r.Dst.String()
	if r.Gateway.IsValid() {
		s += " via " + r.Gateway.String()
	}
	if r.Table != 0 {
		s += fmt.Sprintf(" table %d", r.Table)
	}
	return s
}

// message is what RTM_NEWROUTE takes.
func (r Route) message(index int) []nl.NetlinkRequestData {
	msg := nl.NewRtMsg() // in the main table
	msg.Family, msg.Dst_len, msg.Scope = uint8(family(r.Dst.Addr())), uint8(r.Dst.Bits()), uint8(r.Scope)
	if r.Protocol > 0 {
		msg.Protocol = uint8(r.Protocol)
	}
	if r.OnLink {
		msg.Flags |= unix.RTNH_F_ONLINK
	}
	parts := []nl.NetlinkRequestData{msg,
		nl.NewRtAttr(unix.RTA_DST, r.Dst.Addr().AsSlice()), nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))),
	}
	if r.Table != 0 {
		msg.Table = unix.RT_TABLE_UNSPEC // the attribute has room for it
		parts = append(parts, nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(uint32(r.Table))))
	}
	if r.Priority > 0 {
		parts = append(parts, nl.NewRtAttr(unix.RTA_PRIORITY, nl.Uint32Attr(uint32(r.Priority))))
	}
	for kind, address := range map[int]netip.Addr{unix.RTA_GATEWAY: r.Gateway, unix.RTA_PREFSRC: r.Source} {
		if address.IsValid() {
			parts = append(parts, nl.NewRtAttr(kind, address.AsSlice()))
		}
	}
	metrics := attribute(unix.RTA_METRICS)
	for kind, value := range map[int]int{unix.RTAX_MTU: r.MTU, unix.RTAX_ADVMSS: r.AdvMSS} {
		if value > 0 {
			metrics.AddRtAttr(kind, nl.Uint32Attr(uint32(value)))
		}
	}
	return append(parts, metrics)
}

// netlink is the route as a filter of lists.
func (r Route) netlink(link netlink.Link) *netlink.Route {
	route := &netlink.Route{
		LinkIndex: link.Attrs().Index, Dst: IPNet(r.Dst), Gw: r.Gateway.AsSlice(), Src: r.Source.AsSlice(),
		Priority: r.Priority, Scope: netlink.Scope(r.Scope), Protocol: netlink.RouteProtocol(r.Protocol),
		MTU: r.MTU, AdvMSS: r.AdvMSS, Table: r.Table,
	}
	if r.OnLink {
		route.Flags = unix.RTNH_F_ONLINK
	}
	return route
}
