package netdev

import (
	"context"
	"encoding/binary"
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
	Dst netip.Prefix `json:"dst"`
	// Gateway may be of the other family: IPv4 by an IPv6 neighbour.
	Gateway  netip.Addr `json:"gateway,omitzero"`
	Source   netip.Addr `json:"source,omitzero"`
	Priority int        `json:"priority,omitempty"`
	Scope    int        `json:"scope,omitempty"`
	Protocol int        `json:"protocol,omitempty"`
	MTU      int        `json:"mtu,omitempty"`
	AdvMSS   int        `json:"advmss,omitempty"`
	OnLink   bool       `json:"onlink,omitempty"`
	// Table is the routing table, 0 for main.
	Table int `json:"table,omitempty"`

	// Type is RTN_LOCAL and so on, 0 for unicast.
	Type int `json:"type,omitempty"`
	// TOS and From narrow the packets that it is for, From those of IPv6.
	TOS  int          `json:"tos,omitempty"`
	From netip.Prefix `json:"from,omitzero"`
	// Rest are attributes as the kernel wrote them: see restOfRoute. With
	// metrics among them, MTU and AdvMSS only repeat those.
	Rest []byte `json:"rest,omitempty"`
}

// AnyTable makes HasRoute look in all tables. It is the Table of no real Route.
const AnyTable = -1

// restOfRoute are the attributes that a route takes as it tells them.
func restOfRoute() []uint16 {
	const timeToLive = 26 // RTA_TTL_PROPAGATE
	return []uint16{unix.RTA_METRICS, unix.RTA_FLOW, unix.RTA_PREF, unix.RTA_ENCAP_TYPE, unix.RTA_ENCAP, timeToLive}
}

// routes lists the routes through a link, without those to link-local addresses
// and the kernel's own table of local ones.
func (n *Namespace) routes(ctx context.Context, link netlink.Link) ([]Route, error) {
	routes, err := n.routesThrough(ctx, link)
	return slices.DeleteFunc(routes, func(r Route) bool {
		return isLinkLocal6(r.Dst.Addr().AsSlice()) || r.Table == unix.RT_TABLE_LOCAL
	}), err
}

// routesThrough lists the routes through a link and no other.
func (n *Namespace) routesThrough(ctx context.Context, link netlink.Link) (routes []Route, err error) {
	answers, err := n.list(ctx, unix.RTM_GETROUTE, &nl.RtMsg{})
	if err != nil {
		return nil, fmt.Errorf("list the routes through %s: %w", link.Attrs().Name, err)
	}
	for _, answer := range answers {
		if r, index := routeIn(answer); index == link.Attrs().Index {
			routes = append(routes, r)
		}
	}
	return routes, nil
}

// routeIn reads a route and the ifindex of the only link that it goes through, 0
// if there is none.
func routeIn(answer []byte) (r Route, index int) {
	if len(answer) < unix.SizeofRtMsg {
		return r, 0
	}
	msg := nl.DeserializeRtMsg(answer)
	everywhere := map[uint8]netip.Addr{unix.AF_INET: netip.IPv4Unspecified(), unix.AF_INET6: netip.IPv6Unspecified()}[msg.Family]
	if !everywhere.IsValid() || msg.Flags&unix.RTM_F_CLONED != 0 {
		return r, 0
	}
	r = Route{
		Dst: netip.PrefixFrom(everywhere, int(msg.Dst_len)), Scope: int(msg.Scope), Protocol: int(msg.Protocol),
		OnLink: msg.Flags&unix.RTNH_F_ONLINK != 0, Table: int(msg.Table), TOS: int(msg.Tos),
	}
	if msg.Type != unix.RTN_UNICAST {
		r.Type = int(msg.Type)
	}
	rest := restOfRoute()
	for kind, value := range attributesIn(answer[unix.SizeofRtMsg:]) {
		switch plain(kind) {
		case unix.RTA_DST:
			r.Dst = netip.PrefixFrom(Addr(value), int(msg.Dst_len))
		case unix.RTA_SRC:
			r.From = netip.PrefixFrom(Addr(value), int(msg.Src_len))
		case unix.RTA_OIF:
			index = int(binary.NativeEndian.Uint32(value))
		case unix.RTA_GATEWAY:
			r.Gateway = Addr(value)
		case unix.RTA_VIA: // struct rtvia: family, address
			r.Gateway = Addr(value[min(2, len(value)):])
		case unix.RTA_PREFSRC:
			r.Source = Addr(value)
		case unix.RTA_PRIORITY:
			r.Priority = int(binary.NativeEndian.Uint32(value))
		case unix.RTA_TABLE:
			r.Table = int(binary.NativeEndian.Uint32(value))
		case unix.RTA_METRICS:
			r.MTU, r.AdvMSS = metric(valueAt(value, unix.RTAX_MTU)), metric(valueAt(value, unix.RTAX_ADVMSS))
		}
		if slices.Contains(rest, plain(kind)) && slices.ContainsFunc(value, nonZero) {
			r.Rest = append(r.Rest, nl.NewRtAttr(int(kind), value).Serialize()...)
		}
	}
	if r.Table == unix.RT_TABLE_MAIN {
		r.Table = 0
	}
	return r, index
}

