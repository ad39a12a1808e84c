package netdev

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestARouteToTheSameDestinationIsTheSameWhateverItsWay(t *testing.T) {
	have := State{
		Addresses: []Address{{Prefix: netip.MustParsePrefix("192.0.2.1/24")}},
		Routes:    []Route{{Dst: netip.MustParsePrefix("10.0.0.0/8"), Gateway: netip.MustParseAddr("192.0.2.9"), Priority: 100}},
	}
	for _, tt := range []struct {
		address string
		lacks   bool
	}{{"192.0.2.1/24", false}, {"192.0.2.1/25", true}, {"192.0.2.2/24", true}} {
		if addresses, _ := have.lacking(State{Addresses: []Address{{Prefix: netip.MustParsePrefix(tt.address), NoPrefixRoute: true}}}); len(addresses) > 0 != tt.lacks {
			t.Errorf("%s: lacks %v", tt.address, addresses)
		}
	}
	for name, change := range map[string]struct {
		to    func(*Route)
		lacks bool
	}{
		"as it is":            {func(*Route) {}, false},
		"another metric":      {func(r *Route) { r.Priority = 7 }, false},
		"another gateway":     {func(r *Route) { r.Gateway = netip.MustParseAddr("192.0.2.8") }, false},
		"another destination": {func(r *Route) { r.Dst = netip.MustParsePrefix("10.0.0.0/9") }, true},
		"another table":       {func(r *Route) { r.Table = 7 }, true},
		"another TOS":         {func(r *Route) { r.TOS = 8 }, true},
		"another source":      {func(r *Route) { r.From = netip.MustParsePrefix("10.1.0.0/16") }, true},
	} {
		r := have.Routes[0]
		change.to(&r)
		wanted := State{Routes: []Route{have.Routes[0], r}}
		if _, routes := have.lacking(wanted); len(routes) > 0 != change.lacks {
			t.Errorf("%s: lacks %v", name, routes)
		}
		all := 1
		if change.lacks {
			all = 2
		}
		if with := have.With(wanted); len(with.Routes) != all || len(with.Addresses) != 1 || len(wanted.Routes) != 2 || len(have.Routes) != 1 {
			t.Errorf("%s: together %v", name, with.Routes)
		}
	}
}

func TestAStateIsBareWithoutAddressesAndRoutes(t *testing.T) {
	address, route := []Address{{Prefix: netip.MustParsePrefix("192.0.2.1/24")}}, []Route{{Dst: netip.MustParsePrefix("10.0.0.0/8")}}
	for _, tt := range []struct {
		s    State
		want bool
	}{{State{Name: "nic0"}, true}, {State{Addresses: address}, false}, {State{Routes: route}, false}, {State{Addresses: address, Routes: route, Name: "nic0"}.Bare(), true}} {
		if tt.s.IsBare() != tt.want {
			t.Errorf("%+v: %v", tt.s, !tt.want)
		}
	}
	if s := (State{Name: "nic0", MTU: 9000, Addresses: address}).Bare(); s.Name != "nic0" || s.MTU != 9000 {
		t.Errorf("%+v", s)
	}
}

