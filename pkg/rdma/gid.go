package rdma

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// NodeIn returns the node as a network namespace sees it. The kernel shows
// RDMA devices, and the GIDs of netdevs, through a sysfs of the namespace;
// this makes one that is mounted nowhere. close ends it.
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
		dir := n.class("infiniband", device, "ports", number)
		for i := 0; ; i++ {
			have, err := readString(filepath.Join(dir, "gids"), strconv.Itoa(i))
			if err != nil {
				break // past the end of the table
			}
			if have != want {
				continue
			}
			if kind, _ := readString(filepath.Join(dir, "gid_attrs", "types"), strconv.Itoa(i)); kind == "RoCE v2" {
				port, _ = strconv.Atoi(number)
				return port, i, true
			}
		}
	}
	return 0, 0, false
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
