package netdev

import (
	"bytes"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
)

// An Identity tells which netdev this is, wherever it is and whatever it is
// called now. Nothing in it can be written by a pod that holds the netdev,
// with the exception noted at Kind.
//
// It is proof, not likeness: an attribute that a link lacks never matches.
type Identity struct {
	// ParentBus and Parent are the device below the netdev, as the kernel
	// names it: "pci" and "0000:08:00.0", "virtio" and "virtio3". Kernels before
	// 5.14 do not tell (IFLA_PARENT_DEV_NAME); there it is what the driver says
	// of its bus: "driver" and "0000:08:00.0". Both are empty for a virtual
	// netdev.
	ParentBus string `json:"parentBus,omitempty"`
	Parent    string `json:"parent,omitempty"`
	// PermanentMAC is the address burnt into the hardware, "" if it has none. It
	// tells the ports of one function apart. By itself it proves nothing: an
	// ipvlan has the one of its lower netdev.
	PermanentMAC string `json:"permanentMAC,omitempty"`
	// Alone: no other netdev was known on the function. Only then is one with
	// another permanent address the same slot's, and not another port's.
	Alone bool `json:"alone,omitempty"`

	// Kind is the kernel's rtnl_link kind of a virtual netdev: "veth". It is
	// told from all others by this and Lower, VLAN and LowerAway, and where
	// these are the same for several, as for the macvlans on one netdev, by its
	// MAC address or by AwayIndex. A pod may change the address; it cannot give
	// one netdev the ifindex of another.
	Kind string `json:"kind,omitempty"`
	// Index is the ifindex on the host. A move keeps it unless it is taken
	// in the target, so it is a hint.
	Index int `json:"index"`
	// AwayIndex is the ifindex in the namespace that it was moved to: for a virtual
	// netdev, whose address the pod may change. It is 0 while it is not known to have
	// moved, and AwayUnknown if it was not found there any more.
	AwayIndex int `json:"awayIndex,omitempty"`
	// Lower is the ifindex of the netdev's lower or peer device, 0 if none.
	Lower int `json:"lower,omitempty"`
	// LowerAway: that device is not in the host's namespace.
	LowerAway bool `json:"lowerAway,omitempty"`
	// VLAN is protocol and number of a VLAN: "802.1q-10".
	VLAN string `json:"vlan,omitempty"`
	// MAC is the address at the time of recording.
	MAC string `json:"mac,omitempty"`
}

// AwayUnknown is an ifindex that no link has.
const AwayUnknown = -1

// IdentityOf reads the identity of a link of the host's namespace.
func IdentityOf(link netlink.Link) Identity {
	a := link.Attrs()
	id := Identity{
		ParentBus: a.ParentDevBus, Parent: a.ParentDev, PermanentMAC: a.PermHWAddr.String(),
		Index: a.Index, Lower: a.ParentIndex, MAC: a.HardwareAddr.String(),
	}
	if !id.Physical() {
		id.Kind, id.VLAN, id.LowerAway = link.Type(), vlanOf(link), a.NetNsID >= 0
	}
	return id
}

func vlanOf(link netlink.Link) string {
	vlan, ok := link.(*netlink.Vlan)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%s-%d", vlan.VlanProtocol, vlan.VlanId)
}

// Physical tells whether the netdev is on a bus. The kernel brings such a
// netdev back to the host when its namespace ends; it destroys a virtual one.
func (id Identity) Physical() bool { return id.Parent != "" }

// Unfit says why a link of the host's namespace must not be moved: another
// namespace may have one that cannot be told from it, or it cannot leave its
// namespace at all. It is "" for one that may.
func Unfit(link netlink.Link) string {
	a, kind := link.Attrs(), link.Type()
	switch {
	case a.Flags&net.FlagLoopback != 0:
		return "it is the loopback, which every namespace has"
	case a.ParentDev != "":
		return ""
	case kind == "vlan", kind == "macvlan", kind == "veth":
		if a.ParentIndex == 0 || len(a.HardwareAddr) == 0 {
			return fmt.Sprintf("the kernel does not say what this %s is on, so it could not be found again", kind)
		}
		return ""
	case kind == "bond", kind == "bridge", kind == "vrf":
		return fmt.Sprintf("it is a %s, which cannot change namespaces", kind)
	case kind == "device":
		return "neither the kernel nor its driver says on which bus it is, so it could not be told from others"
	}
	return fmt.Sprintf("it is a %s, and one cannot be told from another; use a NIC, a VLAN, a macvlan or a veth", kind)
}

