package netdev

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestANetdevIsKnownByWhatItsHolderCannotChange(t *testing.T) {
	burnt := net.HardwareAddr{0x94, 0x6d, 0xae, 0, 0, 1}
	physical := func() *netlink.Device {
		return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 7, Name: "ens12np0", ParentDevBus: "pci", ParentDev: "0000:08:00.0",
			PermHWAddr: burnt, HardwareAddr: burnt}}
	}
	const host, other = 4, 5 // numbers of namespaces in the pod's
	virtual := func() *netlink.Veth {
		return &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Index: 3, Name: "veth0", ParentIndex: 2, NetNsID: -1, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}}
	}
	vlan := func(id int) *netlink.Vlan {
		a := virtual().LinkAttrs
		return &netlink.Vlan{LinkAttrs: a, VlanId: id, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
	}
	macvlan := func() *netlink.Macvlan { return &netlink.Macvlan{LinkAttrs: virtual().LinkAttrs} }
	moved := IdentityOf(macvlan())
	moved.AwayIndex = 9
	wired := virtual()
	wired.NetNsID = 7 // its other end is in another namespace
	single := IdentityOf(physical())
	single.Alone = true
	unburnt := physical()
	unburnt.PermHWAddr = nil
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
		{"the same function of another bus", IdentityOf(physical()), func(p *netlink.Device, _ *netlink.Veth) netlink.Link {
			p.ParentDevBus = "vdpa"
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
			v.Name, v.Index, v.NetNsID = "net1", 9, host
			return v
		}, true},
		{"a veth with another MAC", IdentityOf(virtual()), func(_ *netlink.Device, v *netlink.Veth) netlink.Link {
			v.NetNsID, v.HardwareAddr = host, burnt
			return v
		}, true},
		{"a macvlan with another MAC, where it was moved", moved, func(*netlink.Device, *netlink.Veth) netlink.Link {
			m := macvlan()
			m.Index, m.NetNsID, m.HardwareAddr = 9, host, burnt
			return m
		}, true},
		{"another macvlan of the same netdev", moved, func(*netlink.Device, *netlink.Veth) netlink.Link {
			m := macvlan()
			m.Index, m.NetNsID, m.HardwareAddr = 8, host, burnt
			return m
		}, false},
		{"a veth whose peer has that number in the pod itself", IdentityOf(virtual()), func(_ *netlink.Device, v *netlink.Veth) netlink.Link {
			v.Index = 9
			return v
		}, false},
		{"a veth whose peer has that number in a third namespace", IdentityOf(virtual()), func(_ *netlink.Device, v *netlink.Veth) netlink.Link {
			v.Index, v.NetNsID = 9, other
			return v
		}, false},
		{"a veth whose peer is not on the host, wherever", IdentityOf(wired), func(_ *netlink.Device, v *netlink.Veth) netlink.Link {
			v.Index, v.NetNsID = 9, other
			return v
		}, true},
		{"one whose peer is on the host, in the place of that", IdentityOf(wired), func(_ *netlink.Device, v *netlink.Veth) netlink.Link {
			v.Index, v.NetNsID = 9, host
			return v
		}, false},
		{"another kind on the same lower device", moved, func(_ *netlink.Device, v *netlink.Veth) netlink.Link {
			v.Index, v.NetNsID = 9, host
			return &netlink.IPVlan{LinkAttrs: v.LinkAttrs}
		}, false},
		{"the VLAN", IdentityOf(vlan(10)), func(*netlink.Device, *netlink.Veth) netlink.Link {
			v := vlan(10)
			v.NetNsID = host
			return v
		}, true},
		{"another VLAN on the same NIC", IdentityOf(vlan(10)), func(*netlink.Device, *netlink.Veth) netlink.Link {
			v := vlan(20)
			v.NetNsID = host
			return v
		}, false},
		{"a VLAN of that number and another protocol", IdentityOf(vlan(10)), func(*netlink.Device, *netlink.Veth) netlink.Link {
			v := vlan(10)
			v.NetNsID, v.VlanProtocol = host, netlink.VLAN_PROTOCOL_8021AD
			return v
		}, false},
		{"the same slot with another card, of a function with one port", single, func(p *netlink.Device, _ *netlink.Veth) netlink.Link {
			p.PermHWAddr = net.HardwareAddr{0x94, 0x6d, 0xae, 0, 0, 2}
			return p
		}, true},
		{"a link of which the kernel tells nothing", IdentityOf(physical()), func(*netlink.Device, *netlink.Veth) netlink.Link {
			return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 7, Name: "lo"}}
		}, false},
		{"a link without a permanent address on the same function", IdentityOf(physical()), func(p *netlink.Device, _ *netlink.Veth) netlink.Link {
			p.PermHWAddr = nil
			return p
		}, false},
		{"one with a permanent address, where none was known", IdentityOf(unburnt), func(p *netlink.Device, _ *netlink.Veth) netlink.Link {
			return p
		}, false},
		{"a veth with its ifindex and another peer", IdentityOf(virtual()), func(_ *netlink.Device, v *netlink.Veth) netlink.Link {
			v.ParentIndex, v.NetNsID = 7, host
			return v
		}, false},
		{"a link of its kind, of neither of which it is known what it is on", Identity{Kind: "veth"}, func(_ *netlink.Device, v *netlink.Veth) netlink.Link {
			v.ParentIndex, v.NetNsID = 0, host
			return v
		}, false},
		{"a link of its kind that is on a bus", IdentityOf(virtual()), func(_ *netlink.Device, v *netlink.Veth) netlink.Link {
			v.NetNsID, v.ParentDevBus, v.ParentDev = host, "pci", "0000:08:00.0"
			return v
		}, false},
		{"a physical netdev that took a virtual one's MAC", IdentityOf(virtual()), func(p *netlink.Device, v *netlink.Veth) netlink.Link {
			p.HardwareAddr = v.HardwareAddr
			return p
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found := tt.id.among([]netlink.Link{tt.change(physical(), virtual())}, true, host)
			if (found != nil) != tt.same {
				t.Errorf("found %v", found)
			}
		})
	}
}

