package cni

import (
	"net"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
)

func TestANICIsKnownByItsPermanentAddressBeforeAllThatHaveThatOne(t *testing.T) {
	burnt, set := net.HardwareAddr{0x94, 0x6d, 0xae, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 1}
	nic := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "ens12np0", HardwareAddr: set, PermHWAddr: burnt, ParentDevBus: "pci", ParentDev: "0000:08:00.0"}}
	same := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "eth0", HardwareAddr: set, PermHWAddr: burnt, ParentDevBus: "vmbus", ParentDev: "7"}}
	borrower := &netlink.IPVlan{LinkAttrs: netlink.LinkAttrs{Name: "ipvl0", HardwareAddr: burnt, PermHWAddr: burnt}}
	vlan := func(name string, mac net.HardwareAddr) netlink.Link {
		return &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: name, HardwareAddr: mac}}
	}
	for _, tt := range []struct {
		links []netlink.Link
		want  string // "" for an error
	}{
		{[]netlink.Link{vlan("v1", burnt), nic, vlan("v2", burnt)}, "ens12np0"},
		{[]netlink.Link{vlan("v1", burnt), vlan("v2", set)}, "v1"},
		{[]netlink.Link{borrower, nic}, "ens12np0"},
		{[]netlink.Link{nic, same}, ""},
		{[]netlink.Link{vlan("v1", burnt), vlan("v2", burnt)}, ""},
	} {
		link, err := withMAC(tt.links, burnt)
		if (err != nil) != (tt.want == "") || err == nil && (link == nil || link.Attrs().Name != tt.want) {
			t.Errorf("%v, %v, want %q", link, err, tt.want)
		}
	}
}

func TestAKernelPathMeansTheNICOfADeviceInIt(t *testing.T) {
	path := selector{"kernelpath", "/sys/devices/pci0000:00/0000:00:01.0/0000:08:00.0"}
	for address, want := range map[string]bool{"0000:08:00.0": true, "0000:09:00.0": false, "": false} { // "" is a virtual NIC's
		if is := path.isOf(&attachment.Record{NIC: attachment.NIC{Address: address}}); is != want {
			t.Errorf("the NIC at %q: %v", address, is)
		}
	}
	longer := selector{"kernelpath", "/sys/devices/pci10000:00/10000:08:00.0"} // the domain of a VMD
	if longer.isOf(&attachment.Record{NIC: attachment.NIC{Address: "0000:08:00.0"}}) {
		t.Error("a part of an address means a NIC")
	}
}
