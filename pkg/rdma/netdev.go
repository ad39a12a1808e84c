package rdma

import (
	"os"
	"path/filepath"
	"strings"
)

// HardwareNetdevs lists the netdevs that are on a bus, sorted.
func (n Node) HardwareNetdevs() []string {
	var names []string
	all, _ := readDir(n.class("net"))
	for _, name := range all {
		if _, address := n.NetdevAddress(name); address != "" {
			names = append(names, name)
		}
	}
	return names
}

// netdevs are the names of a function's netdevs, without the representors that
// a switchdev-mode HCA has beside its uplink: those belong to virtual functions.
func (n Node) netdevs(net folder) []string {
	var names []string
	for _, name := range net.names {
		if !n.isRepresentor(name) {
			names = append(names, name)
		}
	}
	return names
}

// Representor is the name of a netdev's port, "pf0vf3", if the netdev is the
// switch's side of a virtual or scalable function, and "" if it is not.
func (n Node) Representor(netdev string) (port string, err error) {
	port, err = readOptional(filepath.Join(n.class("net", netdev), "phys_port_name"))
	if err != nil || !isRepresentorPort(port) {
		return "", err
	}
	return port, nil
}

// isRepresentor is Representor without the error: a netdev that cannot be read
// does not count as one.
func (n Node) isRepresentor(netdev string) bool {
	port, _ := n.Representor(netdev)
	return port != ""
}

// isRepresentorPort tells whether a netdev's phys_port_name is that of a VF
// or SF representor: "pf0vf3", "c1pf0sf88". An uplink is "p0".
// Source: Documentation/networking/switchdev.rst in the kernel.
func isRepresentorPort(physPortName string) bool {
	pf := strings.Index(physPortName, "pf")
	if pf < 0 {
		return false
	}
	tail := physPortName[pf:]
	return strings.Contains(tail, "vf") || strings.Contains(tail, "sf")
}

// Appear has the kernel announce a netdev again, so that udev does what it does
// for a new one. Equivalent to: `udevadm trigger --action=add
// /sys/class/net/$netdev`.
func (n Node) Appear(netdev string) error {
	return os.WriteFile(n.class("net", netdev, "uevent"), []byte("add"), 0)
}
