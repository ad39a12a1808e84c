package rdma

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// charKey tells whose a character device is. The name alone would not do:
// infiniband_verbs shows the devices of every namespace, and from Linux 7.3
// on two namespaces may each have a mlx5_0. The function it sits on sets them
// apart.
type charKey struct {
	function string // last folder of the parent's path: a bus address, or "virtual"
	device   string
}

// A charIndex says whose the character devices are. Reading the classes once
// keeps the inventory linear in the number of devices.
type charIndex struct {
	paths map[charKey][]string
	main  map[string]string // by function, its first device with uverbs
}

// of lists a device's character devices; without an index there are none.
func (c *charIndex) of(function, device string) []string {
	if c == nil {
		return nil
	}
	return c.paths[charKey{function, device}]
}

// finish sorts what was collected, and finds the main devices.
func (c *charIndex) finish() {
	for key, paths := range c.paths {
		slices.Sort(paths)
		if first := c.main[key.function]; uverbs(paths) != "" && (first == "" || key.device < first) {
			c.main[key.function] = key.device
		}
	}
}

// tellApart marks the devices that sit beside the main one of their function.
// The main one is the first with uverbs, or, if none has any, the first of all.
// Two kinds of software RDMA device may be on one netdev.
func (c *charIndex) tellApart(devices []Device) {
	first := map[string]bool{} // functions and netdevs that have a device already
	for n := range devices {
		d := &devices[n]
		place, main := d.Address, c.main[d.Address]
		if d.Soft {
			place, main = d.NodeGUID, ""
		}
		switch {
		case place == "":
		case main != "":
			d.Beside = d.Name != main
		default:
			d.Beside = first[place]
			first[place] = true
		}
	}
}

// charDevices reads the uverbs, umad and issm devices of the node. Those
// without a device node below the device root are left out: nobody could open
// them.
func (i *Inventory) charDevices() (*charIndex, error) {
	for _, f := range []*folder{&i.nodes, &i.verbs, &i.mad} {
		changed, err := i.look(f)
		if err != nil {
			return nil, fmt.Errorf("list character devices: %w", err)
		}
		if changed {
			i.chars = nil
		}
	}
	if i.chars != nil {
		return i.chars, nil
	}
	present := map[string]bool{}
	for _, name := range i.nodes.names {
		present[name] = true
	}
	index, complete := &charIndex{paths: map[charKey][]string{}, main: map[string]string{}}, true
	for _, class := range []folder{i.verbs, i.mad} {
		for _, name := range class.names {
			if !present[name] {
				continue // also abi_version, a plain file of these folders
			}
			key, err := readCharKey(class, name)
			if err != nil {
				complete = false // gone since it was listed
				continue
			}
			index.paths[key] = append(index.paths[key], filepath.Join(i.nodes.path, name))
		}
	}
	index.finish()
	if complete {
		i.chars = index
	}
	return index, nil
}

// readCharKey tells whose a character device is.
func readCharKey(class folder, name string) (charKey, error) {
	path := filepath.Join(class.path, name)
	target, err := os.Readlink(path)
	if err != nil {
		return charKey{}, err
	}
	device, err := readString(path, "ibdev")
	if err != nil {
		return charKey{}, err
	}
	return charKey{filepath.Base(filepath.Dir(filepath.Dir(target))), device}, nil
}

// CharDevicesOf reads the character devices of a device again, wherever it is:
// their classes are not namespaced. A move may have renumbered them.
func (n Node) CharDevicesOf(d Device) ([]string, error) {
	if !d.Soft {
		return n.functionCharDevices(d)
	}
	chars, err := n.Inventory().charDevices()
	if err != nil {
		return nil, err
	}
	return chars.of(virtual, d.Name), nil
}

// functionCharDevices lists the character devices of a bus function: those of
// its main device, or of the one beside it, sorted: issmN, umadN, uverbsN. It is
// one look, where a search by the device's name reads the classes from end to end.
func (n Node) functionCharDevices(d Device) ([]string, error) {
	var paths []string
	for _, class := range []string{"infiniband_mad", "infiniband_verbs"} {
		names, err := readDir(filepath.Join(n.functionPath(d.Bus, d.Address), class))
		if err != nil {
			return nil, fmt.Errorf("list character devices: %w", err)
		}
		for _, name := range names {
			if d.Beside {
				if owner, _ := readString(n.class(class, name), "ibdev"); owner != d.Name {
					continue
				}
			}
			path := filepath.Join(n.infinibandDir(), name)
			if _, err := os.Stat(path); err == nil {
				paths = append(paths, path)
			}
		}
	}
	return paths, nil
}

// From <rdma/rdma_netlink.h>; the netlink package has no names for them.
const (
	nldevCmdGetCharDev   = 15
	nldevAttrCharDevType = 69
	nldevAttrCharDevName = 70
)

// CharDevices asks the kernel for the character devices of a device of this
// namespace; sysfs only lists those of all devices. Only those below the node's
// device root count. A move may have renumbered them.
func (n *Namespace) CharDevices(node Node, link Link, d Device) ([]string, error) {
	var names []string
	ask := func(kind string, port ...nl.NetlinkRequestData) error {
		answers, err := n.ask(nldevCmdGetCharDev, 0, append(port, deviceIndex(link.Index), nl.NewRtAttr(nldevAttrCharDevType, nl.ZeroTerminated(kind)))...)
		if errors.Is(err, unix.EOPNOTSUPP) {
			return nil // the device has none of this kind
		}
		for _, answer := range answers {
			for kind, value := range netdev.Attributes(answer) {
				if kind == nldevAttrCharDevName {
					names = append(names, text(value))
				}
			}
		}
		return err
	}
	if err := ask("uverbs"); errors.Is(err, unix.EINVAL) {
		return node.CharDevicesOf(d) // kernels before 5.2 do not understand the question
	} else if err != nil {
		return nil, fmt.Errorf("ask for the character devices of %s: %w", link.Name, err)
	}
	// The question alone would have the kernel load the module.
	if _, err := os.Stat(node.class("infiniband_mad")); err == nil {
		for _, p := range d.Ports {
			for _, kind := range []string{"umad", "issm"} {
				if err := ask(kind, nl.NewRtAttr(nl.RDMA_NLDEV_ATTR_PORT_INDEX, nl.Uint32Attr(uint32(p.Number)))); err != nil {
					return nil, fmt.Errorf("ask for the character devices of %s: %w", link.Name, err)
				}
			}
		}
	}
	var paths []string
	for _, name := range names {
		path := filepath.Join(node.infinibandDir(), name)
		if _, err := os.Stat(path); err == nil {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths, nil
}

// ConnectionManager returns the path of rdma_cm, the one character device
// that all RDMA devices share, and whether it is there.
func (n Node) ConnectionManager() (path string, ok bool) {
	path = filepath.Join(n.infinibandDir(), "rdma_cm")
	_, err := os.Stat(path)
	return path, !errors.Is(err, fs.ErrNotExist)
}

func (n Node) infinibandDir() string { return filepath.Join(n.Dev, "infiniband") }

// Uverbs returns the device's uverbs path, "" if it has none.
func (d Device) Uverbs() string { return uverbs(d.CharDevices) }

func uverbs(charDevices []string) string {
	for _, path := range charDevices {
		if strings.HasPrefix(filepath.Base(path), "uverbs") {
			return path
		}
	}
	return ""
}
