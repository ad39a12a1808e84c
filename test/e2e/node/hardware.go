package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// addHardware mounts a stand-in sysfs that has an HCA for each NIC of the node,
// with the rest of the real one, and keeps it true: a netdev is in it while it is
// in this network namespace. This machine's kernel has no RDMA.
func (n *node) addHardware(ctx context.Context) error {
	tree, err := sysfs.New("/run/hardware")
	if err != nil {
		return err
	}
	hcas := map[string]sysfs.HCA{}
	for i, nic := range n.NICs {
		h := sysfs.MLX5(i)
		h.Netdev, h.MAC = nic.Name, nic.MAC
		h.Root = fmt.Sprintf("pci0000:%02x/0000:%02[1]x:01.0", 0x10*(i+1)) // each its own, as beside a GPU
		h.NUMA = i / 4
		hcas[h.Netdev] = h
		if err := errors.Join(tree.Add(h), describe(tree, h), take(tree, h)); err != nil {
			return err
		}
	}
	if err := mountSys(tree.Sys()); err != nil {
		return err
	}
	if err := makeCharDevices(filepath.Join(tree.Dev(), "infiniband")); err != nil {
		return err
	}
	return follow(ctx, tree, hcas)
}

// describe adds what k8s-rdma-shared-dev-plugin reads of a function.
func describe(tree *sysfs.Tree, h sysfs.HCA) error {
	id := func(s string) string { return "0000" + strings.ToUpper(strings.TrimPrefix(s, "0x")) }
	alias := fmt.Sprintf("pci:v%sd%ssv%ssd00000001bc02sc00i00\n", id(h.Vendor), id(h.Device), id(h.Vendor))
	return os.WriteFile(filepath.Join(tree.Sys(), "bus/pci/devices", h.PCI, "modalias"), []byte(alias), 0o644)
}

// mountSys completes a stand-in sysfs with what a kubelet and a container runtime
// need of the real one, and mounts it.
func mountSys(sys string) error {
	for _, part := range []string{"fs", "kernel", "module", "devices/system", "class/mem", "dev"} {
		target := filepath.Join(sys, part)
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(filepath.Join("/sys", part), target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mount /sys/%s: %w", part, err)
		}
	}
	return unix.Mount(sys, "/sys", "", unix.MS_BIND|unix.MS_REC, "")
}

// firstConsole is the minor number of the first virtual console that passes for
// a character device of an HCA: a container may not open one unless it is given.
const (
	consoleMajor = 4
	firstConsole = 20
)

// makeCharDevices makes device nodes that can be opened, by the names of those
// that a stand-in sysfs has.
func makeCharDevices(names string) error {
	const folder = "/dev/infiniband"
	entries, err := os.ReadDir(names)
	if err != nil {
		return err
	}
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	files := []string{"rdma_cm"}
	for _, e := range entries {
		files = append(files, e.Name())
	}
	slices.Sort(files)
	for i, name := range slices.Compact(files) {
		if err := unix.Mknod(filepath.Join(folder, name), unix.S_IFCHR|0o666, int(unix.Mkdev(consoleMajor, uint32(firstConsole+i)))); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// take takes a NIC's netdev out of the sysfs, but for the link by its name: it tells
// what function the NIC is on, and this sysfs hears late of a NIC that is back. Who
// attaches it at once would take it for one on no bus. The kernel's is true before
// anybody is told.
func take(tree *sysfs.Tree, h sysfs.HCA) error {
	class := filepath.Join(tree.Sys(), "class/net")
	folder, err := os.Readlink(filepath.Join(class, h.Netdev))
	if err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(class, folder))
}

// follow adds each NIC to the sysfs that is in this namespace, and from then on
// each that comes, and takes out each that leaves.
func follow(ctx context.Context, tree *sysfs.Tree, hcas map[string]sysfs.HCA) error {
	updates := make(chan netlink.LinkUpdate, 1024)
	err := netlink.LinkSubscribeWithOptions(updates, ctx.Done(), netlink.LinkSubscribeOptions{ListExisting: true})
	if err != nil {
		return err
	}
	go func() {
		names := map[int]string{} // of the links that are here
		for u := range updates {
			index, name := int(u.Index), u.Attrs().Name
			gone := u.Header.Type == unix.RTM_DELLINK
			if h, ok := hcas[names[index]]; ok && (gone || name != names[index]) {
				_ = take(tree, h)
			}
			if h, ok := hcas[name]; ok && !gone && names[index] != name {
				_ = tree.ReturnNetdev(h)
				_ = sayChanged()
			}
			if names[index] = name; gone {
				delete(names, index)
			}
		}
	}()
	return nil
}

// sayChanged has the kernel say something of a link: who looked when it spoke of the
// NIC may have been earlier than this sysfs.
func sayChanged() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetAlias(lo, "")
}
