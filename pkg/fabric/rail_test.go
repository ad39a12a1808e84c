package fabric

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestRailsAreThoseWithAnAddressInTheOrderOfTheirNumbers(t *testing.T) {
	s := newSite(t, 2, 11)
	delete(s.netdevs[0], "net4")                  // in another namespace
	s.must(s.trees[0].Add(sysfs.SMI(hca(0), 30))) // for the management of the first one's card
	s.netdevs[0]["net6"] = Netdev{MTU: 9000}      // not configured
	infiniband := sysfs.MLX5(20)
	infiniband.Netdev, infiniband.LinkLayer = "net20", "InfiniBand"
	s.must(s.trees[0].Add(infiniband))
	s.netdevs[0]["net20"] = Netdev{MTU: 2044, Addresses: []netip.Addr{netip.MustParseAddr("10.0.20.1")}}
	rails, err := s.nodes[0].Place.Rails(nil)
	s.must(err)
	var names []string
	for _, r := range rails {
		names = append(names, r.Netdev)
	}
	if want := strings.Fields("net1 net2 net3 net5 net7 net8 net9 net10 net11"); !slices.Equal(names, want) {
		t.Errorf("%q", names)
	}
	if rails[0].Device != "mlx5_0" {
		t.Errorf("net1 is tested over %s", rails[0].Device)
	}
}

func TestARailThatIsNamedAndCannotBeUsedSaysWhy(t *testing.T) {
	s := newSite(t, 2, 7)
	s.netdevs[0]["net2"] = Netdev{MTU: 9000}
	s.netdevs[0]["eth0"] = Netdev{MTU: 9000}
	s.must(s.trees[0].SetPort(hca(2), "DOWN", "Disabled"))
	s.netdevs[0]["net4"] = Netdev{MTU: 9000, Addresses: []netip.Addr{netip.MustParseAddr("10.9.9.9")}}
	s.netdevs[0]["net5"] = Netdev{MTU: 300, Addresses: s.netdevs[0]["net5"].Addresses}
	s.gid(s.trees[0], hca(5), 3, "IB/RoCE v1", "0000:0000:0000:0000:0000:ffff:0a00:0501")
	s.must(s.trees[0].SetPort(hca(6), "DOWN", "Disabled"))
	s.netdevs[0]["net7"] = s.netdevs[0]["net4"] // of a port that is down the kernel takes the GIDs away
	names := []string{"net1", "net9", "net2", "eth0", "net3", "net4", "net5", "net6", "net7"}
	want := []string{"", "no netdev net9", "it has no address", "it has no RDMA device", "the port of mlx5_2 is DOWN",
		"mlx5_3 has no RoCE v2 GID for 10.9.9.9", "no RoCE packet fits its MTU of 300", "mlx5_5 has no RoCE v2 GID for 10.0.5.1", "the port of mlx5_6 is DOWN"}
	rails, err := s.nodes[0].Place.Rails(names)
	s.must(err)
	for i, r := range rails {
		if r.Netdev != names[i] || !strings.Contains(r.Problem, want[i]) || (want[i] == "") != (r.Problem == "") {
			t.Errorf("%s: %q, want %q", names[i], r.Problem, want[i])
		}
	}
	if bare := (Rail{Netdev: "eth0", GIDIndex: -1, MTU: 9000, ActiveMTU: 4096, Problem: want[3]}); rails[3] != bare {
		t.Errorf("%+v, want %+v", rails[3], bare)
	}
}

func TestAnIPv4AddressIsPreferredAndAnIPv6AddressWillDo(t *testing.T) {
	s := newSite(t, 2, 2)
	six := netip.MustParseAddr("fd00::1:2")
	s.netdevs[0]["net1"] = Netdev{MTU: 9000, Addresses: []netip.Addr{six, netip.MustParseAddr("10.0.0.1")}}
	s.netdevs[0]["net2"] = Netdev{MTU: 9000, Addresses: []netip.Addr{netip.MustParseAddr("fe80::2"), six}}
	s.gid(s.trees[0], hca(1), 5, "RoCE v2", "fd00:0000:0000:0000:0000:0000:0001:0002")
	rails, err := s.nodes[0].Place.Rails(nil)
	s.must(err)
	if rails[0].IP.Is6() || rails[0].GIDIndex != 3 || rails[1].IP != six || rails[1].GIDIndex != 5 || rails[1].Problem != "" {
		t.Errorf("%+v", rails)
	}
}
