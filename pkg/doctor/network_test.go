package doctor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

func TestANICIsOnTheNodeByAnyNameThatANetworkMayGiveIt(t *testing.T) {
	sys := t.TempDir()
	for file, content := range map[string]string{"class/net/eth0/address": "02:00:00:00:00:01\n", "class/net/eth1/address": "02:00:00:00:00:0b\n"} {
		path := filepath.Join(sys, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := &patient{Options: Options{Roots: Roots{Sys: sys}}, seen: inventory.Snapshot{
		Devices: []inventory.Device{{}, {Device: rdma.Device{Netdevs: []string{"d0", "d1"}}, AltNames: []string{"altd"}}},
		Held: []*attachment.Record{
			{Host: netdev.State{Name: "p0"}},
			{Host: netdev.State{Name: "p1", AltNames: []string{"a", "altp"}}, NIC: attachment.NIC{Netdev: netdev.Identity{PermanentMAC: "94:6d:ae:00:00:aa"}}},
		},
		HostLinks: []netlink.Link{&netlink.Device{}, &netlink.Device{LinkAttrs: netlink.LinkAttrs{AltNames: []string{"b", "altl"}}}},
	}}
	for name, want := range map[string]bool{
		"eth0": true, "eth1": true, "d0": true, "d1": true, "altd": true, "p0": true, "p1": true, "altp": true, "altl": true,
		"eth2": false, "alt": false, "../net/eth2": false,
	} {
		if p.hasNIC(name) != want {
			t.Errorf("name %q: %v", name, !want)
		}
	}
	for mac, want := range map[string]bool{
		"02:00:00:00:00:01": true, "02:00:00:00:00:0B": true, "94:6D:AE:00:00:AA": true, "94:6d:ae:00:00:ab": false, "02:00:00:00:00:00": false,
	} {
		if p.hasMAC(mac) != want {
			t.Errorf("address %q: %v", mac, !want)
		}
	}
}
