package deviceplugin

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/logging"
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
	// Visible: what the Device says of ports is what is, not what was.
	Visible bool
	// Holder is the attachment that has the device, nil if there is none or
	// nobody wrote it down.
	Holder *attachment.Record
	// AltNames are alternative names of the netdevs, Masters the bonds or
	// bridges that they belong to.
	AltNames []string
	Masters  []string
	// NoCarrier: no netdev of the device on the host has a carrier.
	NoCarrier bool
}

// String names the device for a log line, with what users know it by.
func (d Device) String() string {
	if len(d.Netdevs) == 0 {
		return d.Device.String()
	}
	return fmt.Sprintf("%s/%s", d.Netdevs[0], d.Device)
}

// An inventory reads the devices of the node.
type inventory struct {
	node    rdma.Node
	devices *rdma.Inventory // of node
	journal *attachment.Journal
	memory  *memory
	// links lists the host's links: one answer for what sysfs has in a file
	// each, or not at all.
	links func() ([]netlink.Link, error)
	// elsewhere lists the links of other namespaces.
	elsewhere func() ([]netlink.Link, error)
	log       *slog.Logger
	unread    logging.Once // files of the journal that cannot be read
	blind     logging.Once // other namespaces that cannot be looked into

	// What the last read saw, for the rescue of NICs.
	held      []*attachment.Record
	hostLinks []netlink.Link
}

// read returns the node's devices, those in pods included, sorted by name.
func (i *inventory) read() ([]Device, error) {
	visible, err := i.devices.Devices()
	if err != nil {
		return nil, err
	}
	if i.hostLinks, err = i.links(); err != nil {
		i.log.Warn("cannot list the host's links; going without alternative names, bonds and carriers", "err", err)
	}
	i.held = i.records()
	all := newCollection(visible)
	for _, r := range i.held {
		all.hold(r)
	}
	for _, known := range i.memory.all() {
		all.recall(known)
	}
	i.seek(all.devices)
	links, names := map[string]*netlink.LinkAttrs{}, map[int]string{}
	for _, link := range i.hostLinks {
		links[link.Attrs().Name] = link.Attrs()
		names[link.Attrs().Index] = link.Attrs().Name
	}
	for n := range all.devices {
		d := &all.devices[n]
		if !d.Visible {
			i.locate(d)
		}
		if d.Place == OnHost {
			d.describeNetdevs(links, names)
		}
	}
	slices.SortStableFunc(all.devices, func(a, b Device) int { return strings.Compare(a.Name, b.Name) })
	return all.devices, nil
}

// records returns the attachments of this boot. What cannot be read is logged
// and left out: the other NICs count all the same.
func (i *inventory) records() []*attachment.Record {
	records, bad, err := i.journal.List()
	problems := map[string]string{}
	if err != nil {
		problems[i.journal.RecordsDir()] = err.Error()
	}
	for _, b := range bad {
		problems[b.Path] = b.Error()
	}
	for path, problem := range problems {
		if i.unread.News(path, problem) {
			i.log.Warn("cannot read the journal of attachments", "file", path, "err", problem)
		}
	}
	maps.DeleteFunc(i.unread, func(path, _ string) bool { return problems[path] == "" })
	return slices.DeleteFunc(records, func(r *attachment.Record) bool {
		return !i.journal.Current(r) || r.Step == attachment.Returned
	})
}

// seek looks into other namespaces for the netdevs of RoCE devices that have
// none here, and of which nobody left a record: host-device moved them before
// this program first ran. It leaves the host's name in the alias. A pod could
// write another one there, and so put the NIC that it holds into a resource; it
// would gain nothing.
func (i *inventory) seek(devices []Device) {
	lost := func(d Device) bool { return d.Place == OnHost && len(d.Netdevs) == 0 && d.IsRoCE() }
	if !slices.ContainsFunc(devices, lost) {
		return
	}
	links, err := i.elsewhere()
	if err != nil && i.blind.News("namespaces", err.Error()) {
		i.log.Warn("cannot look for NICs in pods; some that were moved before this program first ran are not offered", "err", err)
	}
	for n := range devices {
		d := &devices[n]
		if !lost(*d) {
			continue
		}
		for _, link := range links {
			if a := link.Attrs(); d.IsOn(a.ParentDevBus, a.ParentDev, a.HardwareAddr.String()) {
				d.Place = InPod
				d.restore(d.Device, []string{cmp.Or(a.Alias, a.Name)}, a.AltNames)
				break
			}
		}
	}
}

// locate tells a device that the host cannot see, because another namespace
// has it, from one that is gone, and reads its character devices: their
// classes are not namespaced, and another move may have renumbered them.
func (i *inventory) locate(d *Device) {
	d.Place = InPod
	d.CharDevices, _ = i.node.CharDevicesOf(d.Device)
	if len(d.CharDevices) == 0 {
		d.Place = Gone
	}
}

// describeNetdevs adds what the host's links tell of a device's netdevs.
func (d *Device) describeNetdevs(links map[string]*netlink.LinkAttrs, names map[int]string) {
	known, carriers := 0, 0
	for _, netdev := range d.Netdevs {
		a := links[netdev]
		if a == nil {
			continue
		}
		known++
		d.AltNames = append(d.AltNames, a.AltNames...)
		if master := names[a.MasterIndex]; master != "" {
			d.Masters = append(d.Masters, master)
		}
		if a.RawFlags&unix.IFF_LOWER_UP != 0 {
			carriers++
		}
	}
	d.NoCarrier = known > 0 && carriers == 0
}

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

// hold makes the device of a record what it was on the host before its holder
// had it. A device that went with its netdev is known from the record only.
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
	d.Place, d.Holder = InPod, r
	// A NIC whose namespace died is on the host under its name in the pod.
	d.Netdevs = slices.DeleteFunc(slices.Clone(d.Netdevs), func(name string) bool { return name == r.IfName })
	d.restore(before, append([]string{r.Host.Name}, before.Netdevs...), r.Host.AltNames)
}

// recall does the same from memory: for a NIC that somebody moved who keeps no
// journal, and for one whose record cannot be read. Of bonds and bridges there
// is nothing in the journal.
func (c *collection) recall(known Device) {
	d := c.find(known.Device)
	switch {
	case d == nil:
		c.add(known)
	case d.Place == OnHost && len(d.Netdevs) == 0 && len(known.Netdevs) > 0:
		d.Place = InPod
		d.restore(known.Device, known.Netdevs, known.AltNames)
		d.Masters = known.Masters
	case d.Place == InPod:
		d.Masters = known.Masters
	}
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
	// Without its netdev a Soft-RoCE device says nothing of the NIC below.
	if d.Bus == "" {
		d.Bus, d.Address, d.Vendor, d.DeviceID = before.Bus, before.Address, before.Vendor, before.DeviceID
		d.Driver, d.NUMANode = before.Driver, before.NUMANode
	}
}
