package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// A plan is what the netdev should have in the pod. ADD carries it out, CHECK
// looks whether it still holds; both make it from the same input.
type plan struct {
	addresses []netdev.Address
	routes    []netdev.Route
	rules     []netdev.Rule
}

// sourceRouting is the configuration's "sourceRouting": true, or a table and
// a priority.
type sourceRouting struct {
	On       bool
	Table    int
	Priority int
	// unknown is what was there instead. It is not an error of UnmarshalJSON,
	// which would leave the rest of the configuration unread.
	unknown string
}

func (s *sourceRouting) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &s.On); err == nil {
		return nil
	}
	var object struct {
		Table    uint32 `json:"table"`
		Priority uint32 `json:"priority"`
	}
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.DisallowUnknownFields()
	if s.On = decoder.Decode(&object) == nil; s.On {
		s.Table, s.Priority = int(object.Table), int(object.Priority)
	} else {
		s.unknown = strings.Join(strings.Fields(string(b)), " ")
	}
	return nil
}

const (
	// firstTable and the netdev's ifindex in the pod make its routing table, so
	// that no two netdevs of a pod share one. aboveAll is added where that would
	// be one of the kernel's: a move keeps the host's ifindex, if it can, and a
	// host has had more than 150 links soon. It is above all ifindexes.
	firstTable = 100
	aboveAll   = 1 << 31
	// rulePriority is before the main table's rule.
	rulePriority = 1000
	mainPriority = 32766
)

// plan turns an IPAM answer, or with "keepAddresses" the host's own state,
// into a plan.
func (c *netConf) plan(r *attachment.Record, link netlink.Link, ipam *current.Result) plan {
	var p plan
	gateways := map[bool]netip.Addr{} // by whether it is IPv4
	if c.KeepAddresses {
		p.keep(r.Host)
	} else {
		for _, ip := range ipam.IPs {
			address := netdev.Prefix(&ip.Address)
			p.addresses = append(p.addresses, netdev.Address{Prefix: address})
			if v4 := address.Addr().Is4(); !gateways[v4].IsValid() {
				gateways[v4] = netdev.Addr(ip.Gateway)
			}
		}
		for _, route := range ipam.Routes {
			p.routes = append(p.routes, routeOf(route, gateways))
		}
	}
	if c.SourceRouting.On {
		c.routeBySource(&p, link, gateways)
	}
	return p
}

// keep takes addresses and routes of the host along. The route to an address's
// subnet is the kernel's to add in the pod, whoever added it on the host. The
// host's rules that lead to its other tables stay behind, and so do these.
func (p *plan) keep(host netdev.State) {
	for _, a := range host.Addresses {
		a.NoPrefixRoute = false
		p.addresses = append(p.addresses, a)
	}
	for _, r := range host.Routes {
		if r.Protocol != unix.RTPROT_KERNEL && r.Table == 0 {
			p.routes = append(p.routes, r)
		}
	}
}

// routeOf translates an IPAM answer's route. One without a gateway goes through
// the gateway of an address of its family, unless its scope says that there is
// none.
func routeOf(r *types.Route, gateways map[bool]netip.Addr) netdev.Route {
	route := netdev.Route{Dst: netdev.Prefix(&r.Dst), Gateway: netdev.Addr(r.GW), Priority: r.Priority, MTU: r.MTU, AdvMSS: r.AdvMSS}
	direct := r.Scope != nil && *r.Scope >= unix.RT_SCOPE_LINK
	if !route.Gateway.IsValid() && !direct {
		route.Gateway = gateways[route.Dst.Addr().Is4()]
	}
	if r.Table != nil {
		route.Table = *r.Table
	}
	switch {
	case r.Scope != nil:
		route.Scope = *r.Scope
	case !route.Gateway.IsValid():
		route.Scope = unix.RT_SCOPE_LINK
	}
	return route
}

// routeBySource moves the routes to a table of the netdev's own, adds its
// subnets and gateways to it, and a rule for each of its addresses: replies
// leave by the NIC that they belong to, even when several are in one subnet.
func (c *netConf) routeBySource(p *plan, link netlink.Link, gateways map[bool]netip.Addr) {
	table, priority := c.SourceRouting.Table, c.SourceRouting.Priority
	if table == 0 {
		table = firstTable + link.Attrs().Index
		if reserved(table) {
			table += aboveAll
		}
	}
	if priority == 0 {
		priority = rulePriority
	}
	for i := range p.routes {
		if p.routes[i].Table == 0 {
			p.routes[i].Table = table
		}
	}
	for _, a := range p.addresses {
		source := a.Prefix.Addr()
		p.routes = append(p.routes, netdev.Route{Dst: a.Prefix.Masked(), Source: source, Scope: unix.RT_SCOPE_LINK, Table: table})
		p.rules = append(p.rules, netdev.Rule{Source: source, Table: table, Priority: priority})
	}
	for v4, gateway := range gateways {
		everywhere := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		if v4 {
			everywhere = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		}
		has := slices.ContainsFunc(p.routes, func(r netdev.Route) bool { return r.Dst == everywhere && r.Table == table })
		if gateway.IsValid() && !has {
			p.routes = append(p.routes, netdev.Route{Dst: everywhere, Gateway: gateway, Table: table})
		}
	}
}

