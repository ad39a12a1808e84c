package rdma

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Devices reads every RDMA device that is visible below the sysfs root, in
// one pass and sorted by name. A node without RDMA has none; that is not an
// error. A device that disappears while it is being read is left out.
func (n Node) Devices() ([]Device, error) { return n.Inventory().Devices() }

// An Inventory reads a node's devices again and again. What cannot change as
// long as the kernel's objects are the same is read once: IDs, GUID, NUMA node,
// what ports there are, what kind of netdevs, whose a character device is. It
// is for one goroutine.
type Inventory struct {
	node    Node
	class   folder               // the RDMA devices, that the rest is about
	devices map[string]*constant // by name
	nodes   folder               // of the character devices
	verbs   folder               // their classes
	mad     folder
	chars   *charIndex // nil: to be made anew
	spare   []byte     // to read folders into
	partial bool       // the last look saw a device that is not complete yet
}

// Inventory starts an inventory of the node.
func (n Node) Inventory() *Inventory {
	return &Inventory{
		node: n, devices: map[string]*constant{},
		class: folder{path: n.class("infiniband")}, nodes: folder{path: n.infinibandDir()},
		verbs: folder{path: n.class("infiniband_verbs")}, mad: folder{path: n.class("infiniband_mad")},
	}
}

// constant is what does not change about a device.
type constant struct {
	device   Device
	function string      // path of its function
	states   []portState // of its ports

	// The function's netdevs, and what they mean.
	net      folder
	netdevs  []string
	linkType string
}

// A portState is the paths of what changes about a port.
type portState struct{ state, physState string }

// Partial tells whether the last look saw a device that was not complete yet.
// Nothing announces the rest: whoever wants it must look again.
func (i *Inventory) Partial() bool { return i.partial }

// Devices is as the node's.
func (i *Inventory) Devices() ([]Device, error) {
	i.partial = false
	changed, err := i.look(&i.class)
	if err != nil {
		return nil, fmt.Errorf("list RDMA devices: %w", err)
	}
	if changed { // one came, left or was renamed
		clear(i.devices)
		i.chars = nil
	}
	if len(i.class.names) == 0 {
		return nil, nil
	}
	chars, err := i.charDevices()
	if err != nil {
		return nil, err
	}
	devices := make([]Device, 0, len(i.class.names))
	for _, name := range i.class.names {
		d, err := i.device(name, chars)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		devices = append(devices, d)
	}
	chars.tellApart(devices)
	return devices, nil
}

func (i *Inventory) device(name string, chars *charIndex) (Device, error) {
	d, err := i.read(name, chars)
	if err != nil {
		return Device{}, fmt.Errorf("RDMA device %s: %w", name, err)
	}
	return d, nil
}

func (i *Inventory) read(name string, chars *charIndex) (Device, error) {
	n, known := i.node, i.devices[name]
	if known == nil {
		var err error
		if known, err = n.constant(name); err != nil {
			return Device{}, err
		}
		// What is not complete is read again until it is.
		if known.device.complete() {
			i.devices[name] = known
		} else {
			i.partial = true
		}
	}
	d := known.device
	d.Ports = slices.Clone(d.Ports)
	for p, paths := range known.states {
		d.Ports[p].State = readState(paths.state)
		d.Ports[p].PhysState = readState(paths.physState)
	}
	charFunction := d.Address
	if d.Soft {
		// It goes where its netdev goes, and the function with it.
		charFunction = virtual
		var function string
		function, d.Netdevs = n.softParent(n.class("infiniband", name), d.NodeGUID)
		n.readFunction(&d, function)
		d.LinkType = n.linkType(d)
	} else if err := i.readNetdevs(&d, known); err != nil {
		return Device{}, err
	}
	d.CharDevices = chars.of(charFunction, name)
	return d, nil
}

// readNetdevs looks which netdevs a function has now. What they are is read
// again only when they have changed.
func (i *Inventory) readNetdevs(d *Device, known *constant) error {
	changed, err := i.look(&known.net)
	if err != nil {
		return err
	}
	if changed || known.linkType == "" {
		d.Netdevs = i.node.netdevs(known.net)
		known.netdevs, known.linkType = d.Netdevs, i.node.linkType(*d)
	}
	d.Netdevs, d.LinkType = slices.Clone(known.netdevs), known.linkType
	return nil
}

// virtual is the folder of devices without a bus function.
const virtual = "virtual"

