package rdma

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/Mellanox/rdmamap"
	"github.com/vishvananda/netns"
)

// ErrNoDevice says that an RDMA device is not where it was looked for.
var ErrNoDevice = errors.New("no RDMA device")

// DeviceOfNetdev finds the RDMA device of one netdev of this namespace on the
// live system. The error wraps ErrNoDevice when there is none.
//
// It looks one device up instead of reading the inventory: the CNI plugin
// starts once for every NIC of every pod.
func (n Node) DeviceOfNetdev(netdev string) (Device, error) {
	var candidates []string
	switch bus, address := n.NetdevAddress(netdev); bus {
	case BusPCI:
		candidates = rdmamap.GetRdmaDevicesForPcidev(address)
	case BusAuxiliary:
		candidates = rdmamap.GetRdmaDevicesForAuxdev(address)
	}
	if len(candidates) == 0 {
		// No device on the NIC's own function: a Soft-RoCE device may sit on
		// the netdev, and nothing but the list of all devices leads to it.
		names, err := readDir(n.class("infiniband"))
		if err != nil {
			return Device{}, fmt.Errorf("list RDMA devices: %w", err)
		}
		for _, name := range names {
			if parent, _ := readString(n.class("infiniband", name), "parent"); parent == netdev {
				candidates = append(candidates, name)
			}
		}
	}
	i := n.Inventory()
	for _, name := range candidates {
		d, err := i.device(name, nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Device{}, err
		}
		if slices.Contains(d.Netdevs, netdev) {
			return n.complete(d)
		}
	}
	return Device{}, fmt.Errorf("%w on %s", ErrNoDevice, netdev)
}

// complete adds the device's index and its character devices.
func (n Node) complete(d Device) (Device, error) {
	s, err := openAt(netns.None())
	if err != nil {
		return Device{}, err
	}
	defer s.Close()
	link, ok, err := s.find(d)
	if err != nil {
		return Device{}, err
	}
	if !ok {
		return Device{}, fmt.Errorf("%w %s", ErrNoDevice, d.Name)
	}
	d.Index = &link.Index
	d.CharDevices, err = n.askCharDevices(s, link, d)
	return d, err
}
