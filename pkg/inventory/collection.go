package inventory

import (
	"cmp"
	"slices"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// A collection is the devices known so far.
type collection struct {
	devices []Device
	index   map[string]int
}

func newCollection(visible []rdma.Device) *collection {
	c := &collection{index: map[string]int{}}
	for _, d := range visible {
		c.add(Device{Device: d, Place: OnHost, Visible: true})
	}
	return c
}

func (c *collection) add(d Device) *Device {
	c.index[d.Key()] = len(c.devices)
	c.devices = append(c.devices, d)
	return &c.devices[len(c.devices)-1]
}

func (c *collection) find(d rdma.Device) *Device {
	if n, ok := c.index[d.Key()]; ok {
		return &c.devices[n]
	}
	return nil
}

// hold restores the device of a record to what it was on the host before its
// holder had it. A device that went with its netdev is known from the record
// only.
func (c *collection) hold(r *attachment.Record) {
	before := rdma.Device{Bus: r.NIC.Bus, Address: r.NIC.Address}
	if r.NIC.RDMA != nil {
		before = *r.NIC.RDMA
	}
	d := c.find(before)
	if d == nil {
		if r.NIC.RDMA == nil || !r.NIC.RDMAMoved {
			return
		}
		d = c.add(Device{Device: before})
	}
	d.Place, d.Holder, d.MTU = InPod, r, r.Host.MTU
	// A NIC whose namespace died is on the host under its name in the pod.
	d.Netdevs = slices.DeleteFunc(slices.Clone(d.Netdevs), func(name string) bool { return name == r.IfName })
	d.restore(before, append([]string{r.Host.Name}, before.Netdevs...), r.Host.AltNames)
}

// recall does the same from memory: for a NIC moved by somebody who keeps no
// journal, and for one whose record cannot be read. The journal has nothing
// about bonds and bridges.
func (c *collection) recall(known Device) {
	d := c.find(known.Device)
	if d == nil {
		c.add(known)
		return
	}
	d.MTU, d.Rate = cmp.Or(d.MTU, known.MTU), known.Rate
	switch {
	case d.Place == OnHost && len(d.Netdevs) == 0 && len(known.Netdevs) > 0:
		d.Place = InPod
		d.restore(known.Device, known.Netdevs, known.AltNames)
		d.Masters = known.Masters
	case d.Place == InPod:
		d.Masters = known.Masters
	}
}