// What was leased, or came with a router's advertisement, is not set again, and
// neither is what needs it.
func TestARouteThatNeedsALeasedAddressIsNotKept(t *testing.T) {
	gateway, source := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("192.0.2.1")
	leased := []netip.Prefix{netip.MustParsePrefix("203.0.113.1/24"), netip.MustParsePrefix("192.0.2.1/24")}
	for name, tt := range map[string]struct {
		lasting []Address
		route   Route
		want    bool
	}{
		"through a gateway that it reaches":        {nil, Route{Gateway: gateway}, true},
		"which another address reaches, too":       {[]Address{{Prefix: netip.MustParsePrefix("192.0.2.5/24")}}, Route{Gateway: gateway}, false},
		"or is the other end of":                   {[]Address{{Prefix: netip.MustParsePrefix("198.51.100.1/32"), Peer: netip.MustParsePrefix("192.0.2.9/32")}}, Route{Gateway: gateway}, false},
		"another address reaches something else":   {[]Address{{Prefix: netip.MustParsePrefix("198.51.100.1/24")}}, Route{Gateway: gateway}, true},
		"a gateway that is said to be on the link": {nil, Route{Gateway: gateway, OnLink: true}, false},
		"through another gateway":                  {nil, Route{Gateway: netip.MustParseAddr("198.51.100.9")}, false},
		"from it":                                  {[]Address{{Prefix: netip.MustParsePrefix("192.0.2.5/24")}}, Route{Gateway: gateway, Source: source}, true},
		"from another":                             {nil, Route{Source: netip.MustParseAddr("198.51.100.1")}, false},
		"of the link":                              {nil, Route{}, false},
	} {
		if got := (State{Addresses: tt.lasting}).needsOneOf(leased, tt.route); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestFlagsAreSetAndClearedAsTheyWere(t *testing.T) {
	const ours = unix.IFF_UP | unix.IFF_PROMISC | unix.IFF_ALLMULTI
	for _, tt := range []struct {
		s          State
		set, which uint32
	}{
		{State{}, 0, ours},
		{State{Up: true}, unix.IFF_UP, ours},
		{State{Promiscuous: true}, unix.IFF_PROMISC, ours},
		{State{AllMulticast: true, Up: true}, unix.IFF_ALLMULTI | unix.IFF_UP, ours},
		{State{Up: true, Settings: &Settings{Flags: unix.IFF_NOARP}}, unix.IFF_UP | unix.IFF_NOARP, ours | settable},
		{State{Settings: &Settings{}}, 0, ours | settable},
	} {
		if set, which := tt.s.flags(); set != tt.set || which != tt.which {
			t.Errorf("%+v: %#x of %#x", tt.s, set, which)
		}
	}
}

// NetworkManager adds the route of an address itself, and says that it is the kernel's.
func TestARouteThatTheKernelAddsComesWithItsAddress(t *testing.T) {
	s := State{Addresses: []Address{{Prefix: netip.MustParsePrefix("192.0.2.1/24")}, {Prefix: netip.MustParsePrefix("198.51.100.1/24"), NoPrefixRoute: true}}}
	for _, tt := range []struct {
		dst             string
		table, protocol int
		want            bool
	}{
		{"192.0.2.0/24", 0, unix.RTPROT_KERNEL, true}, {"192.0.2.0/24", 77, unix.RTPROT_KERNEL, false}, {"192.0.2.0/24", 0, unix.RTPROT_STATIC, false},
		{"198.51.100.0/24", 0, unix.RTPROT_KERNEL, false}, {"198.51.100.0/25", 0, unix.RTPROT_KERNEL, true},
	} {
		if is := s.comesWithAddress(Route{Dst: netip.MustParsePrefix(tt.dst), Table: tt.table, Protocol: tt.protocol}); is != tt.want {
			t.Errorf("%+v: %v", tt, is)
		}
	}
}

func TestAMultipathRouteIsThroughNoLinkAlone(t *testing.T) {
	way := func(dst string, multipath bool, links ...int) Way {
		return Way{Route: Route{Dst: netip.MustParsePrefix(dst)}, Links: links, Multipath: multipath}
	}
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 7}}
	routes := through(link, []Way{way("10.1.0.0/16", false, 7), way("10.2.0.0/16", true, 7), way("10.3.0.0/16", true, 7, 8), way("10.4.0.0/16", false, 8), way("10.5.0.0/16", false), way("10.6.0.0/16", false, 7)})
	var have []string
	for _, r := range routes {
		have = append(have, r.String())
	}
	if want := []string{"10.1.0.0/16", "10.6.0.0/16"}; !slices.Equal(have, want) {
		t.Errorf("%q, want %q", have, want)
	}
}

func TestWhatAMessageIsAboutIsNamedInIt(t *testing.T) {
	at := netip.MustParseAddrPort
	for want, is := range map[string]fmt.Stringer{
		"a program listens on it, port 4791":               Connection{Local: at("192.0.2.1:4791"), Peer: at("0.0.0.0:0")},
		"with 192.0.2.9:22":                                Connection{Local: at("192.0.2.1:4791"), Peer: at("192.0.2.9:22")},
		"XDP program 7":                                    Program{Hook: "XDP", ID: 7},
		"qdisc htb 1f:":                                    Qdisc{Kind: "htb", Handle: 0x1f_0000},
		"macvlan mv0":                                      Upper{"macvlan", "mv0"},
		"from 192.0.2.1 lookup 77 priority 1000":           Rule{Source: netip.MustParseAddr("192.0.2.1"), Table: 77, Priority: 1000},
		"its name a is taken by c; it is on the host as b": &NameTaken{Name: "a", Has: "b", Holder: "c"},
	} {
		if got := is.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestARouteIsNamedByWhatTellsItFromOthers(t *testing.T) {
	dst, gateway := netip.MustParsePrefix("10.0.0.0/8"), netip.MustParseAddr("192.0.2.9")
	var got []string
	for _, r := range []Route{{Dst: dst}, {Dst: dst, Gateway: gateway}, {Dst: dst, Gateway: gateway, Table: 7}, {Dst: dst, From: netip.MustParsePrefix("10.1.0.0/16"), Table: 7}} {
		got = append(got, r.String())
	}
	want := []string{"10.0.0.0/8", "10.0.0.0/8 via 192.0.2.9", "10.0.0.0/8 via 192.0.2.9 table 7", "10.0.0.0/8 from 10.1.0.0/16 table 7"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
