package rdma_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// The simulated GID table: a link-local and an IPv4 address, each first as
// RoCE v1 and then as v2.
func TestGIDsAreThoseOfRoCEv2(t *testing.T) {
	node, _ := simulate(t, sysfs.MLX5(0))
	for address, want := range map[string]int{"fe80::966d:aeff:fe00:1": 1, "172.31.1.1": 3, "172.31.1.2": -1} {
		port, index, ok := node.GIDIndex("mlx5_0", netip.MustParseAddr(address))
		if ok != (want >= 0) || ok && (port != 1 || index != want) {
			t.Errorf("%s: port %d, index %d, %v", address, port, index, ok)
		}
	}
	d := only(t, node)
	if index, ok := node.IPv4GIDIndex(d); !ok || index != 3 {
		t.Errorf("the first of an IPv4 address: %d, %v", index, ok)
	}
	if size := node.GIDTableSize(d); size != 4 {
		t.Errorf("a table of %d", size)
	}
	d.Ports = nil
	if index, ok := node.IPv4GIDIndex(d); ok || node.GIDTableSize(d) != 0 {
		t.Errorf("without a port: %d", index)
	}
}

func TestFunctionsAndTheirNetdevs(t *testing.T) {
	hca, nic := sysfs.MLX5(0), sysfs.NIC(5)
	sf := sysfs.SF(hca, 2, 10)
	node, tree := simulate(t, hca, sf, nic, sysfs.RXE(20, sysfs.HCA{}))
	if got, want := node.HardwareNetdevs(), []string{sf.Netdev, hca.Netdev, nic.Netdev}; !slices.Equal(got, want) {
		t.Errorf("netdevs on a bus: %v, want %v", got, want)
	}
	devices, err := node.Devices()
	must(t, err)
	for _, d := range devices {
		want := "pci0000:00/0000:00:01.0"
		if d.Soft {
			want = ""
		}
		if got := node.PCIeRoot(d); got != want {
			t.Errorf("%s is below %q, not %q", d, got, want)
		}
	}
	for netdev, want := range map[string]string{hca.Netdev: "mlx5_core, pci " + hca.PCI, sf.Netdev: "mlx5_core.sf, auxiliary " + sf.Auxiliary, nic.Netdev: ", pci " + nic.PCI, "veth20": ",  ", "none": ",  "} {
		bus, address := node.NetdevAddress(netdev)
		if got := node.NetdevDriver(netdev) + ", " + bus + " " + address; got != want {
			t.Errorf("%s: %s, want %s", netdev, got, want)
		}
	}
	if !node.HasFunction("pci", hca.PCI) || !node.HasFunction("auxiliary", sf.Auxiliary) {
		t.Error("a function is not there")
	}
	must(t, tree.Unplug(hca))
	if node.HasFunction("pci", hca.PCI) {
		t.Error("a function that was pulled is there")
	}
}

func TestARepresentorIsNoNetdevOfADevice(t *testing.T) {
	hca := sysfs.MLX5(0)
	node, _ := simulate(t, hca)
	if port, err := node.Representor(hca.Netdev); port != "" || err != nil {
		t.Errorf("the uplink: %q, %v", port, err)
	}
	file := filepath.Join(node.Sys, "class/net", hca.Netdev, "phys_port_name")
	must(t, os.WriteFile(file, []byte("pf0vf3\n"), 0o600))
	if port, err := node.Representor(hca.Netdev); port != "pf0vf3" || err != nil {
		t.Errorf("a representor: %q, %v", port, err)
	}
	if d := only(t, node); len(d.Netdevs) != 0 {
		t.Errorf("its device has the netdevs %v", d.Netdevs)
	}
	if port, err := node.Representor("none"); port != "" || err != nil {
		t.Errorf("no netdev at all: %q, %v", port, err)
	}
}
