package inventory

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/logging"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// Options say where to look.
type Options struct {
	Node    rdma.Node
	Journal *attachment.Journal
	// StateDir is where to remember devices.
	StateDir string
	// Links lists the host's links: one answer for what sysfs has in a file per
	// link, or not at all. Elsewhere lists those of other namespaces. Either
	// is nil where they cannot be seen.
	Links, Elsewhere func(context.Context) ([]netlink.Link, error)
	// Rates asks for the links' rates as well, of which the driver asks the
	// firmware.
	Rates bool
	Log   *slog.Logger
}

// An Inventory reads the devices of the node.
type Inventory struct {
	node             rdma.Node
	devices          *rdma.Inventory // of node
	journal          *attachment.Journal
	memory           *memory
	rates            bool
	links, elsewhere func(context.Context) ([]netlink.Link, error)
	log              *slog.Logger
	listed           links                // when they last could be: a list that fails says nothing
	unread           logging.Once         // files of the journal that cannot be read
	blind            logging.Once         // other namespaces that cannot be looked into
	sought           map[string]time.Time // when netdevs were last sought, by device
	reading          sync.WaitGroup
}

// New starts an inventory.
func New(o Options) *Inventory {
	i := &Inventory{
		node: o.Node, devices: o.Node.Inventory(), journal: o.Journal, links: o.Links, elsewhere: o.Elsewhere, rates: o.Rates, log: o.Log,
		memory: openMemory(o.StateDir, o.Journal.BootID(), o.Log), unread: logging.Once{}, blind: logging.Once{}, sought: map[string]time.Time{},
	}
	none := func(context.Context) ([]netlink.Link, error) { return nil, nil }
	if i.links == nil {
		i.links = none
	}
	if i.elsewhere == nil {
		i.elsewhere = none
	}
	return i
}

// A Snapshot is what one look at the node saw. Nobody may change it.
type Snapshot struct {
	// Devices are all of the node, those in pods included, sorted by name.
	Devices []Device
	// Held are the records of the attachments that hold a NIC.
	Held []*attachment.Record
	// HostLinks are the host's links, none if they could not be seen.
	HostLinks []netlink.Link
	// Unnamed is why nobody knows the alternative names, bonds and carrier of a
	// netdev, nil if all are known. Selectors and exclusions go by them: nothing
	// may be offered by such a look.
	Unnamed error
	// Partial: a device was not complete yet, and nothing will announce when it
	// is.
	Partial bool
}

// Stranded returns the records whose netdev is among the host's links: it came
// back without a DEL.
func (s Snapshot) Stranded() []*attachment.Record {
	var found []*attachment.Record
	for _, r := range s.Held {
		if r.NIC.Netdev.OnHost(s.HostLinks) != nil {
			found = append(found, r)
		}
	}
	return found
}

// Read looks at the node. Once ctx has ended it no longer waits for a driver
// that hangs; nobody may read again then.
//
// What was seen is remembered only if the caller says so, with Remember.
func (i *Inventory) Read(ctx context.Context) (Snapshot, error) {
	type sight struct {
		Snapshot
		err error
	}
	seen := make(chan sight, 1)
	i.reading.Go(func() {
		s, err := i.read(ctx)
		seen <- sight{s, err}
	})
	select {
	case <-ctx.Done():
		return Snapshot{}, ctx.Err()
	case s := <-seen:
		return s.Snapshot, s.err
	}
}

// Wait waits for reads that were abandoned, and so still use what the
// inventory was made of.
func (i *Inventory) Wait() { i.reading.Wait() }

// Remember keeps what a snapshot says of its devices for later ones, across
// restarts of the program, for one boot.
func (i *Inventory) Remember(s Snapshot) { i.memory.keep(s.Devices) }

// Forget drops what is remembered of a device that is gone for good. It comes
// back if it is ever seen again. Nobody may read meanwhile.
func (i *Inventory) Forget(d Device) error {
	if err := i.memory.drop(d.Key()); err != nil {
		return fmt.Errorf("write the record of devices: %w", err)
	}
	return nil
}