func (n Node) constant(name string) (*constant, error) {
	dir := n.class("infiniband", name)
	// /sys/class/infiniband/mlx5_0 points to
	// ../../devices/<bus path>/infiniband/mlx5_0: the path itself tells which
	// function the device sits on, without following a link for each component.
	target, err := os.Readlink(dir)
	if err != nil {
		return nil, err
	}
	d := Device{Name: name, NUMANode: -1, Soft: strings.Contains(target, "/"+virtual+"/")}
	if d.NodeGUID, err = readString(dir, "node_guid"); err != nil {
		return nil, err
	}
	if d.Ports, err = n.ports(dir); err != nil {
		return nil, err
	}
	c := &constant{}
	for _, p := range d.Ports {
		portDir := filepath.Join(dir, "ports", strconv.Itoa(p.Number))
		c.states = append(c.states, portState{filepath.Join(portDir, "state"), filepath.Join(portDir, "phys_state")})
	}
	if d.Soft {
		d.SoftKind = n.softKind(dir)
	} else {
		c.function = filepath.Dir(filepath.Dir(filepath.Join(n.class("infiniband"), target)))
		n.readFunction(&d, c.function)
		c.net.path = filepath.Join(c.function, "net")
	}
	c.device = d
	return c, nil
}

// Names lists the RDMA devices that are visible.
func (n Node) Names() ([]string, error) { return readDir(n.class("infiniband")) }

// Outline reads of a device what its driver need not be asked for: neither the
// states of its ports nor its character devices.
func (n Node) Outline(name string) (Device, error) {
	known, err := n.constant(name)
	if err != nil {
		return Device{}, fmt.Errorf("RDMA device %s: %w", name, err)
	}
	d := known.device
	if d.Soft {
		var function string
		function, d.Netdevs = n.softParent(n.class("infiniband", name), d.NodeGUID)
		n.readFunction(&d, function)
		return d, nil
	}
	names, err := readDir(known.net.path)
	for _, netdev := range names {
		if !n.isRepresentor(netdev) {
			d.Netdevs = append(d.Netdevs, netdev)
		}
	}
	return d, err
}

// ports lists a device's ports, without their states.
func (n Node) ports(dir string) ([]Port, error) {
	names, err := readDir(filepath.Join(dir, "ports"))
	if err != nil {
		return nil, err
	}
	ports := make([]Port, 0, len(names))
	for _, name := range names {
		number, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		p := Port{Number: number}
		p.LinkLayer, _ = readString(filepath.Join(dir, "ports", name), "link_layer")
		ports = append(ports, p)
	}
	slices.SortFunc(ports, func(a, b Port) int { return a.Number - b.Number })
	return ports, nil
}

// softParent finds the netdev below a Soft-RoCE device, and the path of the
// function that carries it.
//
// The kernel's "parent" file gives a bare netdev name, also when that netdev
// is in another namespace; a netdev of this namespace may have the same name.
// The node GUID of rxe and siw is the EUI-64 of their netdev's MAC address,
// which tells the two apart.
func (n Node) softParent(dir, nodeGUID string) (function string, netdevs []string) {
	name, err := readString(dir, "parent")
	if err != nil || name == "" {
		return "", nil
	}
	mac, err := readString(n.class("net", name), "address")
	if err != nil || eui64(mac) != nodeGUID {
		return "", nil
	}
	return n.netdevFunction(name), []string{name}
}

// softKind tells Soft-RoCE from the other kind of software RDMA device, siw,
// which is an iWARP adapter.
func (n Node) softKind(dir string) string {
	if kind, _ := readString(dir, "node_type"); strings.HasSuffix(kind, ": RNIC") {
		return "siw"
	}
	return "rxe"
}

// ARP hardware types, <linux/if_arp.h>.
const (
	arphrdEther      = "1"
	arphrdInfiniband = "32"
)

func (n Node) linkType(d Device) string {
	for _, netdev := range d.Netdevs {
		switch t, _ := readString(n.class("net", netdev), "type"); t {
		case arphrdEther:
			return "ether"
		case arphrdInfiniband:
			return "infiniband"
		}
	}
	for _, p := range d.Ports {
		switch p.LinkLayer {
		case linkLayerEthernet:
			return "ether"
		case linkLayerInfiniBand:
			return "infiniband"
		}
	}
	return ""
}

// eui64 turns a MAC address into the node GUID that Soft-RoCE makes of it, in
// the form of sysfs; "" if mac is not one.
func eui64(mac string) string {
	b := strings.Split(mac, ":")
	if len(b) != 6 {
		return ""
	}
	first, err := strconv.ParseUint(b[0], 16, 8)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%02x%s:%sff:fe%s:%s%s", first^2, b[1], b[2], b[3], b[4], b[5])
}
