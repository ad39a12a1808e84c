package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A nic is all that the host knows about a NIC and its RDMA device.
type nic struct {
	name, pci, mac, rdma string
	fields               []field
}

// A field is one thing that must be after the story as it was before.
type field struct{ name, value string }

func (n nic) field(name string) string {
	for _, f := range n.fields {
		if f.name == name {
			return f.value
		}
	}
	return ""
}

// hostNICs lists the NICs that are on the host, in the order of their PCI
// addresses; links is the output of `rdma link` there.
func hostNICs(links []rdmaLink) ([]nic, error) {
	all, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list the host's NICs: %w", err)
	}
	var nics []nic
	for _, link := range all {
		if link.Attrs().Flags&net.FlagLoopback != 0 {
			continue
		}
		n, err := describe(link, links)
		if err != nil {
			return nil, err
		}
		nics = append(nics, n)
	}
	slices.SortFunc(nics, func(a, b nic) int { return strings.Compare(a.pci, b.pci) })
	return nics, nil
}

func describe(link netlink.Link, links []rdmaLink) (nic, error) {
	a := link.Attrs()
	addresses, err := netlink.AddrList(link, unix.AF_UNSPEC)
	if err != nil {
		return nic{}, fmt.Errorf("list the addresses of %s: %w", a.Name, err)
	}
	var listed []string
	for _, address := range addresses {
		// The kernel makes link-local addresses by itself, when it likes.
		if !address.IP.IsLinkLocalUnicast() {
			listed = append(listed, address.IPNet.String())
		}
	}
	slices.Sort(listed)
	slices.Sort(a.AltNames)
	n := nic{name: a.Name, pci: pciAddress(a.Name), mac: a.HardwareAddr.String()}
	state := "down"
	if a.Flags&net.FlagUp != 0 {
		state = "up"
	}
	n.fields = []field{
		{"name", a.Name}, {"ifindex", strconv.Itoa(a.Index)}, {"PCI address", n.pci}, {"MAC address", n.mac},
		{"MTU", strconv.Itoa(a.MTU)}, {"state", state}, {"promiscuity", strconv.Itoa(a.Promisc)}, {"queue", strconv.Itoa(a.TxQLen)},
		{"alias", a.Alias}, {"alternative names", strings.Join(a.AltNames, " ")}, {"addresses", strings.Join(listed, " ")},
	}
	for _, l := range links {
		if l.netdev == a.Name {
			n.rdma = l.device
			n.fields = append(n.fields, field{"RDMA device", l.device}, field{"port", l.state},
				field{"node GUID", readLine("/sys/class/infiniband", l.device, "node_guid")}, field{"uverbs", uverbsOf(l.device)})
		}
	}
	return n, nil
}

// pciAddress is that of the function below a NIC: with virtio there is one
// more device between them.
func pciAddress(name string) string {
	path, err := filepath.EvalSymlinks(filepath.Join("/sys/class/net", name, "device"))
	if err != nil {
		return ""
	}
	return filepath.Base(filepath.Dir(path))
}

// uverbsOf is the name of an RDMA device's character device.
func uverbsOf(device string) string {
	folders, _ := filepath.Glob("/sys/class/infiniband_verbs/uverbs*")
	for _, folder := range folders {
		if readLine(folder, "ibdev") == device {
			return filepath.Base(folder)
		}
	}
	return ""
}

// readLine is a file of one line, empty if it cannot be read.
func readLine(path ...string) string {
	b, _ := os.ReadFile(filepath.Join(path...))
	return strings.TrimSpace(string(b))
}

// An rdmaLink is a line of `rdma link`.
type rdmaLink struct {
	device, port, state string
	netdev              string // empty if it is in another namespace
}

func parseRDMALinks(out string) []rdmaLink {
	var links []rdmaLink
	for _, m := range regexp.MustCompile(`(?m)^link (\S+)/(\d+) state (\S+) physical_state \S+(?: netdev (\S+))?`).FindAllStringSubmatch(out, -1) {
		links = append(links, rdmaLink{device: m[1], port: m[2], state: m[3], netdev: m[4]})
	}
	return links
}

// ibdev2netdev says the same in the format of the tool that the guide uses.
func ibdev2netdev(links []rdmaLink) string {
	var lines []string
	for _, l := range links {
		if l.netdev == "" {
			continue
		}
		state := "Down"
		if l.state == "ACTIVE" {
			state = "Up"
		}
		lines = append(lines, fmt.Sprintf("%s port %s ==> %s (%s)", l.device, l.port, l.netdev, state))
	}
	return strings.Join(lines, "\n")
}
