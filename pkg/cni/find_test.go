package cni

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestANICIsFoundByTheFunctionThatCarriesIt(t *testing.T) {
	card, bare, dual := sysfs.MLX5(1), sysfs.NIC(2), sysfs.MLX5(3) // at 0000:0b:00.0 and so on
	sub := sysfs.SF(card, 2, 9)
	n := node.New(t, card, bare, dual, sub)
	n.Must(n.AddRepresentor(card, "ens2vf0", "pf0vf0"))
	second := dual
	second.Netdev, second.MAC = "ens4np1", "94:6d:ae:00:00:99"
	n.Must(n.AddRepresentor(second, second.Netdev, "p1")) // an uplink's port is none
	host := node.NewHost(t)
	for _, name := range []string{card.Netdev, "ens2vf0", dual.Netdev, second.Netdev, sub.Netdev} {
		node.AddNIC(t, host, name)
	}
	virtio := filepath.Join(n.Sys(), "devices/pci0000:40/0000:41:00.0")
	n.Must(os.MkdirAll(filepath.Join(virtio, "virtio3/net/ens9"), 0o755))
	node.AddNIC(t, host, "ens9")

	for _, tt := range []struct {
		key, value string
		want       string // "" for none
	}{
		{"pciBusID", card.PCI, card.Netdev},
		{"pciBusID", strings.ToUpper(card.PCI), card.Netdev},
		{"deviceID", card.PCI, card.Netdev},
		{"runtimeConfig.deviceID", sub.Auxiliary, sub.Netdev},
		{"kernelpath", virtio, "ens9"},
		{"device", card.Netdev, card.Netdev},
		{"pciBusID", bare.PCI, ""}, // its netdev is in a pod
		{"pciBusID", "0000:ff:00.0", ""},
		{"kernelpath", virtio + "/nothing", ""},
	} {
		link, err := selector{tt.key, tt.value}.find(t.Context(), host, n.RDMA())
		name := ""
		if link != nil {
			name = link.Attrs().Name
		}
		if err != nil || name != tt.want {
			t.Errorf("%s %s: %q, %v, want %q", tt.key, tt.value, name, err, tt.want)
		}
	}
	burnt, err := host.LinkNamed(card.Netdev)
	n.Must(err)
	for mac, want := range map[string]string{strings.ToUpper(burnt.Attrs().HardwareAddr.String()): card.Netdev, "02:00:00:00:00:99": ""} {
		link, err := selector{"hwaddr", mac}.find(t.Context(), host, n.RDMA())
		if (link != nil) != (want != "") || link != nil && link.Attrs().Name != want || err != nil {
			t.Errorf("hwaddr %s: %v, %v, want %q", mac, link, err, want)
		}
	}
	link, err := selector{"pciBusID", dual.PCI}.find(t.Context(), host, n.RDMA())
	if err == nil || !strings.Contains(err.Error(), "several netdevs are below ") || !strings.Contains(err.Error(), dual.Netdev) || !strings.Contains(err.Error(), second.Netdev) {
		t.Errorf("of two ports: %v, %v", link, err)
	}
}

func TestANICThatCouldNotBeToldFromAnotherPortIsRefused(t *testing.T) {
	h := sysfs.MLX5(0)
	n := node.New(t, h)
	second := h
	second.Netdev = "ens11np1"
	n.Must(n.AddRepresentor(second, second.Netdev, "p1"))
	burnt, err := net.ParseMAC(h.MAC)
	n.Must(err)
	for _, tt := range []struct {
		mac  net.HardwareAddr
		want string
	}{{burnt, ""}, {nil, "112 " + h.Netdev + ": it has no permanent MAC address and shares the function " + h.PCI + " with other netdevs"}} {
		o := &operation{Plugin: &Plugin{Node: n.RDMA()}, config: &netConf{RDMA: rdmaNone}}
		_, err := o.describe(target{link: &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: h.Netdev, ParentDevBus: "pci", ParentDev: h.PCI, PermHWAddr: tt.mac}}})
		if !strings.HasPrefix(told(err), tt.want) || err != nil && tt.want == "" {
			t.Errorf("%s: %s, want %s", tt.mac, told(err), tt.want)
		}
	}
}

func TestASelectorMeansARecordsNICByAllThatItWasKnownBy(t *testing.T) {
	r := &attachment.Record{
		NIC:  attachment.NIC{Address: "0000:08:00.0", Netdev: netdev.Identity{PermanentMAC: "94:6d:ae:00:00:01"}},
		Host: netdev.State{Name: "ens12np0", AltNames: []string{"rail1", "enp8s0"}, MAC: "02:00:00:00:00:01"},
	}
	for s, want := range map[selector]bool{
		{"device", "ens12np0"}: true, {"device", "enp8s0"}: true, {"device", "ens13np0"}: false,
		{"hwaddr", "94-6D-AE-00-00-01"}: true, {"hwaddr", "02:00:00:00:00:01"}: true, {"hwaddr", "02:00:00:00:00:02"}: false,
		{"pciBusID", "0000:08:00.0"}: true, {"pciBusID", "0000:08:00.1"}: false,
		{"deviceID", "0000:08:00.0"}: true,
	} {
		if is := s.isOf(r); is != want {
			t.Errorf("%s: %v", s, is)
		}
	}
}

