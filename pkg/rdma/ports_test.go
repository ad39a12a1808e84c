package rdma

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// tree writes files below a folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for file, content := range files {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPortsAreThoseWithANumberInItsOrder(t *testing.T) {
	dir := tree(t, map[string]string{
		"ports/10/link_layer": "Ethernet", "ports/2/link_layer": "InfiniBand", "ports/1/link_layer": "Ethernet", "ports/3/state": "4: ACTIVE", "ports/odd/link_layer": "Ethernet",
	})
	got, err := Node{}.ports(dir)
	want := []Port{{Number: 1, LinkLayer: "Ethernet"}, {Number: 2, LinkLayer: "InfiniBand"}, {Number: 3}, {Number: 10, LinkLayer: "Ethernet"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := (Node{}).ports(t.TempDir()); len(got) > 0 || err != nil { // they come after the device
		t.Errorf("%+v, %v", got, err)
	}
}

func TestALinksTypeIsANetdevsOrElseAPorts(t *testing.T) {
	sys := tree(t, map[string]string{"class/net/eth0/type": "1", "class/net/ib0/type": "32", "class/net/odd/type": "512"})
	ethernet, infiniband, unknown := Port{LinkLayer: "Ethernet"}, Port{LinkLayer: "InfiniBand"}, Port{}
	for _, tt := range []struct {
		netdevs []string
		ports   []Port
		want    string
	}{
		{[]string{"eth0"}, []Port{infiniband}, "ether"}, {[]string{"ib0"}, []Port{ethernet}, "infiniband"}, {[]string{"odd", "ib0"}, nil, "infiniband"}, {[]string{"gone", "eth0"}, nil, "ether"},
		{nil, []Port{ethernet}, "ether"}, {nil, []Port{infiniband}, "infiniband"}, {nil, []Port{unknown, ethernet}, "ether"}, {[]string{"odd"}, []Port{infiniband}, "infiniband"},
		{nil, nil, ""}, {[]string{"odd"}, []Port{unknown}, ""},
	} {
		if got := (Node{Sys: sys}).linkType(Device{Netdevs: tt.netdevs, Ports: tt.ports}); got != tt.want {
			t.Errorf("%v, %v: %q, want %q", tt.netdevs, tt.ports, got, tt.want)
		}
	}
}

func TestANodeGUIDOfAnAddressIsItsEUI64(t *testing.T) {
	for mac, want := range map[string]string{
		"02:00:00:00:00:07": "0000:00ff:fe00:0007", "94:6d:ae:c6:93:9a": "966d:aeff:fec6:939a", "00:11:22:33:44:55": "0211:22ff:fe33:4455",
		"": "", "00:11:22:33:44": "", "00:11:22:33:44:55:66:77": "", "zz:11:22:33:44:55": "",
	} {
		if got := eui64(mac); got != want {
			t.Errorf("%q: %q, want %q", mac, got, want)
		}
	}
}

// The kernel says only the name of the netdev, and that may be another's by now.
func TestASoftwareDeviceIsOnTheNetdevWhoseAddressItHas(t *testing.T) {
	sys := tree(t, map[string]string{
		"rxe0/parent": "eth0", "rxe1/parent": "eth1", "rxe2/parent": "gone", "rxe3/parent": "", "rxe4/node_type": "1: CA", "siw0/node_type": "4: RNIC",
		"class/net/eth0/address": "02:00:00:00:00:07", "class/net/eth1/address": "02:00:00:00:00:99",
	})
	n := Node{Sys: sys}
	for device, want := range map[string]string{"rxe0": "eth0", "rxe1": "", "rxe2": "", "rxe3": "", "rxe4": ""} {
		_, netdevs := n.softParent(filepath.Join(sys, device), "0000:00ff:fe00:0007")
		if got := append(netdevs, "")[0]; got != want || len(netdevs) > 1 {
			t.Errorf("%s: %q, want %q", device, netdevs, want)
		}
	}
	for device, want := range map[string]string{"rxe4": "rxe", "siw0": "siw", "rxe0": "rxe"} {
		if got := n.softKind(filepath.Join(sys, device)); got != want {
			t.Errorf("%s is of kind %q, want %q", device, got, want)
		}
	}
}

// The GID is there on the second port.
func TestAPortHasGIDsAndARateOfItsOwn(t *testing.T) {
	const none, linkLocal, ipv4 = "0000:0000:0000:0000:0000:0000:0000:0000", "fe80:0000:0000:0000:966d:aeff:fe00:0001", "0000:0000:0000:0000:0000:ffff:ac1f:0101"
	const ports = "class/infiniband/mlx5_0/ports/"
	n := Node{Sys: tree(t, map[string]string{
		ports + "1/rate": "100 Gb/sec (2X HDR)", ports + "2/rate": "400 Gb/sec (4X NDR)",
		ports + "1/gids/0": ipv4, ports + "1/gid_attrs/types/0": "IB/RoCE v1",
		ports + "1/gids/1": none, ports + "1/gid_attrs/types/1": "RoCE v2", // not in use
		ports + "2/gids/0": linkLocal, ports + "2/gid_attrs/types/0": "RoCE v2",
		ports + "2/gids/1": ipv4, ports + "2/gid_attrs/types/1": "RoCE v2",
	})}
	if port, index, ok := n.GIDIndex("mlx5_0", netip.MustParseAddr("172.31.1.1")); port != 2 || index != 1 || !ok {
		t.Errorf("port %d, index %d, %v", port, index, ok)
	}
	if port, index, ok := n.GIDIndex("mlx5_0", netip.MustParseAddr("172.31.1.2")); ok {
		t.Errorf("of no GID: port %d, index %d", port, index)
	}
	for port, want := range map[int]float64{1: 100e9, 2: 400e9, 3: 0} {
		if got := n.PortRate("mlx5_0", port); got != want {
			t.Errorf("port %d: %v", port, got)
		}
	}
	for number, want := range map[int]struct {
		v2   bool
		ipv4 int // index, -1 for none
		size int
	}{1: {false, -1, 2}, 2: {true, 1, 2}, 3: {false, -1, 0}} {
		d := Device{Name: "mlx5_0", Ports: []Port{{Number: number}}}
		index, ok := n.IPv4GIDIndex(d)
		if !ok {
			index = -1
		}
		if v2, size := n.HasRoCEv2(d), n.GIDTableSize(d); v2 != want.v2 || index != want.ipv4 || size != want.size {
			t.Errorf("port %d: RoCE v2 %v, IPv4 at %d, %d GIDs", number, v2, index, size)
		}
	}
	if n.HasRoCEv2(Device{Name: "mlx5_0"}) {
		t.Error("a device without a port has RoCE v2")
	}
}