func (i *Inventory) read(ctx context.Context) (Snapshot, error) {
	visible, err := i.devices.Devices()
	if err != nil {
		return Snapshot{}, err
	}
	s := Snapshot{Partial: i.devices.Partial()}
	var unlisted error
	if s.HostLinks, unlisted = i.links(ctx); unlisted == nil {
		i.listed = newLinks(s.HostLinks)
	}
	s.Held = i.records()
	all := newCollection(visible)
	for _, r := range s.Held {
		all.hold(r)
	}
	for _, known := range i.memory.all() {
		if all.find(known.Device) != nil || !i.takenAway(known) {
			all.recall(known)
		}
	}
	i.seek(ctx, all.devices)
	own := map[string]bool{} // functions with a device of their own
	for _, d := range all.devices {
		own[d.Address] = own[d.Address] || !d.Soft
	}
	for n := range all.devices {
		d := &all.devices[n]
		d.Guest = d.Soft && d.Address != "" && own[d.Address]
		if !d.Visible {
			i.locate(d)
		}
		if d.Place == OnHost {
			d.describeNetdevs(i.listed)
			if unlisted != nil && !i.listed.have(d.Netdevs) {
				s.Unnamed = fmt.Errorf("list the host's links: %w", unlisted)
			}
		}
		if rate := i.rate(*d); rate > 0 {
			d.Rate = rate
		}
	}
	switch {
	case s.Unnamed != nil:
		i.log.Warn("cannot list the host's links; continuing without alternative names, bonds and carriers", "err", unlisted)
	case unlisted != nil:
		i.log.Warn("cannot list the host's links; alternative names, bonds and carriers stay as they were", "err", unlisted)
	}
	s.Devices = all.devices
	slices.SortStableFunc(s.Devices, func(a, b Device) int { return strings.Compare(a.Name, b.Name) })
	return s, nil
}

// rate is that of a device's link if it is up: of one that is down, drivers say
// what they like.
func (i *Inventory) rate(d Device) float64 {
	if !i.rates || !d.Visible {
		return 0
	}
	for _, p := range d.Ports {
		if p.State == "ACTIVE" {
			return i.node.PortRate(d.Name, p.Number)
		}
	}
	return 0
}

// records returns the attachments of this boot. What cannot be read is logged
// and left out: the other NICs still count.
func (i *Inventory) records() []*attachment.Record {
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

// takenAway tells whether somebody took away a device on purpose: fewer virtual
// functions were asked for, or its function was given to another driver. For a
// NIC that died neither holds, and it stays known.
func (i *Inventory) takenAway(d Device) bool {
	if d.Soft {
		return false // the function is another device's
	}
	if !i.node.HasFunction(d.Bus, d.Address) {
		return d.PhysicalFunction != "" && i.node.HasFolder(d.PhysicalFunction)
	}
	now := i.node.DriverOf(d.Bus, d.Address)
	return now != "" && d.Driver != "" && now != d.Driver
}

// seekAgain is the pause before netdevs are sought again that were not found.
// Some RDMA devices have none, and searching a node's namespaces takes long.
const seekAgain = 5 * time.Minute

// seek looks into other namespaces for the netdevs of RoCE devices that have
// none here, and of which there is no record: host-device moved them before
// this program first ran. It leaves the host's name in the alias. A pod could
// write another name there, for the NIC that it holds; it would gain nothing.
func (i *Inventory) seek(ctx context.Context, devices []Device) {
	lost := func(d Device) bool { return d.Place == OnHost && len(d.Netdevs) == 0 && d.IsRoCE() }
	found, now := map[string]time.Time{}, time.Now() // what stays sought
	due := false
	for _, d := range devices {
		if lost(d) {
			last := i.sought[d.Key()]
			due = due || now.Sub(last) >= seekAgain
			found[d.Key()] = last
		}
	}
	i.sought = found
	if !due {
		return
	}
	for key := range i.sought {
		i.sought[key] = now
	}
	links, err := i.elsewhere(ctx)
	if err != nil && i.blind.News("namespaces", err.Error()) {
		i.log.Warn("cannot look for NICs in pods; some that were moved before this program first ran are unknown", "err", err)
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
func (i *Inventory) locate(d *Device) {
	d.Place = InPod
	d.CharDevices, _ = i.node.CharDevicesOf(d.Device)
	if len(d.CharDevices) == 0 {
		d.Place = Gone
	}
}

// Held is Read for who asks only which attachments hold a NIC, and what the
// host's links are: there are no devices in it. Nobody may read meanwhile.
func (i *Inventory) Held(ctx context.Context) (Snapshot, error) {
	links, err := i.links(ctx)
	if err != nil {
		return Snapshot{}, fmt.Errorf("list the host's links: %w", err)
	}
	return Snapshot{Held: i.records(), HostLinks: links}, nil
}
