package netdev

import (
	"net"
	"net/netip"
	"testing"
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
		peers, err := n.Connections(t.Context(), netip.MustParseAddr(address))
		if err != nil {
			t.Fatal(err)
		}
		want := netip.MustParseAddrPort(l.Addr().String())
		found := false
		for _, peer := range peers {
			found = found || peer == want
			if peer.Addr() != want.Addr() {
				t.Errorf("a connection with %s, though asked for those of %s", peer, address)
			}
		}
		if !found {
			t.Errorf("no connection with %s among %v", want, peers)
		}
	}
	if peers, err := n.Connections(t.Context(), netip.MustParseAddr("127.0.0.99")); err != nil || len(peers) != 0 {
		t.Errorf("%v, %v", peers, err)
	}
}

func BenchmarkConnections(b *testing.B) {
	n, err := CurrentNamespace()
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	for b.Loop() {
		if _, err := n.Connections(b.Context(), netip.MustParseAddr("127.0.0.99")); err != nil {
			b.Fatal(err)
		}
	}
}
