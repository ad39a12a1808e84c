package discovery

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// nodeVersion is that of the JSON of a Node.
const nodeVersion = 1

// A Node is what was found on one.
type Node struct {
	Version  int       `json:"version"`
	Name     string    `json:"node"`
	RDMAMode rdma.Mode `json:"rdmaMode,omitempty"` // "" if it is not known
	// Rails are in the order of their numbers, from 0.
	Rails   []Rail    `json:"rails"`
	GPUs    []GPU     `json:"gpus,omitempty"`
	LeftOut []LeftOut `json:"leftOut,omitempty"`
	// Blind says why the host's links could not be seen: NICs that the host needs
	// are not left out then.
	Blind string `json:"blind,omitempty"`
}

// A Rail is a NIC for pods.
type Rail struct {
	NIC
	AltNames []string `json:"altNames,omitempty"`
	NUMANode int      `json:"numaNode"`
	PCIeRoot string   `json:"pcieRoot,omitempty"`
	// GPUs are the addresses of those below the same PCIe root port.
	GPUs []string `json:"gpus,omitempty"`
	MTU  int      `json:"mtu,omitempty"` // on the host, 0 if it is not known
	// NoLink: neither the netdev nor its bond has a carrier.
	NoLink bool `json:"noLink,omitempty"`
}

// A NIC is named by all that people name one by.
type NIC struct {
	Netdev  string `json:"netdev,omitempty"` // on the host
	RDMA    string `json:"rdmaDevice,omitempty"`
	Address string `json:"address,omitempty"` // on its bus
}

// String is the netdev with the rest in parentheses.
func (n NIC) String() string {
	rest := slices.DeleteFunc([]string{n.RDMA, n.Address}, func(s string) bool { return s == "" })
	switch {
	case n.Netdev == "":
		return strings.Join(rest, ", ")
	case len(rest) == 0:
		return n.Netdev
	}
	return n.Netdev + " (" + strings.Join(rest, ", ") + ")"
}

// names are those that a network can name the NIC by.
func (r Rail) names() []string { return append([]string{r.Netdev}, r.AltNames...) }

// A LeftOut is a NIC that is no rail.
type LeftOut struct {
	NIC
	Why string `json:"why"`
}

// needed says why the host needs a NIC, "" if it does not.
type needed func(netlink.Link, rdma.Device) (string, error)

// describe sorts a node's NICs into rails and others. Without needed the host needs
// none.
func describe(n rdma.Node, seen inventory.Snapshot, needed needed) (rails []Rail, out []LeftOut) {
	links := map[string]netlink.Link{}
	for _, link := range seen.HostLinks {
		links[link.Attrs().Name] = link
	}
	var chosen []inventory.Device
	shown := map[string]bool{}
	for _, d := range seen.Devices {
		for _, name := range d.Netdevs {
			shown[name] = true
		}
		why := unfit(d)
		if why == "" && d.Place == inventory.OnHost && needed != nil {
			why = neededBy(links[d.Netdevs[0]], d, needed)
		}
		if why != "" {
			out = append(out, LeftOut{nicOf(d), why})
			continue
		}
		chosen = append(chosen, d)
	}
	numbers := inventory.Rails(n, chosen)
	slices.SortFunc(chosen, func(a, b inventory.Device) int {
		return cmp.Or(cmp.Compare(numbers[a.Key()], numbers[b.Key()]), strings.Compare(a.Name, b.Name))
	})
	for _, d := range chosen {
		rails = append(rails, railOf(n, d, links))
	}
	for _, name := range n.HardwareNetdevs() {
		if !shown[name] {
			_, address := n.NetdevAddress(name)
			out = append(out, LeftOut{NIC{Netdev: name, Address: address}, "it has no RDMA device"})
		}
	}
	slices.SortStableFunc(out, func(a, b LeftOut) int { return rdma.ComparePCI(a.Address, b.Address) })
	return rails, out
}

// unfit says why a device is no rail, whatever the host does with it.
func unfit(d inventory.Device) string {
	switch {
	case d.Place == inventory.Gone:
		return "its hardware or driver is gone"
	case d.Beside:
		return "it is the management device of another one"
	case d.LinkType != "" && d.LinkType != "ether":
		return "its link is " + d.LinkType + ", not Ethernet"
	case len(d.Netdevs) == 0:
		return "it has no netdev"
	case d.Address == "":
		return "it is on no bus, and so has no place in the order"
	case d.PhysicalFunction != "", d.Bus == rdma.BusAuxiliary:
		return "it is a virtual function: docs/operations.md has how to give those to pods"
	}
	return ""
}

func neededBy(link netlink.Link, d inventory.Device, needed needed) string {
	if link == nil {
		return "its netdev cannot be seen"
	}
	why, err := needed(link, d.Device)
	if err != nil {
		return fmt.Sprintf("whether the host needs it cannot be told: %v", err)
	}
	return why
}

func nicOf(d inventory.Device) NIC {
	nic := NIC{RDMA: d.Name, Address: d.Address}
	switch {
	case d.Holder != nil:
		nic.Netdev = d.Holder.Host.Name
	case len(d.Netdevs) > 0:
		nic.Netdev = d.Netdevs[0]
	}
	return nic
}

func railOf(n rdma.Node, d inventory.Device, links map[string]netlink.Link) Rail {
	r := Rail{NIC: nicOf(d), AltNames: d.AltNames, NUMANode: d.NUMANode, PCIeRoot: n.PCIeRoot(d.Device)}
	if link := links[r.Netdev]; link != nil && d.Place == inventory.OnHost {
		r.MTU, r.NoLink = link.Attrs().MTU, d.NoCarrier
	} else if d.Holder != nil {
		r.MTU = d.Holder.Host.MTU
	}
	return r
}