func metric(value []byte) int {
	number, _ := number32(value)
	return int(number)
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

// HasRoute tells whether a route is there, with whatever metric.
func (n *Namespace) HasRoute(ctx context.Context, link netlink.Link, r Route) (bool, error) {
	if r.Table == unix.RT_TABLE_MAIN {
		r.Table = 0
	}
	routes, err := n.routesThrough(ctx, link)
	return slices.ContainsFunc(routes, func(have Route) bool {
		return have.Dst == r.Dst && have.Gateway == r.Gateway && (have.Table == r.Table || r.Table == AnyTable)
	}), err
}

func (r Route) String() string {
	s := r.Dst.String()
	if r.From.IsValid() {
		s += " from " + r.From.String()
	}
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
	msg.Family, msg.Dst_len, msg.Scope, msg.Tos = uint8(family(r.Dst.Addr())), uint8(r.Dst.Bits()), uint8(r.Scope), uint8(r.TOS)
	if r.Protocol > 0 {
		msg.Protocol = uint8(r.Protocol)
	}
	if r.Type > 0 {
		msg.Type = uint8(r.Type)
	}
	if r.OnLink {
		msg.Flags |= unix.RTNH_F_ONLINK
	}
	parts := []nl.NetlinkRequestData{msg,
		nl.NewRtAttr(unix.RTA_DST, r.Dst.Addr().AsSlice()), nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))),
	}
	if r.From.IsValid() {
		msg.Src_len = uint8(r.From.Bits())
		parts = append(parts, nl.NewRtAttr(unix.RTA_SRC, r.From.Addr().AsSlice()))
	}
	if r.Table != 0 {
		msg.Table = unix.RT_TABLE_UNSPEC // the attribute has room for it
		parts = append(parts, nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(uint32(r.Table))))
	}
	if r.Priority > 0 {
		parts = append(parts, nl.NewRtAttr(unix.RTA_PRIORITY, nl.Uint32Attr(uint32(r.Priority))))
	}
	if r.Source.IsValid() {
		parts = append(parts, nl.NewRtAttr(unix.RTA_PREFSRC, r.Source.AsSlice()))
	}
	switch {
	case !r.Gateway.IsValid():
	case r.Gateway.Is4() == r.Dst.Addr().Is4():
		parts = append(parts, nl.NewRtAttr(unix.RTA_GATEWAY, r.Gateway.AsSlice()))
	default:
		via := binary.NativeEndian.AppendUint16(nil, uint16(family(r.Gateway)))
		parts = append(parts, nl.NewRtAttr(unix.RTA_VIA, append(via, r.Gateway.AsSlice()...)))
	}
	if len(valueAt(r.Rest, unix.RTA_METRICS)) == 0 {
		metrics := attribute(unix.RTA_METRICS)
		for kind, value := range map[int]int{unix.RTAX_MTU: r.MTU, unix.RTAX_ADVMSS: r.AdvMSS} {
			if value > 0 {
				metrics.AddRtAttr(kind, nl.Uint32Attr(uint32(value)))
			}
		}
		parts = append(parts, metrics)
	}
	for kind, value := range attributesIn(r.Rest) {
		parts = append(parts, nl.NewRtAttr(int(kind), value))
	}
	return parts
}
