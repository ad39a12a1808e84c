package rdma

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// NodeIn returns the node as a network namespace sees it. The kernel shows
// RDMA devices, and the GIDs of netdevs, through a sysfs of the namespace;
// NodeIn makes one that is mounted nowhere; close closes it.
func NodeIn(ns netns.NsHandle, dev string) (node Node, close func(), err error) {
	mount := -1
	// sysfs takes the namespace of the thread that opens it (fsopen(2), Linux 5.2).
	err = netdev.In(ns, func() error {
		fs, err := unix.Fsopen("sysfs", unix.FSOPEN_CLOEXEC)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fs) }()
		if err := unix.FsconfigCreate(fs); err != nil {
			return err
		}
		mount, err = unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY)
		return err
	})
	if err != nil {
		return Node{}, nil, fmt.Errorf("open the namespace's sysfs: %w", err)
	}
	return Node{Sys: "/proc/self/fd/" + strconv.Itoa(mount), Dev: dev}, func() { _ = unix.Close(mount) }, nil
}

// GIDIndex finds an address in a device's GID tables as RoCE v2 uses it:
// port and index, as `ib_read_lat -x` and NCCL_IB_GID_INDEX want it. ok is
// false if it is not there (yet): the kernel fills the tables in the
// background after an address is set.
func (n Node) GIDIndex(device string, address netip.Addr) (port, index int, ok bool) {
	want := gid(address)
	ports, err := readDir(n.class("infiniband", device, "ports"))
	if err != nil {
		return 0, 0, false
	}
	for _, number := range ports {
		index, ok := n.roceV2GID(device, number, func(have string) bool { return have == want })
		if ok {
			port, _ = strconv.Atoi(number)
			return port, index, true
		}
	}
	return 0, 0, false
}

// IPv4GIDIndex finds the first RoCE v2 GID of an IPv4 address on a device's
// first port.
func (n Node) IPv4GIDIndex(d Device) (index int, ok bool) {
	if len(d.Ports) == 0 {
		return 0, false
	}
	return n.roceV2GID(d.Name, strconv.Itoa(d.Ports[0].Number), func(have string) bool {
		a, err := netip.ParseAddr(have)
		return err == nil && a.Is4In6()
	})
}

// HasRoCEv2 tells whether a device's first port has a GID of RoCE v2, of whatever
// address. iWARP has none, nor has a NIC that is set to RoCE v1.
func (n Node) HasRoCEv2(d Device) bool {
	if len(d.Ports) == 0 {
		return false
	}
	_, ok := n.roceV2GID(d.Name, strconv.Itoa(d.Ports[0].Number), func(have string) bool { return strings.Trim(have, "0:") != "" })
	return ok
}

// GIDTableSize returns how many GIDs a device's first port can have, 0 if
// that cannot be seen.
func (n Node) GIDTableSize(d Device) int {
	if len(d.Ports) == 0 {
		return 0
	}
	entries, _ := readDir(n.gids(d.Name, strconv.Itoa(d.Ports[0].Number)))
	return len(entries)
}

// roceV2GID walks the GID table of a port to the first entry of RoCE v2 that
// is wanted. An entry that is not in use has a GID of zeros, and no type.
func (n Node) roceV2GID(device, port string, wanted func(gid string) bool) (index int, ok bool) {
	types := n.class("infiniband", device, "ports", port, "gid_attrs", "types")
	for i := 0; ; i++ {
		have, err := readString(n.gids(device, port), strconv.Itoa(i))
		if err != nil {
			return 0, false // past the end of the table
		}
		if !wanted(have) {
			continue
		}
		if kind, _ := readString(types, strconv.Itoa(i)); kind == "RoCE v2" {
			return i, true
		}
	}
}

func (n Node) gids(device, port string) string {
	return n.class("infiniband", device, "ports", port, "gids")
}

// gid is an address as sysfs prints GIDs: an IPv4 address is mapped into IPv6.
func gid(address netip.Addr) string {
	b := address.As16()
	parts := make([]string, 8)
	for i := range parts {
		parts[i] = fmt.Sprintf("%02x%02x", b[2*i], b[2*i+1])
	}
	return strings.Join(parts, ":")
}