func TestTwoPortsOfAFunctionAreNotTheSame(t *testing.T) {
	id := Identity{ParentBus: "pci", Parent: "0000:08:00.0", PermanentMAC: "94:6d:ae:00:00:01", Index: 7, MAC: "94:6d:ae:00:00:01"}
	moved, port, function, bus := id, id, id, id
	moved.Index, moved.MAC = 2, "02:00:00:00:00:09"
	port.PermanentMAC = "94:6d:ae:00:00:02"
	function.Parent = "0000:08:00.1"
	bus.ParentBus = "vdpa"
	if !id.Same(moved) || id.Same(port) || id.Same(function) || id.Same(bus) {
		t.Errorf("elsewhere %v, the other port %v, another function %v, another bus %v", id.Same(moved), id.Same(port), id.Same(function), id.Same(bus))
	}
	veth := Identity{Kind: "veth", Lower: 5, MAC: "02:00:00:00:00:01"}
	other, another := veth, veth
	other.MAC, another.Lower = "02:00:00:00:00:02", 6
	if !veth.Same(other) || veth.Same(another) || veth.Same(id) || id.Same(veth) {
		t.Errorf("with another MAC address %v, with another peer %v, hardware %v, %v", veth.Same(other), veth.Same(another), veth.Same(id), id.Same(veth))
	}
}

