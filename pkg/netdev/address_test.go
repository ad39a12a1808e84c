package netdev

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// What RTM_NEWADDR takes, RTM_GETADDR tells in the same shape.
func TestAnAddressIsReadAsItIsWritten(t *testing.T) {
	for _, a := range []Address{
		{Prefix: netip.MustParsePrefix("192.0.2.1/24"), Broadcast: netip.MustParseAddr("192.0.2.255"), Label: "net1:0"},
		{Prefix: netip.MustParsePrefix("192.0.2.1/24"), Broadcast: netip.IPv4Unspecified(), NoPrefixRoute: true},
		{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Peer: netip.MustParsePrefix("192.0.2.9/32"), Broadcast: netip.IPv4Unspecified(), Scope: unix.RT_SCOPE_LINK},
		{Prefix: netip.MustParsePrefix("fd00::1/64"), Flags: unix.IFA_F_HOMEADDRESS},
		{Prefix: netip.MustParsePrefix("fd00::1/128"), Peer: netip.MustParsePrefix("fd00::2/64")},
	} {
		var message []byte
		for _, part := range a.message(7) {
			message = append(message, part.Serialize()...)
		}
		if got, index, permanent := addressIn(message, "net1"); got != a || index != 7 || permanent {
			t.Errorf("%+v on %d (%v), want %+v", got, index, permanent, a)
		}
	}
	var named []byte
	for _, part := range (Address{Prefix: netip.MustParsePrefix("192.0.2.1/24"), Label: "net1"}).message(7) {
		named = append(named, part.Serialize()...)
	}
	if got, _, _ := addressIn(named, "net1"); got.Label != "" {
		t.Errorf("the kernel's own label is recorded: %s", got.Label)
	}
	if _, index, _ := addressIn([]byte{unix.AF_INET}, "net1"); index != 0 {
		t.Error("half an answer is an address")
	}
}

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
