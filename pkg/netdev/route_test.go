package netdev

import (
	"bytes"
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
		"a daemon's, from an address":        {Dst: netip.MustParsePrefix("10.0.0.0/8"), Gateway: netip.MustParseAddr("192.0.2.1"), OnLink: true, Source: netip.MustParseAddr("192.0.2.9"), Protocol: unix.RTPROT_STATIC},
		"for some packets":                   {Dst: netip.MustParsePrefix("fd00:1::/64"), From: netip.MustParsePrefix("fd00:2::/64"), TOS: 0x10},
		"local":                              {Dst: netip.MustParsePrefix("10.0.0.0/8"), Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST, Table: 111},
		"with metrics":                       {Dst: netip.MustParsePrefix("10.0.0.0/8"), MTU: 1400, Rest: metrics.Serialize()},
	} {
		var message []byte
		for _, part := range r.message(index) {
			message = append(message, part.Serialize()...)
		}
		if r.Protocol == 0 {
			r.Protocol = unix.RTPROT_BOOT
		}
		if got, ok := routeIn(message); !ok || !slices.Equal(got.Links, []int{index}) || !reflect.DeepEqual(got.Route, r) {
			t.Errorf("%s: %+v, want %+v", name, got, r)
		}
	}
	const ipMulticastRouting = 128 // RTNL_FAMILY_IPMR
	for name, answer := range map[string][]byte{
		"half an answer":            {unix.AF_INET},
		"a cached route":            (&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET, Flags: unix.RTM_F_CLONED}}).Serialize(),
		"one of multicast routing":  (&nl.RtMsg{RtMsg: unix.RtMsg{Family: ipMulticastRouting}}).Serialize(),
		"one of labels and not IPs": (&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_MPLS}}).Serialize(),
	} {
		if r, ok := routeIn(answer); ok {
			t.Errorf("%s is a route: %+v", name, r)
		}
	}
}

// RTA_FLOW, _PREF, _ENCAP_TYPE, _ENCAP and _TTL_PROPAGATE of <linux/rtnetlink.h>.
func TestWhatARouteTakesAsItTellsItIsKept(t *testing.T) {
	var rest []byte
	for _, kind := range []int{11, 20, 21, 22, 26} {
		rest = append(rest, nl.NewRtAttr(kind, []byte{byte(kind), 0, 0, 0}).Serialize()...)
	}
	r := Route{Dst: netip.MustParsePrefix("10.0.0.0/8"), Rest: rest}
	var message []byte
	for _, part := range r.message(7) {
		message = append(message, part.Serialize()...)
	}
	for _, kind := range []int{11, 20, 21, 22, 26} { // one that says nothing
		message = append(message, nl.NewRtAttr(kind, make([]byte, 4)).Serialize()...)
	}
	if got, ok := routeIn(message); !ok || !bytes.Equal(got.Rest, rest) {
		t.Errorf("% x, want % x", got.Rest, rest)
	}
}

func TestAMultipathRouteHasTheLinksOfItsHops(t *testing.T) {
	hop := func(index byte, gateway ...byte) []byte {
		attributes := nl.NewRtAttr(unix.RTA_GATEWAY, gateway).Serialize()
		return append([]byte{byte(8 + len(attributes)), 0, 0, 0, index, 0, 0, 0}, attributes...)
	}
	hops := slices.Concat(hop(3, 192, 0, 2, 1), hop(5, 192, 0, 2, 2), []byte{99, 0, 0, 0, 7, 0, 0, 0})
	message := append((&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET}}).Serialize(), nl.NewRtAttr(unix.RTA_MULTIPATH, hops).Serialize()...)
	if got, ok := routeIn(message); !ok || !slices.Equal(got.Links, []int{3, 5}) || !got.Multipath {
		t.Errorf("%+v", got)
	}
}