// Records of earlier releases have both: a key is the name of a file.
func TestTheIdentityAndKeyOfANetdevAreAllThatTellsItFromOthers(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	a := netlink.LinkAttrs{Name: "rail0", Index: 7, ParentIndex: 5, NetNsID: -1, HardwareAddr: mac, ParentDevBus: "", PermHWAddr: net.HardwareAddr{2, 0, 0, 0, 0, 9}}
	hardware, away := a, a
	hardware.ParentDevBus, hardware.ParentDev, hardware.ParentIndex = "pci", "0000:08:00.0", 0
	away.NetNsID, away.PermHWAddr = 3, nil
	const is, burnt = "02:00:00:00:00:01", "02:00:00:00:00:09"
	for _, tt := range []struct {
		link netlink.Link
		want Identity
		key  string
	}{
		{&netlink.Device{LinkAttrs: hardware}, Identity{ParentBus: "pci", Parent: "0000:08:00.0", PermanentMAC: burnt, Index: 7, MAC: is}, "0000:08:00.0"},
		{&netlink.Veth{LinkAttrs: a}, Identity{Kind: "veth", PermanentMAC: burnt, Index: 7, Lower: 5, MAC: is}, "veth-5"},
		{&netlink.Veth{LinkAttrs: away}, Identity{Kind: "veth", Index: 7, Lower: 5, LowerAway: true, MAC: is}, "veth-5-02:00:00:00:00:01"},
		{&netlink.Macvlan{LinkAttrs: a}, Identity{Kind: "macvlan", PermanentMAC: burnt, Index: 7, Lower: 5, MAC: is}, "macvlan-5-02:00:00:00:00:01"},
		{&netlink.Vlan{LinkAttrs: a, VlanId: 10, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}, Identity{Kind: "vlan", VLAN: "802.1q-10", PermanentMAC: burnt, Index: 7, Lower: 5, MAC: is}, "vlan-5-802.1q-10"},
		{&netlink.Vlan{LinkAttrs: a, VlanId: 10, VlanProtocol: netlink.VLAN_PROTOCOL_8021AD}, Identity{Kind: "vlan", VLAN: "802.1ad-10", PermanentMAC: burnt, Index: 7, Lower: 5, MAC: is}, "vlan-5-802.1ad-10"},
	} {
		if id := IdentityOf(tt.link); id != tt.want || id.Key() != tt.key {
			t.Errorf("%+v, %s; want %+v, %s", id, id.Key(), tt.want, tt.key)
		}
	}
}

func TestAVirtualLinkOfTheHostIsKnownByWhereItsLowerDeviceIs(t *testing.T) {
	link := func(namespace int) netlink.Link {
		return &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Index: 3, ParentIndex: 2, NetNsID: namespace, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}}
	}
	const beside, there, elsewhere = -1, 0, 7
	for recorded, same := range map[int][]int{beside: {beside}, there: {there, elsewhere}, elsewhere: {there, elsewhere}} {
		for _, is := range []int{beside, there, elsewhere} {
			if on := IdentityOf(link(recorded)).IsOnHost(link(is)); on != slices.Contains(same, is) {
				t.Errorf("its peer was in namespace %d and is in %d: %v", recorded, is, on)
			}
		}
	}
	id := IdentityOf(&netlink.Macvlan{LinkAttrs: *link(beside).Attrs()})
	id.AwayIndex = 9 // in a pod, where another may have it on the host
	other := &netlink.Macvlan{LinkAttrs: *link(beside).Attrs()}
	other.Index, other.HardwareAddr = 9, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	if id.IsOnHost(other) {
		t.Error("another macvlan is taken for it")
	}
}

func TestHardwareIsAwayWhereALinkIsOnItsBus(t *testing.T) {
	a := netlink.LinkAttrs{ParentDevBus: "pci", ParentDev: "0000:08:00.0", ParentIndex: 5, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
	id := IdentityOf(&netlink.Device{LinkAttrs: a})
	other := a
	other.ParentDev = "0000:08:00.1"
	card, alone := a, id
	card.PermHWAddr, alone.Alone = net.HardwareAddr{2, 0, 0, 0, 0, 3}, true
	if id.IsAway(&card) || !alone.IsAway(&card) {
		t.Errorf("another card in the slot: of several %v, alone %v", id.IsAway(&card), alone.IsAway(&card))
	}
	if !id.IsAway(&a) || id.IsAway(&other) || (Identity{Kind: "veth", Lower: 5}).IsAway(&netlink.LinkAttrs{ParentIndex: 5}) {
		t.Errorf("itself %v, another %v", id.IsAway(&a), id.IsAway(&other))
	}
}

func TestTheKeyOfANetdevStaysTheSameWhateverAPodDoes(t *testing.T) {
	for _, link := range []netlink.Link{
		&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "ens12np0", ParentDevBus: "pci", ParentDev: "0000:08:00.0"}},
		&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "rail0", ParentIndex: 5, NetNsID: -1, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}},
	} {
		before, a := IdentityOf(link).Key(), link.Attrs()
		a.Name, a.HardwareAddr, a.Index = "net1", net.HardwareAddr{2, 0, 0, 0, 0, 9}, 99
		if after := IdentityOf(link).Key(); after != before {
			t.Errorf("%s became %s", before, after)
		}
	}
}

