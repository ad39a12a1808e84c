package rdma

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// HasFunction tells whether there is a function at an address of a bus, with a
// driver or without. One that cannot be seen for another reason counts as
// there.
func (n Node) HasFunction(bus, address string) bool {
	_, err := os.Lstat(n.functionPath(bus, address))
	return !errors.Is(err, fs.ErrNotExist)
}

// DriverOf names the driver that is bound to the function at an address of a
// bus, "" if there is none, or no function.
func (n Node) DriverOf(bus, address string) string {
	driver, err := os.Readlink(filepath.Join(n.functionPath(bus, address), "driver"))
	if err != nil {
		return ""
	}
	return filepath.Base(driver)
}

// physicalFunction returns the folder of the function that the one at a path
// is a virtual function of, below the root of sysfs.
func (n Node) physicalFunction(path string) string {
	target, err := os.Readlink(filepath.Join(path, "physfn"))
	if err != nil {
		return ""
	}
	below, err := filepath.Rel(n.Sys, filepath.Join(path, target))
	if err != nil {
		return ""
	}
	return below
}

// HasFolder tells whether there is a folder below the root of sysfs.
func (n Node) HasFolder(below string) bool {
	info, err := os.Stat(filepath.Join(n.Sys, below))
	return err == nil && info.IsDir()
}

// functionPath is a link to a function's folder.
func (n Node) functionPath(bus, address string) string {
	return filepath.Join(n.Sys, "bus", bus, "devices", address)
}

// PCIeRoot returns the host bridge and root port above a device,
// "pci0000:00/0000:00:01.0": devices that share it are behind one switch. It
// is "" for a device on no bus.
func (n Node) PCIeRoot(d Device) string {
	target, err := os.Readlink(n.functionPath(d.Bus, d.Address))
	if err != nil {
		return ""
	}
	_, below, _ := strings.Cut(target, "/devices/")
	parts := strings.Split(below, "/")
	for i, part := range parts {
		if strings.HasPrefix(part, "pci") && i+1 < len(parts) {
			return part + "/" + parts[i+1]
		}
	}
	return ""
}

// readFunction fills in what the bus function says of itself. An auxiliary
// device has no IDs of its own; its PCI function is a folder above.
func (n Node) readFunction(d *Device, path string) {
	if path == "" {
		return
	}
	d.Bus, d.Address = functionAddress(path)
	if driver, err := os.Readlink(filepath.Join(path, "driver")); err == nil {
		d.Driver = filepath.Base(driver)
	}
	if d.Bus == BusPCI {
		d.PhysicalFunction = n.physicalFunction(path)
	}
	for ; d.Bus == BusAuxiliary && len(path) > len(n.Sys) && !IsPCIAddress(filepath.Base(path)); path = filepath.Dir(path) {
	}
	d.Vendor = readHexID(path, "vendor")
	d.DeviceID = readHexID(path, "device")
	if s, err := readString(path, "numa_node"); err == nil {
		if numa, err := strconv.Atoi(s); err == nil {
			d.NUMANode = numa
		}
	}
}

// netdevFunction returns the sysfs path of the PCI or auxiliary function that
// carries a netdev, or "" for a virtual one. Between the two there may be
// another device: a virtio NIC is virtio3 on 0000:00:05.0.
func (n Node) netdevFunction(netdev string) string {
	target, err := os.Readlink(n.class("net", netdev))
	if err != nil {
		return ""
	}
	path := filepath.Dir(filepath.Dir(filepath.Join(n.class("net"), target)))
	for ; len(path) > len(n.Sys); path = filepath.Dir(path) {
		if base := filepath.Base(path); IsPCIAddress(base) || IsAuxiliaryAddress(base) {
			return path
		}
	}
	return ""
}

// NetdevAddress returns bus and address of the function that carries a
// netdev, or two empty strings for a virtual netdev.
func (n Node) NetdevAddress(netdev string) (bus, address string) {
	return functionAddress(n.netdevFunction(netdev))
}

func functionAddress(path string) (bus, address string) {
	switch base := filepath.Base(path); {
	case IsPCIAddress(base):
		return BusPCI, base
	case IsAuxiliaryAddress(base):
		return BusAuxiliary, base
	}
	return "", ""
}

// PhysicalFunctionOf returns the PCI address of the physical function that
// carries a device, whatever is between them: that of a virtual or of a scalable
// function. It is "" for a device on no bus. Other namespaces do not matter.
func (n Node) PhysicalFunctionOf(d Device) string {
	switch {
	case d.PhysicalFunction != "":
		return filepath.Base(d.PhysicalFunction)
	case d.Bus == BusPCI:
		return d.Address
	case d.Bus == "":
		return ""
	}
	path, err := os.Readlink(n.functionPath(d.Bus, d.Address))
	if err != nil {
		return ""
	}
	for ; len(path) > 1; path = filepath.Dir(path) {
		if IsPCIAddress(filepath.Base(path)) {
			return filepath.Base(path)
		}
	}
	return ""
}

// ComparePCI compares PCI addresses, of which the domain may be longer in one
// than in the other.
func ComparePCI(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}
