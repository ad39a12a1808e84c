package netdev

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

func TestConnectionsAreFoundByTheirLocalAddress(t *testing.T) {
	n, err := CurrentNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for _, address := range []string{"127.0.0.1", "::1"} {
		l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
		if err != nil {
			t.Skip(err) // no IPv6
		}
		defer l.Close()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		connections, err := n.Connections(t.Context(), []netip.Addr{netip.MustParseAddr(address)})
		if err != nil {
			t.Fatal(err)
		}
		want := netip.MustParseAddrPort(l.Addr().String())
		connected, listening := false, false
		for _, c := range connections {
			connected = connected || c.Peer == want
			listening = listening || c.Local == want && c.Peer.Port() == 0
			if c.Peer.Port() != 0 && c.Peer.Addr() != want.Addr() {
				t.Errorf("a connection with %s, though asked for those of %s", c.Peer, address)
			}
		}
		if !connected || !listening {
			t.Errorf("%s: connected %v, listening %v, among %v", want, connected, listening, connections)
		}
	}
	l, err := net.Listen("tcp", ":0") // of both families: its connections are IPv6 sockets
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	connections, err := n.Connections(t.Context(), []netip.Addr{netip.MustParseAddr("127.0.0.1")})
	if err != nil || !slices.ContainsFunc(connections, func(at Connection) bool { return at.Peer.String() == c.LocalAddr().String() }) {
		t.Errorf("not the server's end of one from %s: %v, %v", c.LocalAddr(), connections, err)
	}
	if peers, err := n.Connections(t.Context(), []netip.Addr{netip.MustParseAddr("127.0.0.99")}); err != nil || len(peers) != 0 {
		t.Errorf("%v, %v", peers, err)
	}
}

func TestAKernelWithoutAFamilyHasNoConnectionsOfIt(t *testing.T) {
	socket, err := OpenSocket(netns.None(), unix.NETLINK_INET_DIAG)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if found, err := connections(t.Context(), socket, unix.AF_SECURITY, []netip.Addr{netip.IPv6Loopback()}); len(found) != 0 || err != nil {
		t.Errorf("%v, %v", found, err)
	}
}

// The kernel refuses a program with a jump to nowhere.
func TestConnectionsAreFoundByAnyOfManyAddresses(t *testing.T) {
	n, err := CurrentNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	listening := map[netip.AddrPort]bool{}
	for _, address := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "[::1]"} {
		l, err := net.Listen("tcp", address+":0")
		if err != nil {
			t.Skip(err) // no IPv6
		}
		defer l.Close()
		listening[netip.MustParseAddrPort(l.Addr().String())] = true
	}
	asked := []netip.Addr{netip.MustParseAddr("127.0.0.3"), netip.IPv6Loopback(), netip.MustParseAddr("127.0.0.1")}
	for i := range 2 * mostAddresses {
		asked = append(asked, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), netip.AddrFrom16([16]byte{0xfd, 14: byte(i >> 8), 15: byte(i)}))
	}
	for range 3 { // each is the first, and the first of them the last, once
		connections, err := n.Connections(t.Context(), asked)
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]int{}
		for _, c := range connections {
			if !slices.Contains(asked, c.Local.Addr()) {
				t.Errorf("%s %s, and nobody asked for it", c.Local, c)
			}
			if listening[c.Local] && c.Peer.Port() == 0 {
				found[c.Local.Addr().String()]++
			}
		}
		if want := map[string]int{"127.0.0.1": 1, "127.0.0.3": 1, "::1": 1}; !maps.Equal(found, want) {
			t.Errorf("found %v, want %v", found, want)
		}
		asked = append(asked[1:], asked[0])
	}
}

func BenchmarkConnections(b *testing.B) {
	n, err := CurrentNamespace()
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	for b.Loop() {
		if _, err := n.Connections(b.Context(), []netip.Addr{netip.MustParseAddr("127.0.0.99")}); err != nil {
			b.Fatal(err)
		}
	}
}
