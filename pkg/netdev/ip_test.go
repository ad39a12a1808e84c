package netdev

import (
	"net"
	"net/netip"
	"testing"
)

// Package net has 16 bytes for an IPv4 address, or 4.
func TestAnAddressIsTheSameInBothTypes(t *testing.T) {
	for _, text := range []string{"192.0.2.1/24", "0.0.0.0/0", "192.0.2.1/32", "2001:db8::1/64", "::/0"} {
		want := netip.MustParsePrefix(text)
		ip, n, err := net.ParseCIDR(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := Addr(ip.To16()); got != want.Addr() {
			t.Errorf("%s is %s", text, got)
		}
		if got := Prefix(&net.IPNet{IP: ip, Mask: n.Mask}); got != want {
			t.Errorf("%s is %s", text, got)
		}
		if got := IPNet(want).String(); got != text {
			t.Errorf("%s is %s", text, got)
		}
	}
	if got := Addr(nil); got.IsValid() {
		t.Errorf("no address is %s", got)
	}
}