func TestOfSeveralNetdevsInTheSlotNoneIsTaken(t *testing.T) {
	port := func(mac byte) netlink.Link {
		return &netlink.Device{LinkAttrs: netlink.LinkAttrs{ParentDevBus: "pci", ParentDev: "0000:08:00.0", PermHWAddr: net.HardwareAddr{2, 0, 0, 0, 0, mac}}}
	}
	id := IdentityOf(port(1))
	id.Alone = true
	if found := id.OnHost([]netlink.Link{port(2), port(3)}); found != nil {
		t.Errorf("found %v", found.Attrs().PermHWAddr)
	}
	if found := id.OnHost([]netlink.Link{port(2), port(1), port(3)}); found == nil || found.Attrs().PermHWAddr[5] != 1 {
		t.Errorf("found %v, not itself", found)
	}
}

func TestALinkThatCannotBeToldFromOthersIsUnfit(t *testing.T) {
	a := netlink.LinkAttrs{ParentIndex: 2, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}, PermHWAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
	hardware := a
	hardware.ParentDev = "0000:08:00.0"
	for name, tt := range map[string]struct {
		link netlink.Link
		why  string // "" if it may be moved
	}{
		"hardware":                {&netlink.Device{LinkAttrs: hardware}, ""},
		"a VLAN":                  {&netlink.Vlan{LinkAttrs: a}, ""},
		"a macvlan":               {&netlink.Macvlan{LinkAttrs: a}, ""},
		"a veth":                  {&netlink.Veth{LinkAttrs: a}, ""},
		"a veth without its peer": {&netlink.Veth{LinkAttrs: netlink.LinkAttrs{HardwareAddr: a.HardwareAddr}}, "the kernel does not say what this veth is on"},
		"a macvlan without a MAC": {&netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{ParentIndex: 2}}, "the kernel does not say what this macvlan is on"},
		"the loopback":            {&netlink.Device{LinkAttrs: netlink.LinkAttrs{Flags: net.FlagLoopback}}, "it is the loopback"},
		"an ipvlan":               {&netlink.IPVlan{LinkAttrs: a}, "it is a ipvlan, and one cannot be told from another; use a NIC"},
		"a dummy":                 {&netlink.Dummy{LinkAttrs: a}, "it is a dummy, and one cannot be told from another; use a NIC"},
		"a tunnel":                {&netlink.Ip6tnl{LinkAttrs: a}, "it is a ip6tnl, and one cannot be told from another; use a NIC"},
		"a bond":                  {&netlink.Bond{LinkAttrs: a}, "it is a bond, which cannot change namespaces"},
		"a bridge":                {&netlink.Bridge{LinkAttrs: a}, "it is a bridge, which cannot change namespaces"},
		"a VRF":                   {&netlink.Vrf{LinkAttrs: a}, "it is a vrf, which cannot change namespaces"},
		"one on an unknown bus":   {&netlink.Device{LinkAttrs: a}, "neither the kernel nor its driver says on which bus it is"},
	} {
		if why := Unfit(tt.link); (why == "") != (tt.why == "") || !strings.HasPrefix(why, tt.why) {
			t.Errorf("%s: %q", name, why)
		}
	}
}

func TestOneOfSeveralPortsWithoutAnAddressOfItsOwnIsUntold(t *testing.T) {
	for _, tt := range []struct {
		id   Identity
		told bool
	}{
		{Identity{ParentBus: "pci", Parent: "0000:08:00.0", PermanentMAC: "94:6d:ae:00:00:01"}, true},
		{Identity{ParentBus: "pci", Parent: "0000:08:00.0", Alone: true}, true},
		{Identity{ParentBus: "pci", Parent: "0000:08:00.0"}, false},
		{Identity{Kind: "veth", Lower: 7}, true},
	} {
		if why := tt.id.Untold(); (why == "") != tt.told {
			t.Errorf("%+v: %q", tt.id, why)
		}
	}
}
