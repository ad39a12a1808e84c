package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// measureLab measures with the first of the lab's NICs, which has an RDMA
// device; the node is in exclusive mode.
func measureLab(o options, out io.Writer) error {
	n, err := newNode()
	if err != nil {
		return err
	}
	inventory, err := rdma.Host().Devices()
	if err != nil {
		return err
	}
	if len(inventory) == 0 || len(inventory[0].Netdevs) == 0 {
		return fmt.Errorf("no RDMA device with a netdev")
	}
	device := inventory[0]
	link, err := netlink.LinkByName(device.Netdevs[0])
	if err != nil {
		return err
	}
	n.nics = []netlink.Link{link}
	if err := showRDMADevice(device.Name); err != nil {
		return err
	}
	p, err := o.measure(n, func(_ int, name string) [2]chain {
		return [2]chain{
			{{"type": "roce-host-device", "device": name}},
			{{"type": "host-device", "device": name}, {"type": "rdma", "deviceID": shownAt}},
		}
	})
	if err != nil {
		return err
	}
	host, err := rdma.Open(n.host)
	if err != nil {
		return err
	}
	defer host.Close()
	found, ok, err := host.Find(device)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("RDMA device %s is gone", device.Name)
	}
	n.rdma = &found
	if p.Floor, err = o.floor(n); err != nil {
		return err
	}
	if err := n.close(); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(p)
}

// shownAt is the PCI address below which rdma-cni looks for the RDMA device. A
// Soft-RoCE device is not below its NIC's, as one of hardware is, so it is
// shown at that of the PCI host bridge, which nothing else here looks at.
const shownAt = "0000:00:00.0"

func showRDMADevice(name string) error {
	bridge := filepath.Join("/sys/bus/pci/devices", shownAt)
	if err := unix.Mount("bench", bridge, "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount on %s: %w", bridge, err)
	}
	return os.MkdirAll(filepath.Join(bridge, "infiniband", name), 0o755)
}
