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
	Name string `json:"name"`
	MTU  int    `json:"mtu"` // bytes
	MAC  string `json:"mac"`
	Up   bool   `json:"up"`
	// Promiscuous and AllMulticast were asked for by name, with `ip link`: the
	// kernel counts those who need it, such as a bridge, by itself.
	Promiscuous  bool      `json:"promiscuous,omitempty"`
	AllMulticast bool      `json:"allMulticast,omitempty"`
	Alias        string    `json:"alias,omitempty"`
	AltNames     []string  `json:"altNames,omitempty"`
	Addresses    []Address `json:"addresses,omitempty"`
	Routes       []Route   `json:"routes,omitempty"`
}

// flags are those of the link's flags that a State keeps, of all that it could.
func (s State) flags() (set, which uint32) {
	for flag, is := range map[uint32]bool{unix.IFF_UP: s.Up, unix.IFF_PROMISC: s.Promiscuous, unix.IFF_ALLMULTI: s.AllMulticast} {
		which |= flag
		if is {
			set |= flag
		}
	}
	return set, which
}

// An Address is one that the host put on the netdev to stay. Addresses that the
// kernel makes by itself (IPv6 link-local and those from router
// advertisements) come back by themselves and are not recorded, nor are those
// of limited life: a DHCP client asks for another lease when the netdev is back.
type Address struct {
	Prefix netip.Prefix `json:"prefix"` // the address with its prefix length
	Peer   netip.Prefix `json:"peer,omitzero"`
	Label  string       `json:"label,omitempty"`
	Scope  int          `json:"scope,omitempty"`
	// Broadcast is an IPv4 address's: 0.0.0.0 for none, not set for the last
	// address of the subnet.
	Broadcast netip.Addr `json:"broadcast,omitzero"`
	// NoPrefixRoute: the kernel adds no route to the subnet. NetworkManager asks
	// for that, and adds the route itself, with a metric. So does a State for an
	// address with a metric of its own (IFA_RT_PRIORITY), which the netlink
	// package cannot set.
	NoPrefixRoute bool `json:"noPrefixRoute,omitempty"`
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
		Name: a.Name, MTU: a.MTU, MAC: a.HardwareAddr.String(), Alias: a.Alias, AltNames: a.AltNames,
		Up: a.RawFlags&unix.IFF_UP != 0, Promiscuous: a.RawFlags&unix.IFF_PROMISC != 0, AllMulticast: a.RawFlags&unix.IFF_ALLMULTI != 0,
	}
	addrs, err := Whole(func() ([]netlink.Addr, error) { return n.AddrList(link, unix.AF_UNSPEC) })
	if err != nil {
		return State{}, fmt.Errorf("list the addresses of %s: %w", a.Name, err)
	}
	var leftOut []netip.Prefix
	for _, addr := range addrs {
		if isLinkLocal6(addr.IP) {
			continue
		}
		if addr.Flags&unix.IFA_F_PERMANENT == 0 {
			leftOut = append(leftOut, prefix(addr.IPNet))
			continue
		}
		s.Addresses = append(s.Addresses, Address{
			Prefix: prefix(addr.IPNet), Peer: peer(addr), Label: label(addr.Label, a.Name), Scope: addr.Scope,
			Broadcast: broadcast(addr), NoPrefixRoute: addr.Flags&unix.IFA_F_NOPREFIXROUTE != 0,
		})
	}
	// The kernel lists the IPv6 address that was set last first, and prefers it.
	if first6 := slices.IndexFunc(s.Addresses, func(a Address) bool { return a.Prefix.Addr().Is6() }); first6 >= 0 {
		slices.Reverse(s.Addresses[first6:])
	}
	routes, err := Whole(func() ([]netlink.Route, error) {
		return n.RouteListFiltered(unix.AF_UNSPEC, &netlink.Route{LinkIndex: a.Index, Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return State{}, fmt.Errorf("list the routes through %s: %w", a.Name, err)
	}
	for i := range s.Addresses {
		a := &s.Addresses[i]
		a.NoPrefixRoute = a.NoPrefixRoute || slices.ContainsFunc(routes, func(r netlink.Route) bool {
			return r.Protocol == unix.RTPROT_KERNEL && r.Dst != nil && prefix(r.Dst) == a.Prefix.Masked() && r.Priority != kernelMetric(a.Prefix)
		})
	}
	for _, r := range routes {
		if r.Dst == nil || r.Protocol == unix.RTPROT_RA || isLinkLocal6(r.Dst.IP) {
			continue
		}
		route := Route{
			Dst: prefix(r.Dst), Gateway: address(r.Gw), Source: address(r.Src), Priority: r.Priority,
			Scope: int(r.Scope), Protocol: int(r.Protocol), MTU: r.MTU, AdvMSS: r.AdvMSS,
			OnLink: r.Flags&unix.RTNH_F_ONLINK != 0,
		}
		if !s.comesWithAddress(route) && !s.comesWithOneOf(leftOut, route) {
			s.Routes = append(s.Routes, route)
		}
	}
	return s, nil
}

// kernelMetric is that of the route to an address's subnet, where nobody says
// otherwise (IP6_RT_PRIO_ADDRCONF in the kernel).
func kernelMetric(p netip.Prefix) int {
	if p.Addr().Is6() {
		return 256
	}
	return 0
}

// comesWithAddress tells whether a route is one that the kernel adds for an
// address. Its protocol does not tell: who adds such a route in the kernel's
// stead says that it is the kernel's.
func (s State) comesWithAddress(r Route) bool {
	return r.Protocol == unix.RTPROT_KERNEL && !slices.ContainsFunc(s.Addresses, func(a Address) bool {
		return a.NoPrefixRoute && a.Prefix.Masked() == r.Dst
	})
}

// comesWithOneOf tells whether a route needs an address that is not recorded:
// the kernel refuses it without, and whoever sets the one sets the other.
func (s State) comesWithOneOf(leftOut []netip.Prefix, r Route) bool {
	reached := slices.ContainsFunc(s.Addresses, func(a Address) bool {
		return a.Prefix.Contains(r.Gateway) || a.Peer.Contains(r.Gateway)
	})
	return slices.ContainsFunc(leftOut, func(p netip.Prefix) bool {
		return p.Addr() == r.Source || !reached && !r.OnLink && p.Contains(r.Gateway)
	})
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
	errs := []error{n.dropAltNames(from, link, s)}
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
	c.Flags, c.Which = s.flags()
	if err := from.Apply(a.Index, c); err != nil {
		return errors.Join(append(errs, fmt.Errorf("bring back to the host: %w", err))...)
	}
	back, err := n.Link(IdentityOf(link))
	if err != nil || back == nil {
		return errors.Join(append(errs, fmt.Errorf("not on the host after the move"), err)...)
	}
	for _, name := range s.AltNames {
		if !slices.Contains(back.Attrs().AltNames, name) {
			errs = append(errs, wrap("add alternative name "+name, n.LinkAddAltName(back, name)))
		}
	}
	errs = append(errs, n.AddAddresses(back, s.Addresses), n.AddRoutes(back, s.Routes))
	return errors.Join(errs...)
}

// dropAltNames takes the alternative names that the host did not give, and
// those that it has for another link by now, from a link that is about to come
// back: the kernel would not let it in with a name that is taken, nor rename it
// to one that it has besides (__dev_change_net_namespace, dev_change_name).
func (n *Namespace) dropAltNames(from *Namespace, link netlink.Link, s State) error {
	var errs []error
	for _, name := range link.Attrs().AltNames {
		if slices.Contains(s.AltNames, name) {
			if from.ID == n.ID {
				continue
			}
			if holder, err := n.LinkNamed(name); holder == nil && err == nil {
				continue
			}
		}
		errs = append(errs, wrap("drop alternative name "+name, from.LinkDelAltName(link, name)))
	}
	return errors.Join(errs...)
}

// fallbackName lets the kernel number a netdev that cannot have its own name
// on the host; it does the same when a namespace ends.
const fallbackName = "dev%d"

// AddAddresses puts addresses on a link; one that is there already is no error.
func (n *Namespace) AddAddresses(link netlink.Link, addresses []Address) error {
	var errs []error
	if slices.ContainsFunc(addresses, func(a Address) bool { return a.Prefix.Addr().Is6() }) {
		errs = append(errs, n.enableIPv6(link))
	}
	for _, a := range addresses {
		addr := &netlink.Addr{IPNet: ipNet(a.Prefix), Label: a.Label, Scope: a.Scope, Broadcast: a.Broadcast.AsSlice()}
		if a.NoPrefixRoute {
			addr.Flags |= unix.IFA_F_NOPREFIXROUTE
		}
		if a.Prefix.Addr().Is6() {
			// Whoever chose the address vouches for it; duplicate address
			// detection would keep it from being used for a second.
			addr.Flags |= unix.IFA_F_NODAD
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

// broadcast keeps none apart from the one that the kernel would be given.
func broadcast(a netlink.Addr) netip.Addr {
	switch {
	case a.IP.To4() == nil:
		return netip.Addr{}
	case a.Broadcast == nil:
		return netip.IPv4Unspecified()
	}
	return address(a.Broadcast)
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
