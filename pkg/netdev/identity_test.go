package netdev

import (
	"net"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestANetdevIsKnownByWhatItsHolderCannotChange(t *testing.T) {
	burnt := net.HardwareAddr{0x94, 0x6d, 0xae, 0, 0, 1}
	physical := func() *netlink.Device {
		return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 7, Name: "ens12np0", ParentDevBus: "pci", ParentDev: "0000:08:00.0",
			PermHWAddr: burnt, HardwareAddr: burnt}}
	}
	virtual := func() *netlink.Veth {
		return &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Index: 3, Name: "veth0", ParentIndex: 2, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}}
	}
	tests := []struct {
		name   string
		id     Identity
		change func(physical *netlink.Device, virtual *netlink.Veth) netlink.Link
		same   bool
	}{
		{"renamed, another MAC, another ifindex", IdentityOf(physical()), func(p *netlink.Device, _ *netlink.Veth) netlink.Link {
			p.Name, p.HardwareAddr, p.Index, p.Alias = "net1", net.HardwareAddr{2, 0, 0, 0, 0, 9}, 2, "eth0"
			return p
		}, true},
		{"another function", IdentityOf(physical()), func(p *netlink.Device, _ *netlink.Veth) netlink.Link {
			p.ParentDev = "0000:08:00.1"
			return p
		}, false},
		{"the other port of the function", IdentityOf(physical()), func(p *netlink.Device, _ *netlink.Veth) netlink.Link {
			p.PermHWAddr = net.HardwareAddr{0x94, 0x6d, 0xae, 0, 0, 2}
			return p
		}, false},
		{"a virtual netdev that took its MAC", IdentityOf(physical()), func(_ *netlink.Device, v *netlink.Veth) netlink.Link {
			v.HardwareAddr = burnt
			return v
		}, false},
		{"virtual, renamed and moved", IdentityOf(virtual()), func(_ *netlink.Device, v *netlink.Veth) netlink.Link {
			v.Name, v.Index = "net1", 9
			return v
		}, true},
		{"another virtual netdev with its ifindex", IdentityOf(virtual()), func(_ *netlink.Device, v *netlink.Veth) netlink.Link {
			v.HardwareAddr = net.HardwareAddr{2, 0, 0, 0, 0, 2}
			return v
		}, false},
		{"a physical netdev that took a virtual one's MAC", IdentityOf(virtual()), func(p *netlink.Device, v *netlink.Veth) netlink.Link {
			p.HardwareAddr = v.HardwareAddr
			return p
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.id.Matches(tt.change(physical(), virtual())) != tt.same {
				t.Errorf("matches is %v", !tt.same)
			}
		})
	}
}

func TestTheKeyOfANetdevStaysTheSameInAPod(t *testing.T) {
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "ens12np0", ParentDevBus: "pci", ParentDev: "0000:08:00.0"}}
	before := IdentityOf(link).Key()
	link.Name, link.HardwareAddr, link.Index = "net1", net.HardwareAddr{2, 0, 0, 0, 0, 9}, 99
	if after := IdentityOf(link).Key(); after != before {
		t.Errorf("%s became %s", before, after)
	}
}
