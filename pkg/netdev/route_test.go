package netdev

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// What RTM_NEWROUTE takes, RTM_GETROUTE tells in the same shape.
func TestARouteIsReadAsItIsWritten(t *testing.T) {
	metrics := nl.NewRtAttr(unix.RTA_METRICS, slices.Concat(nl.NewRtAttr(unix.RTAX_MTU, nl.Uint32Attr(1400)).Serialize(), nl.NewRtAttr(unix.RTAX_INITCWND, nl.Uint32Attr(20)).Serialize()))
	const index = 7
	for name, r := range map[string]Route{
		"a default route":                    {Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.1"), Table: 70000, Priority: 5},
		"by a neighbour of the other family": {Dst: netip.MustParsePrefix("10.0.0.0/8"), Gateway: netip.MustParseAddr("fe80::1"), OnLink: true},
		"for some packets":                   {Dst: netip.MustParsePrefix("fd00:1::/64"), From: netip.MustParsePrefix("fd00:2::/64"), TOS: 0x10},
		"local":                              {Dst: netip.MustParsePrefix("10.0.0.0/8"), Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST, Table: 111},
		"with metrics":                       {Dst: netip.MustParsePrefix("10.0.0.0/8"), MTU: 1400, Rest: metrics.Serialize()},
	} {
		var message []byte
		for _, part := range r.message(index) {
			message = append(message, part.Serialize()...)
		}
		r.Protocol = unix.RTPROT_BOOT
		if got, ok := routeIn(message); !ok || !slices.Equal(got.Links, []int{index}) || !reflect.DeepEqual(got.Route, r) {
			t.Errorf("%s: %+v, want %+v", name, got, r)
		}
	}
	if _, ok := routeIn([]byte{unix.AF_INET}); ok {
		t.Error("half an answer is a route")
	}
}

func TestAMultipathRouteHasTheLinksOfItsHops(t *testing.T) {
	hop := func(index byte, gateway ...byte) []byte {
		attributes := nl.NewRtAttr(unix.RTA_GATEWAY, gateway).Serialize()
		return append([]byte{byte(8 + len(attributes)), 0, 0, 0, index, 0, 0, 0}, attributes...)
	}
	hops := slices.Concat(hop(3, 192, 0, 2, 1), hop(5, 192, 0, 2, 2), []byte{99, 0, 0, 0, 7, 0, 0, 0})
	message := append((&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET}}).Serialize(), nl.NewRtAttr(unix.RTA_MULTIPATH, hops).Serialize()...)
	if got, ok := routeIn(message); !ok || !slices.Equal(got.Links, []int{3, 5}) {
		t.Errorf("%+v", got)
	}
}
