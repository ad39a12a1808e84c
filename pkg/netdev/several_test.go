package netdev_test

import (
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

// Of several things each is tried, what is there already or gone already is fine,
// and the error names the one that could not be.
func TestWhatCannotBeSetKeepsNothingElse(t *testing.T) {
	host := node.NewHost(t)
	link := node.AddNIC(t, host, "nic0")
	shell(t, "ip link set nic0 up; ip link set nic0w up")
	show := func(command string) string {
		t.Helper()
		out, err := exec.Command("bash", "-ec", command).CombinedOutput()
		must(t, err)
		return string(out)
	}
	address := func(prefix string) netdev.Address { return netdev.Address{Prefix: netip.MustParsePrefix(prefix)} }
	route := func(dst, gateway string) netdev.Route {
		r := netdev.Route{Dst: netip.MustParsePrefix(dst)}
		if gateway != "" {
			r.Gateway = netip.MustParseAddr(gateway)
		} else {
			r.Scope = 253
		}
		return r
	}
	rule := netdev.Rule{Source: netip.MustParseAddr("192.0.2.1"), Table: 77, Priority: 1000}
	other := netdev.Rule{Source: netip.MustParseAddr("192.0.2.2"), Table: 77, Priority: 1000}
	for range 2 { // the second time all is there
		err := host.AddAddresses(link, []netdev.Address{address("192.0.2.1/24"), address("ff02::1/64"), address("fd00::1/64"), address("192.0.2.2/32")})
		if err == nil || !strings.Contains(err.Error(), "add address ff02::1/64: ") || strings.Contains(err.Error(), "192.0.2") {
			t.Errorf("addresses: %v", err)
		}
		// Those on the link come first, whatever the order.
		err = host.AddRoutes(link, []netdev.Route{route("10.2.0.0/16", "198.51.100.9"), route("10.1.0.0/16", "203.0.113.9"), route("10.3.0.0/16", "192.0.2.9"), route("198.51.100.0/24", "")})
		if err == nil || !strings.Contains(err.Error(), "add route 10.1.0.0/16 via 203.0.113.9: ") || strings.Contains(err.Error(), "10.2") || strings.Contains(err.Error(), "10.3") {
			t.Errorf("routes: %v", err)
		}
		must(t, host.AddRules([]netdev.Rule{rule, other}))
	}
	for _, want := range []string{"192.0.2.1/24", "192.0.2.2/32", "fd00::1/64"} {
		if have := show("ip addr show dev nic0"); !strings.Contains(have, want) {
			t.Errorf("no %s in\n%s", want, have)
		}
	}
	for _, want := range []string{"10.2.0.0/16 via 198.51.100.9", "10.3.0.0/16 via 192.0.2.9", "198.51.100.0/24"} {
		if have := show("ip route show dev nic0"); strings.Count(have, want) < 1 || strings.Contains(have, "10.1.") {
			t.Errorf("no %s in\n%s", want, have)
		}
	}
	for r, want := range map[netdev.Rule]bool{
		rule: true, other: true, {Source: rule.Source, Table: 78, Priority: 1000}: false, {Source: rule.Source, Table: 77, Priority: 1001}: false,
	} {
		if has, err := host.HasRule(t.Context(), r); has != want || err != nil {
			t.Errorf("rule %s: %v, %v", r, has, err)
		}
	}
	for range 2 { // the second time nothing is there
		must(t, host.DeleteRules([]netdev.Rule{rule, other}))
		must(t, host.DeleteAddresses(link, []netdev.Address{address("192.0.2.99/24"), address("192.0.2.1/24"), address("fd00::1/64"), address("192.0.2.2/32")}))
	}
	if have := show("ip addr show dev nic0; ip rule"); strings.Contains(have, "192.0.2") || strings.Contains(have, "fd00::1") {
		t.Errorf("left:\n%s", have)
	}
}

func TestARouteIsThereWithItsDestinationGatewayAndTable(t *testing.T) {
	host := node.NewHost(t)
	link := node.AddNIC(t, host, "nic0")
	another := node.AddNIC(t, host, "nic1")
	shell(t, "ip link set nic0 up; ip link set nic0w up; ip link set nic1 up; ip link set nic1w up; ip addr add fd00::1/64 dev nic1 nodad; ip addr add 192.0.2.1/24 dev nic0; ip route add 10.1.0.0/16 via 192.0.2.9 metric 7; ip route add 10.2.0.0/16 via 192.0.2.9 table 77")
	of := func(dst, gateway string, table int) netdev.Route {
		return netdev.Route{Dst: netip.MustParsePrefix(dst), Gateway: netip.MustParseAddr(gateway), Table: table}
	}
	for _, tt := range []struct {
		r    netdev.Route
		want bool
	}{
		{of("10.1.0.0/16", "192.0.2.9", 0), true}, {of("10.1.0.0/16", "192.0.2.9", netdev.AnyTable), true}, {of("10.1.0.0/16", "192.0.2.9", 77), false},
		{of("10.1.0.0/16", "192.0.2.8", 0), false}, {of("10.1.0.0/17", "192.0.2.9", 0), false},
		{of("10.2.0.0/16", "192.0.2.9", 77), true}, {of("10.2.0.0/16", "192.0.2.9", netdev.AnyTable), true}, {of("10.2.0.0/16", "192.0.2.9", 0), false},
	} {
		if has, err := host.HasRoute(t.Context(), link, tt.r); has != tt.want || err != nil {
			t.Errorf("%s: %v, %v", tt.r, has, err)
		}
		if has, err := host.HasRoute(t.Context(), another, tt.r); has || err != nil {
			t.Errorf("%s through another link: %v, %v", tt.r, has, err)
		}
	}
	var all []string
	routes, err := host.AllRoutes(t.Context())
	must(t, err)
	for _, r := range routes {
		if slices.Equal(r.Links, []int{link.Attrs().Index}) && r.Dst.Addr().Is4() {
			all = append(all, r.String())
		}
	}
	slices.Sort(all)
	if want := []string{"10.1.0.0/16 via 192.0.2.9", "10.2.0.0/16 via 192.0.2.9 table 77", "192.0.2.0/24"}; !slices.Equal(all, want) {
		t.Errorf("%q, want %q", all, want)
	}
	for _, want := range []bool{true, false} {
		if added, err := host.AddRoute(link, of("10.3.0.0/16", "192.0.2.9", 0)); added != want || err != nil {
			t.Errorf("added %v, %v; want %v", added, err, want)
		}
	}
	for address, want := range map[string]int{"192.0.2.9": link.Attrs().Index, "10.1.2.3": link.Attrs().Index, "fd00::9": another.Attrs().Index} {
		if index, err := host.LinkTo(netip.MustParseAddr(address)); index != want || err != nil {
			t.Errorf("to %s: %d, %v", address, index, err)
		}
	}
	if index, err := host.LinkTo(netip.MustParseAddr("203.0.113.1")); err == nil {
		t.Errorf("there is a way to nowhere: %d", index)
	}
}
