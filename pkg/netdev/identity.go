package netdev

import (
	"bytes"
	"net"

	"github.com/vishvananda/netlink"
)

// An Identity tells which netdev this is, wherever it is and whatever it is
// called now. Nothing in it can be written by a pod that holds the netdev,
// with the exception noted at Matches.
type Identity struct {
	// ParentBus and Parent are the device below the netdev, as the kernel
	// names it: "pci" and "0000:08:00.0", "virtio" and "virtio3". Both are
	// empty for a virtual netdev. (IFLA_PARENT_DEV_NAME, Linux 5.14 and later.)
	ParentBus string `json:"parentBus,omitempty"`
	Parent    string `json:"parent,omitempty"`
	// PermanentMAC is the address burnt into the hardware, "" if it has none.
	PermanentMAC string `json:"permanentMAC,omitempty"`
	// Kind is the kernel's rtnl_link kind of a virtual netdev: "veth".
	Kind string `json:"kind,omitempty"`
	// Index is the ifindex on the host. A move keeps it unless it is taken
	// in the target, so it is a hint.
	Index int `json:"index"`
	// Lower is the ifindex of the netdev's lower or peer device, 0 if none.
	Lower int `json:"lower,omitempty"`
	// MAC is the address at the time of recording.
	MAC string `json:"mac,omitempty"`
}

// IdentityOf reads a link's identity.
func IdentityOf(link netlink.Link) Identity {
	a := link.Attrs()
	id := Identity{
		ParentBus: a.ParentDevBus, Parent: a.ParentDev, PermanentMAC: a.PermHWAddr.String(),
		Index: a.Index, Lower: a.ParentIndex, MAC: a.HardwareAddr.String(),
	}
	if !id.Physical() {
		id.Kind = link.Type()
	}
	return id
}

// Physical tells whether the netdev is on a bus. The kernel brings such a
// netdev back to the host when its namespace ends; it destroys a virtual one.
func (id Identity) Physical() bool { return id.Parent != "" || id.PermanentMAC != "" }

// Matches tells whether link is the netdev with this identity. Virtual
// netdevs have nothing burnt in: one matches by kind, lower device and MAC
// address, of which a pod can change the last. (The ifindex would not do: a
// netdev that finds its own taken in the target gets another, and the one that
// took it may be of the same kind.)
func (id Identity) Matches(link netlink.Link) bool {
	a := link.Attrs()
	if !id.Physical() {
		return a.ParentDev == "" && link.Type() == id.Kind && a.ParentIndex == id.Lower &&
			a.HardwareAddr.String() == id.MAC
	}
	if a.ParentDevBus != id.ParentBus || a.ParentDev != id.Parent {
		return false
	}
	if id.PermanentMAC == "" || len(a.PermHWAddr) == 0 {
		return true
	}
	// Two ports of one function, or an uplink and its representors, share
	// the parent.
	mac, err := net.ParseMAC(id.PermanentMAC)
	return err == nil && bytes.Equal(mac, a.PermHWAddr)
}

// Key is a name for the netdev that stays the same while it travels, fit for
// a file name.
func (id Identity) Key() string {
	if id.Parent != "" {
		return id.Parent + "-" + id.PermanentMAC
	}
	if id.PermanentMAC != "" {
		return id.PermanentMAC
	}
	return id.Kind + "-" + id.MAC
}
