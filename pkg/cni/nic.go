package cni

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// A selector is how the configuration names the NIC.
type selector struct {
	key   string // the configuration's key
	value string
}

func (s selector) String() string { return fmt.Sprintf("%s %q", s.key, s.value) }

// selector picks the key that names the NIC. A device ID that is not a bus
// address says nothing about a NIC: with a resourceName on the network, Multus
// passes whatever ID the kubelet allocated, and a shared resource's IDs are
// "0", "1", … Such an ID is ignored if another key names the NIC.
func (c *netConf) selector() (selector, error) {
	for _, s := range []selector{{"device", c.Device}, {"hwaddr", c.HWAddr}, {"kernelpath", c.KernelPath}} {
		if s.value == "" {
			continue
		}
		switch {
		case s.key == "device" && strings.ContainsFunc(s.value, unicode.IsControl):
			return selector{}, invalid("%s has a control character", "compare with `ip link` on the host", s)
		case s.key == "hwaddr" && !isMAC(s.value):
			return selector{}, invalid("%s is not a MAC address", `write it as "94:6d:ae:c6:93:9a"`, s)
		case s.key == "kernelpath" && !strings.HasPrefix(filepath.Clean(s.value), "/sys/devices/"):
			return selector{}, invalid("%s is not below /sys/devices", "use the path that `readlink -f /sys/class/net/<name>/device` prints", s)
		case s.key == "kernelpath" && strings.ContainsAny(s.value, `*?[]\`):
			return selector{}, invalid("%s is a pattern", "use the path of one device", s)
		}
		return s, nil
	}
	var ids []string
	for _, s := range []selector{{"runtimeConfig.deviceID", c.RuntimeConfig.DeviceID}, {"pciBusID", c.PCIBusID}, {"deviceID", c.DeviceID}} {
		if rdma.IsPCIAddress(s.value) || rdma.IsAuxiliaryAddress(s.value) {
			return s, nil
		}
		if s.value != "" {
			ids = append(ids, s.String())
		}
	}
	if len(ids) > 0 {
		return selector{}, invalid("%s is neither a PCI nor an auxiliary address, and nothing else names the NIC",
			`name it with "device", or use a resource whose device IDs are PCI addresses ("mode": "perDevice" of the device plugin)`, strings.Join(ids, " and "))
	}
	return selector{}, invalid("nothing names the NIC", `set "device" (or "hwaddr", "kernelpath", "pciBusID")`)
}

// namesNoNIC tells whether none of the keys that could name the NIC is set.
func (c *netConf) namesNoNIC() bool {
	return cmp.Or(c.Device, c.HWAddr, c.KernelPath, c.RuntimeConfig.DeviceID, c.PCIBusID, c.DeviceID) == ""
}

func isMAC(s string) bool {
	_, err := net.ParseMAC(s)
	return err == nil
}

// sameMAC compares addresses, which can be written in several ways: with
// dashes, with dots, in either case.
func sameMAC(a, b string) bool {
	one, err := net.ParseMAC(a)
	if err != nil {
		return false
	}
	other, err := net.ParseMAC(b)
	return err == nil && bytes.Equal(one, other)
}

// find looks for the NIC on the host; nil if it is not there.
func (s selector) find(ctx context.Context, host *netdev.Namespace, node rdma.Node) (netlink.Link, error) {
	switch s.key {
	case "device":
		return host.LinkNamed(s.value)
	case "hwaddr":
		return findMAC(ctx, host, s.value)
	case "kernelpath":
		return findBelow(host, node, s.value)
	}
	bus := rdma.BusPCI
	if rdma.IsAuxiliaryAddress(s.value) {
		bus = rdma.BusAuxiliary
	}
	return findBelow(host, node, filepath.Join(node.Sys, "bus", bus, "devices", strings.ToLower(s.value)))
}

// findMAC finds the NIC with a permanent or, failing that, a current MAC
// address. VLANs and bonds borrow the address of the NIC below them, and ipvlans
// its permanent one, so a physical NIC comes first.
func findMAC(ctx context.Context, host *netdev.Namespace, mac string) (netlink.Link, error) {
	want, err := net.ParseMAC(mac)
	if err != nil {
		return nil, err
	}
	links, err := host.Links(ctx)
	if err != nil {
		return nil, err
	}
	return withMAC(links, want)
}

func withMAC(links []netlink.Link, want net.HardwareAddr) (netlink.Link, error) {
	var physical, found []netlink.Link
	for _, link := range links {
		a := link.Attrs()
		switch {
		case slices.Equal(a.PermHWAddr, want) && netdev.IdentityOf(link).Physical():
			physical = append(physical, link)
		case slices.Equal(a.HardwareAddr, want):
			found = append(found, link)
		}
	}
	if len(physical) > 0 {
		found = physical
	}
	return single(found, "have the address "+want.String())
}

// findBelow finds the netdev of a device folder in sysfs: in net/, or, for a
// virtio NIC, in virtioN/net/. An uplink comes before its representors.
func findBelow(host *netdev.Namespace, node rdma.Node, dir string) (netlink.Link, error) {
	var found []netlink.Link
	for _, pattern := range []string{"net/*", "virtio*/net/*"} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			name := filepath.Base(path)
			if port, err := node.Representor(name); err != nil {
				return nil, err
			} else if port != "" {
				continue
			}
			link, err := host.LinkNamed(name)
			if err != nil {
				return nil, err
			}
			if link != nil {
				found = append(found, link)
			}
		}
	}
	return single(found, "are below "+dir)
}

func single(links []netlink.Link, what string) (netlink.Link, error) {
	switch len(links) {
	case 0:
		return nil, nil
	case 1:
		return links[0], nil
	}
	names := make([]string, len(links))
	for i, link := range links {
		names[i] = link.Attrs().Name
	}
	return nil, fmt.Errorf("several netdevs %s: %s", what, strings.Join(names, ", "))
}

// isOf tells whether the selector means a record's NIC: whether it would have
// found it on the host before the attachment.
func (s selector) isOf(r *attachment.Record) bool {
	switch s.key {
	case "device":
		return s.value == r.Host.Name || slices.Contains(r.Host.AltNames, s.value)
	case "hwaddr":
		return sameMAC(s.value, r.NIC.Netdev.PermanentMAC) || sameMAC(s.value, r.Host.MAC)
	case "kernelpath":
		return r.NIC.Address != "" && slices.Contains(strings.Split(s.value, "/"), r.NIC.Address)
	}
	return strings.EqualFold(s.value, r.NIC.Address)
}

// describe reads what the journal must know of a NIC before it moves.
func (o *operation) describe(of target) (attachment.NIC, error) {
	name, c := of.link.Attrs().Name, o.config
	var nic attachment.NIC
	var err error
	if nic.Netdev, err = o.identify(of); err != nil {
		return nic, err
	}
	nic.Bus, nic.Address = o.Node.NetdevAddress(name)
	if why := nic.Netdev.Untold(); why != "" {
		return nic, fail(codeGuard, name, why, nil, "nothing was changed")
	}
	if c.RDMA == rdmaNone {
		nic.Soft = o.softDevice(name)
		return nic, nil
	}
	host, mode, err := o.rdmaMode()
	switch {
	case errors.Is(err, rdma.ErrNoSubsystem) && c.RDMA == rdmaOptional && c.RDMAMode == "":
		return nic, nil
	case errors.Is(err, rdma.ErrNoSubsystem):
		return nic, fail(codeNoRDMA, name, "find its RDMA device", err, `load the NIC's RDMA driver, or set "rdma": "none"`)
	case err != nil:
		return nic, fail(codeRDMAMode, name, "find its RDMA device", err, "see the kernel log")
	case c.RDMAMode != "" && c.RDMAMode != mode:
		return nic, fail(codeRDMAMode, name, fmt.Sprintf("the configuration wants RDMA mode %s, but the node is in %s mode", c.RDMAMode, mode), nil,
			fmt.Sprintf("boot the node with `options ib_core netns_mode=%d`, or leave out \"rdmaMode\"", c.RDMAMode.Parameter()))
	}
	device, err := host.DeviceOf(o.Node, name)
	switch {
	case errors.Is(err, rdma.ErrNoDevice) && c.RDMA == rdmaOptional:
		return nic, nil
	case err != nil:
		return nic, fail(codeNoRDMA, name, "find its RDMA device", err, `is the driver loaded? "rdma": "optional" attaches the NIC without it`)
	}
	nic.RDMA, nic.RDMAMoved = &device, mode == rdma.Exclusive
	if c.RDMADeviceName != "" && !nic.RDMAMoved {
		return nic, fail(codeRDMAMode, name, fmt.Sprintf("rename its RDMA device to %s: the node is in shared RDMA mode, where all pods see the same name", c.RDMADeviceName), nil,
			"leave out \"rdmaDeviceName\", or boot the node with `options ib_core netns_mode=0`; nothing was changed")
	}
	return nic, nil
}

// softDevice is the software RDMA device on a netdev, nil if there is none. The
// move deletes it even if the network wants no RDMA.
func (o *operation) softDevice(name string) *rdma.Device {
	if !o.Node.HasSoftDrivers() {
		return nil
	}
	host, err := o.hostRDMA()
	if err != nil {
		return nil
	}
	device, err := host.DeviceOf(o.Node, name)
	if err != nil || !device.Soft {
		return nil
	}
	return &device
}

// identify reads a NIC's identity, and whether other netdevs are known on its
// function.
func (o *operation) identify(of target) (id netdev.Identity, err error) {
	id = netdev.IdentityOf(of.link)
	id.Alone, err = o.isAlone(of, id)
	return id, err
}

// isAlone tells whether no other netdev is known on a NIC's function: not on the
// host and not in the journal.
func (o *operation) isAlone(of target, id netdev.Identity) (bool, error) {
	if !id.Physical() {
		return false, nil
	}
	if has, err := o.Node.HasSiblings(of.link.Attrs().Name); has || err != nil {
		return false, err
	}
	return o.holderIn(of.records, func(r *attachment.Record) bool {
		return r.NIC.Netdev.Key() == id.Key() && !r.NIC.Netdev.Same(id)
	}) == nil, nil
}

// rdmaMode is the node's RDMA mode, and the host's subsystem.
func (o *operation) rdmaMode() (*rdma.Namespace, rdma.Mode, error) {
	host, err := o.hostRDMA()
	if err != nil {
		return nil, "", err
	}
	mode, err := host.Mode()
	return host, mode, err
}