// Untold says why hardware could not be told from another netdev: it is one of
// several on its function and has no address of its own. It is "" if it can.
func (id Identity) Untold() string {
	if id.Physical() && id.PermanentMAC == "" && !id.Alone {
		return fmt.Sprintf("it has no permanent MAC address and shares the function %s with other netdevs, so it could not be told from them", id.Parent)
	}
	return ""
}

// A likeness is how closely a link matches the netdev that is looked for.
type likeness int

const (
	another likeness = iota
	// sameSlot: the netdev of the same function, with another permanent
	// address. The driver was bound again, or the card replaced.
	sameSlot
	itself
)

// compare tells how closely a link matches the netdev. away is whether its
// namespace is another one than the host's, and hostID that namespace's number
// for the host's, -1 if it has none.
func (id Identity) compare(link netlink.Link, away bool, hostID int) likeness {
	if id.Physical() {
		return id.compareHardware(link.Attrs())
	}
	if id.Kind == "" || id.Lower == 0 || link.Type() != id.Kind || !id.isOnLower(link, away, hostID) {
		return another
	}
	if !id.ToldByMAC() {
		return itself
	}
	a := link.Attrs()
	if a.HardwareAddr.String() == id.MAC || away && id.AwayIndex != 0 && a.Index == id.AwayIndex {
		return itself
	}
	return another
}

func (id Identity) compareHardware(a *netlink.LinkAttrs) likeness {
	if a.ParentDevBus != id.ParentBus || a.ParentDev != id.Parent {
		return another
	}
	mac, err := net.ParseMAC(id.PermanentMAC)
	if err != nil { // it has none
		mac = nil
	}
	if bytes.Equal(mac, a.PermHWAddr) {
		return itself
	}
	if !id.Alone {
		return another
	}
	return sameSlot
}

// ToldByMAC tells whether it takes the MAC address to tell the netdev from all
// others. A VLAN's number is unique on its lower netdev, and a netdev is the
// peer of one veth. There may be several macvlans, and of a peer in a third
// namespace it cannot be told whether it is the same.
func (id Identity) ToldByMAC() bool {
	return !id.Physical() && id.VLAN == "" && (id.Kind != "veth" || id.LowerAway)
}

// isOnLower tells whether a virtual link is on the lower device, whose ifindex
// is that of the namespace it is in.
func (id Identity) isOnLower(link netlink.Link, away bool, hostID int) bool {
	a := link.Attrs()
	if a.ParentDev != "" || a.ParentIndex != id.Lower || vlanOf(link) != id.VLAN {
		return false
	}
	switch {
	case !away: // on the host, beside its lower device or not, as before
		return a.NetNsID >= 0 == id.LowerAway
	case id.LowerAway:
		return a.NetNsID >= 0 && a.NetNsID != hostID
	}
	return a.NetNsID >= 0 && a.NetNsID == hostID
}

// OnHost finds the netdev among the links of the host's namespace; nil if it is
// not there. Of hardware, the same slot is enough if only one of the links is in
// it.
func (id Identity) OnHost(links []netlink.Link) netlink.Link {
	return id.among(links, false, -1)
}

// IsOnHost tells whether a link of the host's namespace is the netdev, or the
// one that is in its slot now.
func (id Identity) IsOnHost(link netlink.Link) bool {
	return id.OnHost([]netlink.Link{link}) != nil
}

// among finds the netdev among the links of one namespace: itself, or, if that
// is not there, the only one in the same slot. nil is neither.
func (id Identity) among(links []netlink.Link, away bool, hostID int) (found netlink.Link) {
	alike := 0
	for _, link := range links {
		switch id.compare(link, away, hostID) {
		case itself:
			return link
		case sameSlot:
			found = link
			alike++
		case another:
		}
	}
	if alike != 1 {
		return nil
	}
	return found
}

// Same tells whether two identities are of one netdev.
func (id Identity) Same(other Identity) bool {
	if id.Physical() {
		return id.ParentBus == other.ParentBus && id.Parent == other.Parent && id.PermanentMAC == other.PermanentMAC
	}
	return !other.Physical() && id.Key() == other.Key()
}

// Key is a name for the netdev, or the slot that it is in, that stays the same
// while it travels, fit for a file name.
func (id Identity) Key() string {
	switch {
	case id.Physical():
		return id.Parent
	case id.VLAN != "":
		return fmt.Sprintf("%s-%d-%s", id.Kind, id.Lower, id.VLAN)
	case !id.ToldByMAC(): // which a pod may have changed
		return fmt.Sprintf("%s-%d", id.Kind, id.Lower)
	}
	return fmt.Sprintf("%s-%d-%s", id.Kind, id.Lower, id.MAC)
}
