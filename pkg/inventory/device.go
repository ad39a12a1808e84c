package inventory

import (
	"fmt"
	"slices"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// A Place is where a device is, seen from the host.
type Place string

// The places of a device.
const (
	OnHost Place = "host"
	// InPod: another network namespace has the netdev, and in exclusive mode
	// the RDMA device.
	InPod Place = "pod"
	// Gone: the hardware, or its driver, is no longer there.
	Gone Place = "gone"
)

// A Device is an RDMA device as the host knows it: also while a pod has it,
// when the host's own sysfs shows little or nothing of it.
type Device struct {
	rdma.Device
	Place Place
	// Visible: what the Device says of its ports is current, not remembered.
	Visible bool
	// Holder is the attachment that has the device, nil if there is none or
	// nobody wrote it down.
	Holder *attachment.Record
	// AltNames are alternative names of the netdevs, Masters the bonds or
	// bridges that they belong to.
	AltNames []string
	Masters  []string
	// Guest: it is a software device on a function that has an RDMA device of its
	// own, by which the function is known.
	Guest bool
	// NoCarrier: no netdev of the device on the host has a carrier, nor has a
	// bond that one belongs to.
	NoCarrier bool
	// MTU is the first netdev's on the host, in bytes, and Rate the link's, in bits
	// per second: as they last were there, 0 if nobody saw it.
	MTU  int
	Rate float64
}

// String names the device for a log line, with what users know it by.
func (d Device) String() string {
	if len(d.Netdevs) == 0 {
		return d.Device.String()
	}
	return fmt.Sprintf("%s/%s", d.Netdevs[0], d.Device)
}

// describeNetdevs adds what the host's links tell of a device's netdevs.
func (d *Device) describeNetdevs(all links) {
	known, carriers := 0, 0
	for _, netdev := range d.Netdevs {
		link := all.byName[netdev]
		if link == nil {
			continue
		}
		known++
		if known == 1 {
			d.MTU = link.Attrs().MTU
		}
		d.AltNames = append(d.AltNames, link.Attrs().AltNames...)
		if master := all.byIndex[link.Attrs().MasterIndex]; master != nil {
			d.Masters = append(d.Masters, master.Attrs().Name)
		}
		if all.carrier(link) {
			carriers++
		}
	}
	d.NoCarrier = known > 0 && carriers == 0
}

// restore fills in what the host cannot see while the netdev is away.
func (d *Device) restore(before rdma.Device, netdevs, altNames []string) {
	d.Netdevs = append(d.Netdevs, netdevs...)
	slices.Sort(d.Netdevs)
	d.Netdevs = slices.Compact(d.Netdevs)
	d.AltNames = append(d.AltNames, altNames...)
	if before.LinkType != "" {
		d.LinkType = before.LinkType
	}
	// Without its netdev a Soft-RoCE device does not tell the NIC below it.
	if d.Bus == "" {
		d.Bus, d.Address, d.Vendor, d.DeviceID = before.Bus, before.Address, before.Vendor, before.DeviceID
		d.Driver, d.NUMANode = before.Driver, before.NUMANode
	}
}
