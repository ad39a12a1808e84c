package deviceplugin

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// pcieRoot returns the host bridge and root port above a device,
// "pci0000:00/0000:00:01.0": devices that share it are behind one switch. It
// is "" for a device on no bus.
func pcieRoot(node rdma.Node, d rdma.Device) string {
	target, err := os.Readlink(filepath.Join(node.Sys, "bus", d.Bus, "devices", d.Address))
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

// gidDir is the folder of the GIDs of a device's first port.
func gidDir(node rdma.Node, d rdma.Device) string {
	if len(d.Ports) == 0 {
		return ""
	}
	return filepath.Join(node.Sys, "class/infiniband", d.Name, "ports", strconv.Itoa(d.Ports[0].Number))
}

// gidTableSize returns how many GIDs a device's first port can have, 0 if
// that cannot be seen.
func gidTableSize(node rdma.Node, d rdma.Device) int {
	entries, _ := os.ReadDir(filepath.Join(gidDir(node, d), "gids"))
	return len(entries)
}

// roceV2Index looks up the first RoCE v2 GID of an IPv4 address on a device's
// first port; -1 if there is none.
func roceV2Index(node rdma.Node, d rdma.Device) int {
	dir := gidDir(node, d)
	for i := range gidTableSize(node, d) {
		n := strconv.Itoa(i)
		// Reading an entry that is not in use is an error.
		kind, err := os.ReadFile(filepath.Join(dir, "gid_attrs/types", n))
		if err != nil || strings.TrimSpace(string(kind)) != "RoCE v2" {
			continue
		}
		gid, err := os.ReadFile(filepath.Join(dir, "gids", n))
		if err != nil {
			continue
		}
		if a, err := netip.ParseAddr(strings.TrimSpace(string(gid))); err == nil && a.Is4In6() {
			return i
		}
	}
	return -1
}
