package netdev

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A State is what the host configured on a netdev and a move takes away: the
// kernel drops addresses and routes, and whoever holds the netdev meanwhile
// may change the rest.
type State struct {
	Name        string    `json:"name"`
	MTU         int       `json:"mtu"` // bytes
	MAC         string    `json:"mac"`
	Up          bool      `json:"up"`
	Promiscuous bool      `json:"promiscuous,omitempty"`
	Alias       string    `json:"alias,omitempty"`
	AltNames    []string  `json:"altNames,omitempty"`
	Addresses   []Address `json:"addresses,omitempty"`
	Routes      []Route   `json:"routes,omitempty"`
}

// An Address is one that the host put on the netdev. Addresses that the
// kernel makes by itself (IPv6 link-local and those from router
// advertisements) come back by themselves and are not recorded.
type Address struct {
	Prefix netip.Prefix `json:"prefix"` // the address with its prefix length
	Peer   netip.Prefix `json:"peer,omitzero"`
	Label  string       `json:"label,omitempty"`
	Scope  int          `json:"scope,omitempty"`
}

// A Route goes through the netdev. A State has those of the main table, without
// the ones that the kernel adds for an address.
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

// State reads the state of a link in this namespace.
func (n *Namespace) State(link netlink.Link) (State, error) {
	a := link.Attrs()
	s := State{
		Name: a.Name, MTU: a.MTU, MAC: a.HardwareAddr.String(), Up: a.Flags&net.FlagUp != 0,
		Promiscuous: a.Promisc != 0, Alias: a.Alias, AltNames: a.AltNames,
	}
	addrs, err := Whole(func() ([]netlink.Addr, error) { return n.AddrList(link, unix.AF_UNSPEC) })
	if err != nil {
		return State{}, fmt.Errorf("list the addresses of %s: %w", a.Name, err)
	}
	for _, addr := range addrs {
		if addr.Flags&unix.IFA_F_PERMANENT == 0 || isLinkLocal6(addr.IP) {
			continue
		}
		s.Addresses = append(s.Addresses, Address{
			Prefix: prefix(addr.IPNet), Peer: peer(addr), Label: label(addr.Label, a.Name), Scope: addr.Scope,
		})
	}
	routes, err := Whole(func() ([]netlink.Route, error) {
		return n.RouteListFiltered(unix.AF_UNSPEC, &netlink.Route{LinkIndex: a.Index, Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return State{}, fmt.Errorf("list the routes through %s: %w", a.Name, err)
	}
	for _, r := range routes {
		if r.Protocol == unix.RTPROT_KERNEL || r.Protocol == unix.RTPROT_RA || r.Dst == nil || isLinkLocal6(r.Dst.IP) {
			continue
		}
		s.Routes = append(s.Routes, Route{
			Dst: prefix(r.Dst), Gateway: address(r.Gw), Source: address(r.Src), Priority: r.Priority,
			Scope: int(r.Scope), Protocol: int(r.Protocol), MTU: r.MTU, AdvMSS: r.AdvMSS,
			OnLink: r.Flags&unix.RTNH_F_ONLINK != 0,
		})
	}
	return s, nil
}

// Restore gives a link of this namespace the recorded state back. from is
// where the link is now, which may be this namespace. Every item is tried; the
// error joins what failed.
//
// When the recorded name is taken by another link, the netdev still comes
// back, under the name it has or one that the kernel picks, and the error
// says so.
func (n *Namespace) Restore(from *Namespace, link netlink.Link, s State) error {
	a := link.Attrs()
	away := from.ID != n.ID
	c := Change{Alias: new(string)}
	*c.Alias = s.Alias
	if away {
		c.Namespace = n
	}
	if a.MTU != s.MTU {
		c.MTU = s.MTU
	}
	if mac, err := net.ParseMAC(s.MAC); err == nil && a.HardwareAddr.String() != s.MAC {
		c.MAC = mac
	}
	var errs []error
	if away || a.Name != s.Name {
		holder, err := n.LinkNamed(s.Name)
		switch {
		case err != nil:
			return err
		case holder != nil && (away || holder.Attrs().Index != a.Index):
			errs = append(errs, fmt.Errorf("name %s is taken by another link (ifindex %d)", s.Name, holder.Attrs().Index))
			if away {
				c.Name = fallbackName
			}
		default:
			c.Name = s.Name
		}
	}
	// A rename or a new address may need the link to be down, and a move
	// closes it anyhow.
	if !away && a.Flags&net.FlagUp != 0 && (c.Name != "" || c.MAC != nil) {
		if err := n.LinkSetDown(link); err != nil {
			errs = append(errs, fmt.Errorf("set down: %w", err))
		}
	}
	c.Up = s.Up
	if err := from.Apply(a.Index, c); err != nil {
		return errors.Join(append(errs, fmt.Errorf("bring back to the host: %w", err))...)
	}
	back, err := n.Link(IdentityOf(link))
	if err != nil || back == nil {
		return errors.Join(append(errs, fmt.Errorf("not on the host after the move"), err)...)
	}
	if !s.Up && back.Attrs().Flags&net.FlagUp != 0 {
		errs = append(errs, wrap("set down", n.LinkSetDown(back)))
	}
	switch promiscuous := back.Attrs().Promisc != 0; {
	case s.Promiscuous && !promiscuous:
		errs = append(errs, wrap("set promiscuous", n.SetPromiscOn(back)))
	case !s.Promiscuous && promiscuous:
		errs = append(errs, wrap("end promiscuous mode", n.SetPromiscOff(back)))
	}
	for _, name := range s.AltNames {
		if !slices.Contains(back.Attrs().AltNames, name) {
			errs = append(errs, wrap("add alternative name "+name, n.LinkAddAltName(back, name)))
		}
	}
	errs = append(errs, n.AddAddresses(back, s.Addresses), n.AddRoutes(back, s.Routes))
	return errors.Join(errs...)
}

// fallbackName lets the kernel number a netdev that cannot have its own name
// on the host; it does the same when a namespace ends.
const fallbackName = "dev%d"

// AddAddresses puts addresses on a link; one that is there already is no error.
func (n *Namespace) AddAddresses(link netlink.Link, addresses []Address) error {
	var errs []error
	for _, a := range addresses {
		addr := &netlink.Addr{IPNet: ipNet(a.Prefix), Label: a.Label, Scope: a.Scope}
		if a.Prefix.Addr().Is6() {
			// Whoever chose the address vouches for it; duplicate address
			// detection would keep it from being used for a second.
			addr.Flags = unix.IFA_F_NODAD
		}
		if a.Peer.IsValid() {
			addr.Peer = ipNet(a.Peer)
		}
		if err := n.AddrAdd(link, addr); err != nil && !errors.Is(err, unix.EEXIST) {
			errs = append(errs, fmt.Errorf("add address %s: %w", a.Prefix, err))
		}
	}
	return errors.Join(errs...)
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
			if err := n.RouteAdd(r.netlink(link)); err != nil && !errors.Is(err, unix.EEXIST) {
				errs = append(errs, fmt.Errorf("add route %s: %w", r, err))
			}
		}
	}
	return errors.Join(errs...)
}

// HasRoute tells whether a route is there.
func (n *Namespace) HasRoute(link netlink.Link, r Route) (bool, error) {
	want := r.netlink(link)
	if want.Table == 0 {
		want.Table = unix.RT_TABLE_MAIN
	}
	routes, err := Whole(func() ([]netlink.Route, error) {
		return n.RouteListFiltered(unix.AF_UNSPEC, want, netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST|netlink.RT_FILTER_GW)
	})
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

func (r Route) netlink(link netlink.Link) *netlink.Route {
	route := &netlink.Route{
		LinkIndex: link.Attrs().Index, Dst: ipNet(r.Dst), Gw: r.Gateway.AsSlice(), Src: r.Source.AsSlice(),
		Priority: r.Priority, Scope: netlink.Scope(r.Scope), Protocol: netlink.RouteProtocol(r.Protocol),
		MTU: r.MTU, AdvMSS: r.AdvMSS, Table: r.Table,
	}
	if r.OnLink {
		route.Flags = unix.RTNH_F_ONLINK
	}
	return route
}

func wrap(step string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", step, err)
}

func isLinkLocal6(ip net.IP) bool {
	return ip.To4() == nil && (ip.IsLinkLocalUnicast() || ip.IsMulticast())
}

// label drops the label that the kernel gives an address by itself: it is the
// netdev's name.
func label(label, name string) string {
	if label == name {
		return ""
	}
	return label
}

func peer(a netlink.Addr) netip.Prefix {
	if a.Peer == nil || a.Peer.IP.Equal(a.IP) {
		return netip.Prefix{}
	}
	return prefix(a.Peer)
}

func address(ip net.IP) netip.Addr {
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

func prefix(n *net.IPNet) netip.Prefix {
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(address(n.IP), ones)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
