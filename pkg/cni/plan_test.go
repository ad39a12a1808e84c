package cni

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// planned is the plan that an IPAM plugin's answer gives.
func planned(t *testing.T, routing sourceRouting, answer string) plan {
	t.Helper()
	var ipam current.Result
	if err := json.Unmarshal([]byte(answer), &ipam); err != nil {
		t.Fatal(err)
	}
	c := &netConf{}
	c.SourceRouting = routing
	return c.plan(&attachment.Record{}, &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 7}}, &ipam)
}

func TestOfSeveralGatewaysOfAFamilyTheFirstCounts(t *testing.T) {
	p := planned(t, sourceRouting{}, `{"cniVersion": "1.1.0",
		"ips": [{"address": "172.31.1.2/24", "gateway": "172.31.1.1"}, {"address": "fd00:1::2/64", "gateway": "fd00:1::1"},
			{"address": "172.31.2.2/24", "gateway": "172.31.2.1"}, {"address": "fd00:2::2/64", "gateway": "fd00:2::1"}],
		"routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}`)
	for i, want := range []string{"172.31.1.1", "fd00:1::1"} {
		if got := p.routes[i].Gateway.String(); got != want {
			t.Errorf("%s is by %s, want %s", p.routes[i].Dst, got, want)
		}
	}
}

func TestWithSourceRoutingARouteStaysInTheTableThatItWasGiven(t *testing.T) {
	p := planned(t, sourceRouting{On: true, Table: 777}, `{"cniVersion": "1.1.0", "ips": [{"address": "172.31.1.2/24"}],
		"routes": [{"dst": "10.1.0.0/16", "gw": "172.31.1.1", "table": 555}, {"dst": "10.2.0.0/16", "gw": "172.31.1.1"}]}`)
	for dst, want := range map[string]int{"10.1.0.0/16": 555, "10.2.0.0/16": 777} {
		at := slices.IndexFunc(p.routes, func(r netdev.Route) bool { return r.Dst == netip.MustParsePrefix(dst) })
		if at < 0 || p.routes[at].Table != want {
			t.Errorf("%s: %+v, want table %d", dst, p.routes, want)
		}
	}
}

func TestWhatIsKeptIsTheHostsOwnInTheMainTable(t *testing.T) {
	prefix, gateway := netip.MustParsePrefix("192.0.2.1/24"), netip.MustParseAddr("192.0.2.254")
	static := netdev.Route{Dst: netip.MustParsePrefix("198.51.100.0/24"), Gateway: gateway, Protocol: unix.RTPROT_STATIC, Priority: 101}
	kernels, another := static, static
	kernels.Protocol, another.Table = unix.RTPROT_KERNEL, 100
	var p plan
	// NetworkManager adds the subnet's route itself, which does not come along.
	p.keep(netdev.State{
		Addresses: []netdev.Address{{Prefix: prefix, NoPrefixRoute: true, Deprecated: true}},
		Routes:    []netdev.Route{kernels, static, another},
	})
	want := plan{addresses: []netdev.Address{{Prefix: prefix, Deprecated: true}}, routes: []netdev.Route{static}}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("%+v, want %+v", p, want)
	}
	c := &netConf{KeepAddresses: true, SourceRouting: sourceRouting{On: true}}
	routed := c.plan(&attachment.Record{Host: netdev.State{Addresses: p.addresses, Routes: p.routes}}, &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 7}}, nil)
	if got, want := inWords(routed), []string{"route 192.0.2.0/24 src 192.0.2.1 table 107 scope 253", "route 198.51.100.0/24 via 192.0.2.254 table 107 metric 101", "rule from 192.0.2.1 lookup 107 priority 1000"}; !slices.Equal(got, want) {
		t.Errorf("by source:\n%q\nwant\n%q", got, want)
	}
}