// reserved tells whether a routing table is the kernel's: default, main or local.
func reserved(table int) bool {
	return table >= unix.RT_TABLE_DEFAULT && table <= unix.RT_TABLE_LOCAL
}

// ownGateway finds an address of the plan that the IPAM plugin also named as
// the gateway, and whether a route goes through it. Whereabouts gives the
// first pod of a range its gateway's address unless that is excluded.
func (p plan) ownGateway(ipam *current.Result) (gateway netip.Addr, used bool) {
	for _, ip := range ipam.IPs {
		if gw := netdev.Addr(ip.Gateway); gw.IsValid() && gw == netdev.Prefix(&ip.Address).Addr() {
			return gw, slices.ContainsFunc(p.routes, func(r netdev.Route) bool { return r.Gateway == gw })
		}
	}
	return netip.Addr{}, false
}

// apply carries the plan out. Its routes get the metrics that they have then.
func (p plan) apply(ctx context.Context, pod *netdev.Namespace, link netlink.Link) error {
	if err := pod.AddAddresses(link, p.addresses); err != nil {
		return err
	}
	// A gateway must be reachable when its route is added: link routes first.
	for _, direct := range []bool{true, false} {
		for i := range p.routes {
			if direct == p.routes[i].Gateway.IsValid() {
				continue
			}
			if err := addRoute(ctx, pod, link, &p.routes[i]); err != nil {
				return err
			}
		}
	}
	return pod.AddRules(p.rules)
}

// defaultMetric6 is the metric of an IPv6 route that names none
// (IP6_RT_PRIO_USER of <linux/ipv6_route.h>). IPv4 has 0.
const defaultMetric6 = 1024

// maxSameRoutes is how many routes to one destination may be in a pod: more than
// it has NICs.
const maxSameRoutes = 256

// addRoute adds a route beside those that other NICs of the pod have to the same
// destination: with the first metric that is free. Traffic that asks for no NIC
// goes where it went before, and traffic that asks for this one, as RDMA does
// with one of its GIDs, finds the way; without the route the kernel would look
// for a remote destination on the link.
func addRoute(ctx context.Context, pod *netdev.Namespace, link netlink.Link, r *netdev.Route) error {
	for range maxSameRoutes {
		if added, err := pod.AddRoute(link, *r); added || err != nil {
			return err
		}
		if own, err := pod.HasRoute(ctx, link, *r); own || err != nil {
			return err // the kernel's for an address, or the IPAM plugin names it twice
		}
		if r.Priority == 0 && r.Dst.Addr().Is6() {
			r.Priority = defaultMetric6
		}
		r.Priority++
	}
	return fmt.Errorf("add route %s: the pod already has %d routes to this destination", r, maxSameRoutes)
}

// made reduces a plan to the routes that its ADD made. CHECK makes the plan
// from the result of a whole chain, which may have routes of other plugins.
func (p *plan) made(routes []netdev.Route) {
	planned := p.routes
	p.routes = nil
	for _, r := range routes {
		if slices.ContainsFunc(planned, func(other netdev.Route) bool { return other.Dst == r.Dst }) {
			p.routes = append(p.routes, r)
		}
	}
}

// check tells what of the plan does not hold.
func (p plan) check(ctx context.Context, pod *netdev.Namespace, link netlink.Link) error {
	name := link.Attrs().Name
	state, err := pod.State(ctx, link)
	if err != nil {
		return err
	}
	for _, a := range p.addresses {
		if !slices.ContainsFunc(state.Addresses, func(have netdev.Address) bool { return have.Prefix == a.Prefix }) {
			return fmt.Errorf("%s has no address %s", name, a.Prefix)
		}
	}
	for _, r := range p.routes {
		// A later plugin of the chain may have moved it, as sbr and vrf do.
		anywhere := r
		anywhere.Table = netdev.AnyTable
		if ok, err := pod.HasRoute(ctx, link, anywhere); err != nil || !ok {
			return missing("no route "+r.String()+" through "+name, err)
		}
	}
	for _, r := range p.rules {
		if ok, err := pod.HasRule(ctx, r); err != nil || !ok {
			return missing("no rule "+r.String(), err)
		}
	}
	return nil
}

func missing(what string, err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%s", what)
}

// resultOf is the plan as an IPAM answer: what ADD prints of kept addresses, with the
// metrics that equip adds to all answers.
func (p plan) resultOf() *current.Result {
	result := &current.Result{CNIVersion: current.ImplementedSpecVersion}
	for _, a := range p.addresses {
		result.IPs = append(result.IPs, &current.IPConfig{Address: *netdev.IPNet(a.Prefix)})
	}
	for _, r := range p.routes {
		result.Routes = append(result.Routes, &types.Route{Dst: *netdev.IPNet(r.Dst), GW: r.Gateway.AsSlice(), MTU: r.MTU, AdvMSS: r.AdvMSS})
	}
	return result
}
