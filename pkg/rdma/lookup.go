package rdma

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/Mellanox/rdmamap"
)

// ErrNoDevice says that an RDMA device is not where it was looked for.
var ErrNoDevice = errors.New("no RDMA device")

// DeviceOf finds the RDMA device of one netdev of this namespace, which must be
// that of the node's sysfs. The error wraps ErrNoDevice when there is none.
//
// It looks one device up instead of reading the inventory: the CNI plugin
// starts once for every NIC of every pod.
func (n *Namespace) DeviceOf(node Node, netdev string) (Device, error) {
	var candidates []string
	switch bus, address := node.NetdevAddress(netdev); bus {
	case BusPCI:
		candidates = rdmamap.GetRdmaDevicesForPcidev(address)
	case BusAuxiliary:
		candidates = rdmamap.GetRdmaDevicesForAuxdev(address)
	}
	var softGUID string
	if len(candidates) == 0 {
		// No device on the NIC's own function: a Soft-RoCE device may sit on
		// the netdev.
		mac, _ := readString(node.class("net", netdev), "address")
		softGUID = eui64(mac)
	}
	i := node.Inventory()
	for link, err := range n.links() {
		if err != nil {
			return Device{}, err
		}
		if !slices.Contains(candidates, link.Name) && link.NodeGUID != softGUID {
			continue
		}
		d, err := i.device(link.Name, nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Device{}, err
		}
		if slices.Contains(d.Netdevs, netdev) {
			d.Index = &link.Index
			d.CharDevices, err = n.CharDevices(node, link, d)
			return d, err
		}
	}
	return Device{}, fmt.Errorf("%w on %s", ErrNoDevice, netdev)
}
