package netdev

import (
	"net/netip"
	"testing"
)

func TestANetworkHasABroadcastAddressIfThereIsRoomForOne(t *testing.T) {
	for _, tt := range []struct {
		address Address
		want    string // "" for none
	}{
		{Address{Prefix: netip.MustParsePrefix("192.0.2.1/24")}, "192.0.2.255"},
		{Address{Prefix: netip.MustParsePrefix("192.0.2.5/30")}, "192.0.2.7"},
		{Address{Prefix: netip.MustParsePrefix("192.0.2.4/31")}, ""}, // RFC 3021
		{Address{Prefix: netip.MustParsePrefix("192.0.2.4/32")}, ""},
		{Address{Prefix: netip.MustParsePrefix("192.0.2.4/24"), Peer: netip.MustParsePrefix("192.0.2.9/32")}, ""},
		{Address{Prefix: netip.MustParsePrefix("192.0.2.4/24"), Broadcast: netip.IPv4Unspecified()}, ""},
		{Address{Prefix: netip.MustParsePrefix("192.0.2.4/24"), Broadcast: netip.MustParseAddr("192.0.2.0")}, "192.0.2.0"},
		{Address{Prefix: netip.MustParsePrefix("fd00::1/64")}, ""},
	} {
		if got := tt.address.broadcast(); got.IsValid() != (tt.want != "") || got.IsValid() && got.String() != tt.want {
			t.Errorf("%+v: %s, want %q", tt.address, got, tt.want)
		}
	}
}
