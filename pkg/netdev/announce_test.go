package netdev

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
)

func TestAnAdvertisementIsOneThatNeighboursTake(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 7}
	address := netip.MustParseAddr("2001:db8::7").As16()
	all := netip.MustParseAddr("ff02::1").As16()
	b := neighbourAdvertisement(mac, netip.AddrFrom16(address))
	if len(b) != 40+32 {
		t.Fatalf("%d bytes", len(b))
	}
	// RFC 8200, section 3; RFC 4861, sections 4.4 and 7.1.2
	if want := append(append([]byte{0x60, 0, 0, 0, 0, 32, 58, 255}, address[:]...), all[:]...); !bytes.Equal(b[:40], want) {
		t.Errorf("header % x", b[:40])
	}
	icmp := bytes.Clone(b[40:])
	sum := icmp[2:4]
	if want := append(append(append([]byte{136, 0}, sum...), 0x20, 0, 0, 0), append(address[:], 2, 1, 2, 0, 0, 0, 0, 7)...); !bytes.Equal(icmp, want) {
		t.Errorf("advertisement % x", icmp)
	}
	pseudo := append(append(append([]byte{}, address[:]...), all[:]...), 0, 0, 0, 32, 0, 0, 0, 58)
	if is := checksum(append(pseudo, icmp...)); is != 0 { // with the right sum in it
		t.Errorf("the sum is %x off", is)
	}
	if is := checksum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}); is != ^uint16(0xddf2) { // RFC 1071, section 3
		t.Errorf("%x", is)
	}
}
