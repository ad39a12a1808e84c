package netdev

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
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

// A Way is a route with the ifindexes of what it goes through; one that leads
// nowhere may have none. A multipath route has next hops of its own, even if that is
// one only, and no gateway.
type Way struct {
	Route
	Links     []int
	Multipath bool

	nexthop uint32 // the ID of a nexthop object, 0 for none
}

// AllRoutes lists the routes of all tables but the kernel's own of local
// addresses, whatever they go through.
func (n *Namespace) AllRoutes(ctx context.Context) ([]Way, error) {
	routes, err := n.listRoutes(ctx)
	return slices.DeleteFunc(routes, func(r Way) bool { return r.Table == unix.RT_TABLE_LOCAL }), err
}

func (n *Namespace) listRoutes(ctx context.Context) ([]Way, error) {
	answers, err := n.list(ctx, unix.RTM_GETROUTE, &nl.RtMsg{})
	if err != nil {
		return nil, fmt.Errorf("list the routes in %s: %w", n.Path, err)
	}
	routes := make([]Way, 0, len(answers))
	hidden := false
	for _, answer := range answers {
		if way, ok := routeIn(answer); ok {
			routes = append(routes, way)
			hidden = hidden || way.nexthop != 0 && len(way.Links) == 0
		}
	}
	if hidden {
		return routes, n.resolve(ctx, routes)
	}
	return routes, nil
}

// through are those through a link and no other.
func through(link netlink.Link, all []Way) (routes []Route) {
	for _, way := range all {
		if !way.Multipath && slices.Equal(way.Links, []int{link.Attrs().Index}) {
			routes = append(routes, way.Route)
		}
	}
	return routes
}

// routeIn reads a route.
func routeIn(answer []byte) (r Way, ok bool) {
	if len(answer) < unix.SizeofRtMsg {
		return r, false
	}
	msg := nl.DeserializeRtMsg(answer)
	var everywhere netip.Addr
	switch msg.Family {
	case unix.AF_INET:
		everywhere = netip.IPv4Unspecified()
	case unix.AF_INET6:
		everywhere = netip.IPv6Unspecified()
	}
	if !everywhere.IsValid() || msg.Flags&unix.RTM_F_CLONED != 0 {
		return r, false
	}
	r.Route = Route{
		Dst: netip.PrefixFrom(everywhere, int(msg.Dst_len)), Scope: int(msg.Scope), Protocol: int(msg.Protocol),
		OnLink: msg.Flags&unix.RTNH_F_ONLINK != 0, Table: int(msg.Table), TOS: int(msg.Tos),
	}
	if msg.Type != unix.RTN_UNICAST {
		r.Type = int(msg.Type)
	}
	rest := restOfRoute()
	for kind, value := range Attributes(answer[unix.SizeofRtMsg:]) {
		switch kind {
		case unix.RTA_DST:
			r.Dst = netip.PrefixFrom(Addr(value), int(msg.Dst_len))
		case unix.RTA_SRC:
			r.From = netip.PrefixFrom(Addr(value), int(msg.Src_len))
		case unix.RTA_OIF:
			r.Links = append(r.Links, numberIn(value))
		case unix.RTA_MULTIPATH:
			r.Links, r.Multipath = append(r.Links, hopsIn(value)...), true
		case nexthopID:
			r.nexthop, _ = number32(value)
		case unix.RTA_GATEWAY:
			r.Gateway = Addr(value)
		case unix.RTA_VIA: // struct rtvia: family, address
			r.Gateway = Addr(value[min(2, len(value)):])
		case unix.RTA_PREFSRC:
			r.Source = Addr(value)
		case unix.RTA_PRIORITY:
			r.Priority = numberIn(value)
		case unix.RTA_TABLE:
			r.Table = numberIn(value)
		case unix.RTA_METRICS:
			r.MTU, r.AdvMSS = numberIn(valueAt(value, unix.RTAX_MTU)), numberIn(valueAt(value, unix.RTAX_ADVMSS))
		}
		if slices.Contains(rest, kind) && slices.ContainsFunc(value, nonZero) {
			r.Rest = append(r.Rest, nl.NewRtAttr(int(kind), value).Serialize()...)
		}
	}
	r.Table = tableOf(r.Table)
	return r, true
}

// hopsIn are the ifindexes of a multipath route: struct rtnexthop, again and again,
// each with attributes behind it.
func hopsIn(data []byte) (links []int) {
	const indexAt, size = 4, 8
	for len(data) >= size {
		length := int(binary.NativeEndian.Uint16(data))
		if length < size || length > len(data) {
			break
		}
		links = append(links, numberIn(data[indexAt:size]))
		data = data[min(align(length), len(data)):]
	}
	return links
}

// tableOf is a routing table's number as a Route has it.
func tableOf(table int) int {
	if table == unix.RT_TABLE_MAIN {
		return 0
	}
	return table
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
	_, err = n.route.Request(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK, r.message(link.Attrs().Index)...)
	if errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("add route %s: %w", r, err)
	}
	return true, nil
}

// LinkTo is the ifindex of the link by which packets to an address leave.
// Equivalent to: `ip route get $address`.
func (n *Namespace) LinkTo(address netip.Addr) (index int, err error) {
	msg := &nl.RtMsg{}
	msg.Family, msg.Dst_len = uint8(family(address)), uint8(address.BitLen())
	answers, err := n.route.Request(unix.RTM_GETROUTE, 0, msg, nl.NewRtAttr(unix.RTA_DST, address.AsSlice()))
	for _, answer := range answers {
		index = numberIn(valueAt(answer[unix.SizeofRtMsg:], unix.RTA_OIF))
	}
	return index, wrap("look up the route to "+address.String(), err)
}

// HasRoute tells whether a route is there, with whatever metric.
func (n *Namespace) HasRoute(ctx context.Context, link netlink.Link, r Route) (bool, error) {
	all, err := n.listRoutes(ctx)
	return slices.ContainsFunc(through(link, all), func(have Route) bool {
		return have.Dst == r.Dst && have.Gateway == r.Gateway && (have.Table == tableOf(r.Table) || r.Table == AnyTable)
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
	for kind, value := range Attributes(r.Rest) {
		parts = append(parts, nl.NewRtAttr(int(kind), value))
	}
	return parts
}
