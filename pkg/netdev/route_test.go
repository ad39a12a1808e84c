package netdev

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// What RTM_NEWROUTE takes, RTM_GETROUTE tells in the same shape.
func TestARouteIsReadAsItIsWritten(t *testing.T) {
	metrics := attribute(unix.RTA_METRICS, nl.NewRtAttr(unix.RTAX_MTU, nl.Uint32Attr(1400)), nl.NewRtAttr(unix.RTAX_INITCWND, nl.Uint32Attr(20)))
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
		if got, on := routeIn(message); on != index || !reflect.DeepEqual(got, r) {
			t.Errorf("%s: %+v on %d, want %+v", name, got, on, r)
		}
	}
	if _, on := routeIn([]byte{unix.AF_INET}); on != 0 {
		t.Error("half an answer is a route")
	}
}
