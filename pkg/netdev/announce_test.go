package netdev

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What the other end of the wire gets makes it send to this MAC address.
func TestTheNeighboursHearWhereAnAddressIsNow(t *testing.T) {
	n := newNamespaceOfItsOwn(t, "one")
	one, peer := n.mustFind(t, "one"), n.mustFind(t, "onew")
	if err := errors.Join(netlink.LinkSetUp(peer), netlink.LinkSetUp(one), n.AddAddresses(one, []Address{{Prefix: netip.MustParsePrefix("192.0.2.1/24")}, {Prefix: netip.MustParsePrefix("fd00::1/64")}})); err != nil {
		t.Fatal(err)
	}
	mac := one.Attrs().HardwareAddr
	ours, all := netip.MustParseAddr("fd00::1").As16(), netip.MustParseAddr("ff02::1").As16()
	for address, want := range map[string][]byte{
		// RFC 826: by Ethernet and IPv4, a request of the address for itself.
		"192.0.2.1": slices.Concat(bytes.Repeat([]byte{0xff}, 6), mac, []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 1}, mac, []byte{192, 0, 2, 1}, make([]byte, 6), []byte{192, 0, 2, 1}),
		// Up to where the advertisement begins.
		"fd00::1": slices.Concat([]byte{0x33, 0x33, 0, 0, 0, 1}, mac, []byte{0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, unix.IPPROTO_ICMPV6, 255}, ours[:], all[:], []byte{136, 0}),
	} {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(fd) }()
		if err := errors.Join(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: peer.Attrs().Index}), unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 10_000})); err != nil {
			t.Fatal(err)
		}
		heard, frame := false, make([]byte, 1500)
		for end := time.Now().Add(10 * time.Second); !heard && time.Now().Before(end); { // the kernel brings up the link in its own time
			if err := n.Announce(one, netip.MustParseAddr(address)); err != nil {
				t.Fatal(err)
			}
			for read := 0; read >= 0 && !heard; {
				if read, err = unix.Read(fd, frame); err == nil {
					heard = bytes.HasPrefix(frame[:read], want)
				}
			}
		}
		if !heard {
			t.Errorf("nobody hears of %s", address)
		}
	}
	const none = 99
	for length, want := range map[int]string{0: "", 6: "announce fd00::1: no such device or address", 20: ""} { // of InfiniBand
		link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: none, HardwareAddr: make([]byte, length)}}
		if err := n.Announce(link, netip.MustParseAddr("fd00::1")); (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("an address of %d bytes: %v, want %q", length, err, want)
		}
	}
}

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
