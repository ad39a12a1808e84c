package rdma

import (
	"strconv"
	"strings"
)

// Bus names as the kernel's sysfs has them.
const (
	BusPCI       = "pci"
	BusAuxiliary = "auxiliary"
)

// Link layers as the kernel prints them in ports/<n>/link_layer.
const (
	linkLayerEthernet   = "Ethernet"
	linkLayerInfiniBand = "InfiniBand"
)

// A Device is one RDMA device: an HCA function such as mlx5_0, or a Soft-RoCE
// device such as rxe0.
//
// It is JSON because the attachment journal keeps the device as it was on the
// host: a device that moved into a pod cannot be read from the host any more.
type Device struct {
	// Name is the kernel's name, mlx5_0. It is unique within one network
	// namespace only, from Linux 7.3 on.
	Name string `json:"name"`
	// NodeGUID as sysfs prints it, "5054:00ff:fe00:0001". It identifies the
	// device across renames and namespaces.
	NodeGUID string `json:"nodeGUID"`
	// Index is the kernel's number of the device, the same in all namespaces
	// until its driver registers it anew; nil if nobody has asked. sysfs does
	// not have it: Namespace.DeviceOf asks for it.
	Index *uint32 `json:"index,omitempty"`
	// Bus and Address name the function that carries the device: "pci" and
	// "0000:08:00.0", or "auxiliary" and "mlx5_core.sf.2". For a Soft-RoCE
	// device they are those of the NIC below it; both are empty when that
	// NIC is virtual too.
	Bus     string `json:"bus,omitempty"`
	Address string `json:"address,omitempty"`
	// PhysicalFunction is the folder, below the root of sysfs, of the function
	// that this one is a virtual function of; empty if it is not one.
	PhysicalFunction string `json:"physicalFunction,omitempty"`
	// Soft says that the device is made in software on top of a netdev.
	Soft bool `json:"soft,omitempty"`
	// SoftKind is the kernel's name for such devices, "rxe" or "siw".
	SoftKind string `json:"softKind,omitempty"`
	// Beside says that the function, or the netdev of a Soft-RoCE device, has
	// another RDMA device, and that its address means that one: an HCA of
	// several planes has one more, for management (Linux 6.11).
	Beside bool `json:"beside,omitempty"`
	// Vendor and DeviceID are the PCI IDs in hexadecimal without "0x":
	// "15b3", "101d". An auxiliary device has those of its PCI function.
	Vendor   string `json:"vendor,omitempty"`
	DeviceID string `json:"deviceID,omitempty"`
	// Driver is the driver bound to the bus function: "mlx5_core".
	Driver string `json:"driver,omitempty"`
	// NUMANode is -1 where the kernel does not say.
	NUMANode int `json:"numaNode"`
	// Netdevs are the netdevs of the device's ports in this namespace,
	// sorted. Empty while they are in another one.
	Netdevs []string `json:"netdevs,omitempty"`
	// LinkType is the ARP hardware type of the netdevs by the name that
	// iproute2 gives it: "ether" or "infiniband". Without a netdev it follows
	// the link layer of the first port.
	LinkType string `json:"linkType,omitempty"`
	// Ports in ascending order of their number.
	Ports []Port `json:"ports,omitempty"`
	// CharDevices are the device's character devices, sorted: uverbsN, umadN,
	// issmN. Only those that exist below the device root.
	CharDevices []string `json:"charDevices,omitempty"`
}

// A Port is one port of an RDMA device.
type Port struct {
	Number int `json:"number"`
	// State and PhysState as sysfs names them: "ACTIVE", "LinkUp".
	State     string `json:"state"`
	PhysState string `json:"physState"`
	LinkLayer string `json:"linkLayer"`
}

// IsRoCE tells whether a port of the device runs on Ethernet. (So do iWARP
// devices; the kernel gives both the same link layer.)
func (d Device) IsRoCE() bool {
	for _, p := range d.Ports {
		if p.LinkLayer == linkLayerEthernet {
			return true
		}
	}
	return false
}

// Key identifies the device for as long as the node is up. A Soft-RoCE device
// has no bus function to itself; a hardware device may have no node GUID of
// its own (an unconfigured SR-IOV function has zeros).
func (d Device) Key() string {
	key := d.Bus + "/" + d.Address
	if d.Soft {
		key = d.NodeGUID
	}
	if d.Beside {
		key += "/" + d.Name
	}
	return key
}

// complete tells whether all of a device is there. The kernel shows its ports
// some milliseconds after the device, and does not announce them.
func (d Device) complete() bool {
	for _, p := range d.Ports {
		if p.LinkLayer == "" {
			return false
		}
	}
	// There is nothing to wait for from a function on another bus.
	function := d.Soft || d.Bus == "" || d.Vendor != "" && d.Driver != ""
	return len(d.Ports) > 0 && function
}

// IsOn tells whether the device is on a netdev with this parent on a bus and
// this MAC address, wherever that is.
func (d Device) IsOn(bus, address, mac string) bool {
	if d.Soft {
		return d.NodeGUID == eui64(mac)
	}
	return address != "" && d.Bus == bus && d.Address == address
}

// String names the device for a log line or an error.
func (d Device) String() string {
	if d.Address == "" {
		return d.Name
	}
	return d.Name + " (" + d.Address + ")"
}

// IsPCIAddress tells whether s is a PCI address with its domain:
// "0000:08:00.0".
func IsPCIAddress(s string) bool {
	domain, rest, ok := strings.Cut(s, ":")
	if !ok || len(domain) < 4 || !isHex(domain) {
		return false
	}
	return len(rest) == len("08:00.0") && rest[2] == ':' && rest[5] == '.' &&
		isHex(rest[:2]) && isHex(rest[3:5]) && '0' <= rest[6] && rest[6] <= '7'
}

// IsAuxiliaryAddress tells whether s is the name of an auxiliary device,
// module.kind.number: "mlx5_core.sf.2".
func IsAuxiliaryAddress(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || strings.ContainsAny(s, "/ ") {
		return false
	}
	_, err := strconv.ParseUint(parts[2], 10, 32)
	return err == nil
}

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdefABCDEF") == ""
}