func TestOnlyASoftwareDeviceThatIsOptionalMayStayBehind(t *testing.T) {
	gone := fmt.Errorf("move it: %w", rdma.ErrNoDevice)
	for _, tt := range []struct {
		want string
		soft bool
		err  error
		may  bool
	}{
		{rdmaOptional, true, gone, true},
		{rdmaRequired, true, gone, false},
		{rdmaOptional, false, gone, false},
		{rdmaOptional, true, os.ErrPermission, false},
	} {
		o := &operation{config: &netConf{RDMA: tt.want}}
		r := &attachment.Record{NIC: attachment.NIC{RDMA: &rdma.Device{Soft: tt.soft}}}
		if may := o.goesWithout(r, tt.err); may != tt.may {
			t.Errorf("%+v: %v", tt, may)
		}
	}
}

func TestTheAdviceOnTheRDMAModeIsTheKernelsNumber(t *testing.T) {
	for mode, want := range map[rdma.Mode]int{rdma.Shared: 1, rdma.Exclusive: 0} {
		if number := mode.Parameter(); number != want {
			t.Errorf("%s: netns_mode=%d", mode, number)
		}
	}
}

func TestANetworkNamesItsNICByTheFirstKeyThatIsSet(t *testing.T) {
	const pci, other, third, sf = "0000:08:00.0", "0000:09:00.0", "0000:0a:00.0", "mlx5_core.sf.2"
	for config, want := range map[string]string{ // "key value", or the error
		`"device": "a", "hwaddr": "02:00:00:00:00:01", "kernelpath": "/sys/devices/x", "deviceID": "` + pci + `"`: "device a",
		`"hwaddr": "02:00:00:00:00:01", "kernelpath": "/sys/devices/x", "deviceID": "` + pci + `"`:                "hwaddr 02:00:00:00:00:01",
		`"kernelpath": "/sys/devices/x", "deviceID": "` + pci + `"`:                                               "kernelpath /sys/devices/x",
		`"runtimeConfig": {"deviceID": "` + pci + `"}, "pciBusID": "` + other + `", "deviceID": "` + third + `"`:  "runtimeConfig.deviceID " + pci,
		`"pciBusID": "` + other + `", "deviceID": "` + third + `"`:                                                "pciBusID " + other,
		`"deviceID": "` + sf + `"`:                          "deviceID " + sf,
		`"pciBusID": "3", "deviceID": "` + third + `"`:      "deviceID " + third,
		`"device": "a", "runtimeConfig": {"deviceID": "3"}`: "device a",
		`"pciBusID": "3", "deviceID": "4"`:                  `pciBusID "3" and deviceID "4" is neither a PCI nor an auxiliary address, and nothing else names the NIC; name it with "device", or use a resource whose device IDs are PCI addresses ("mode": "perDevice" of the device plugin)`,
		`"hwaddr": "x"`:                                     `hwaddr "x" is not a MAC address; write it as "94:6d:ae:c6:93:9a"`,
		`"kernelpath": "/sys/class/net/x"`:                  `kernelpath "/sys/class/net/x" is not below /sys/devices; use the path that ` + "`readlink -f /sys/class/net/<name>/device` prints",
		`"kernelpath": "/sys/devices/../class/x"`:           `kernelpath "/sys/devices/../class/x" is not below /sys/devices; use the path that ` + "`readlink -f /sys/class/net/<name>/device` prints",
		`"kernelpath": "/sys/devices/pci*"`:                 `kernelpath "/sys/devices/pci*" is a pattern; use the path of one device`,
		`"mtu": 9000`:                                       `nothing names the NIC; set "device" (or "hwaddr", "kernelpath", "pciBusID")`,
	} {
		c, err := parseConfig([]byte(`{"cniVersion": "1.1.0", "name": "n", ` + config + "}"))
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.selector()
		got := s.key + " " + s.value
		if err != nil {
			got = refusal(err)
		}
		if got != want {
			t.Errorf("%s: %s\nwant %s", config, got, want)
		}
		if none := !strings.Contains(config, `"device`) && !strings.Contains(config, "pciBusID") && !strings.Contains(config, "hwaddr") && !strings.Contains(config, "kernelpath"); c.namesNoNIC() != none {
			t.Errorf("%s: names no NIC: %v", config, c.namesNoNIC())
		}
	}
}
