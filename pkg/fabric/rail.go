package fabric

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// A Rail is one NIC of a node, and what a test over it needs to know.
type Rail struct {
	Netdev   string     `json:"netdev"`
	Device   string     `json:"device,omitempty"` // RDMA
	PCI      string     `json:"address,omitempty"`
	Port     int        `json:"port,omitempty"`
	State    string     `json:"state,omitempty"` // of the port: ACTIVE
	IP       netip.Addr `json:"ip,omitzero"`
	GIDIndex int        `json:"gidIndex"`
	MTU      int        `json:"mtu,omitempty"` // of the netdev
	// ActiveMTU is the RoCE packet that fits it.
	ActiveMTU int `json:"activeMTU,omitempty"`
	// Rate is what the port carries, in Gbit/s.
	Rate float64 `json:"rate,omitempty"`
	// Problem is why nothing can be tested over it, "" if it can.
	Problem string `json:"problem,omitempty"`
}

// A Place is where a node's NICs are seen.
type Place struct {
	RDMA rdma.Node
	// Netdev is what the network namespace has by that name.
	Netdev func(name string) (Netdev, error)
}

// A Netdev is what a test needs to know of one.
type Netdev struct {
	MTU       int
	Addresses []netip.Addr
}

// Here is this process's own place.
func Here() Place { return Place{rdma.Host(), netdevHere} }

func netdevHere(name string) (n Netdev, err error) {
	found, err := net.InterfaceByName(name)
	if err != nil {
		return n, err
	}
	addresses, err := found.Addrs()
	if err != nil {
		return n, err
	}
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			n.Addresses = append(n.Addresses, prefix.Addr())
		}
	}
	n.MTU = found.MTU
	return n, nil
}

// Rails are the NICs that are named, in that order; without names, all that have
// an RDMA device and an address, in the order of their names, where net10 comes
// after net9. One that is named and cannot be used says why.
func (p Place) Rails(names []string) ([]Rail, error) {
	devices, err := p.RDMA.Devices()
	if err != nil {
		return nil, err
	}
	on := map[string]rdma.Device{}
	var all []string
	for _, d := range devices {
		// Nothing is written over the management device of an HCA.
		if !d.IsRoCE() || d.Beside {
			continue
		}
		for _, name := range d.Netdevs {
			on[name] = d
			all = append(all, name)
		}
	}
	chosen := names
	if len(chosen) == 0 {
		slices.SortFunc(all, byNumber)
		chosen = all
	}
	rails := make([]Rail, 0, len(chosen))
	for _, name := range chosen {
		r := p.rail(name, on)
		if len(names) > 0 || r.IP.IsValid() {
			rails = append(rails, r)
		}
	}
	return rails, nil
}

func (p Place) rail(name string, on map[string]rdma.Device) Rail {
	r := Rail{Netdev: name, GIDIndex: -1}
	link, err := p.Netdev(name)
	if err != nil {
		r.Problem = err.Error()
		return r
	}
	r.MTU, r.ActiveMTU = link.MTU, rdma.ActiveMTU(link.MTU)
	d, ok := on[name]
	if !ok || len(d.Ports) == 0 {
		r.Problem = "it has no RDMA device"
		return r
	}
	r.Device, r.PCI = d.Name, d.Address
	addresses := slices.DeleteFunc(slices.Clone(link.Addresses), func(a netip.Addr) bool { return a.IsLinkLocalUnicast() })
	slices.SortStableFunc(addresses, func(a, b netip.Addr) int { return cmp.Compare(a.BitLen(), b.BitLen()) })
	if len(addresses) == 0 {
		r.Problem = "it has no address"
		return r
	}
	r.IP = addresses[0]
	r.Port, r.GIDIndex, ok = p.RDMA.GIDIndex(d.Name, r.IP)
	if !ok {
		r.Port, r.GIDIndex = d.Ports[0].Number, -1
	}
	for _, port := range d.Ports {
		if port.Number == r.Port {
			r.State = port.State
		}
	}
	r.Rate = p.RDMA.PortRate(d.Name, r.Port) / 1e9
	switch {
	case r.State != "ACTIVE":
		r.Problem = fmt.Sprintf("the port of %s is %s: look at cable, transceiver and switch port", d.Name, r.State)
	case !ok:
		r.Problem = fmt.Sprintf("%s has no RoCE v2 GID for %s", d.Name, r.IP)
	case r.ActiveMTU == 0:
		r.Problem = fmt.Sprintf("no RoCE packet fits its MTU of %d", r.MTU)
	}
	return r
}

// byNumber compares names as people count: net10 comes after net9.
func byNumber(a, b string) int { return strings.Compare(padded(a), padded(b)) }

// padded has each number of a name in as many digits as the longest can have.
func padded(name string) (wide string) {
	const digits = "0123456789"
	for name != "" {
		rest := strings.TrimLeft(name, digits)
		if number := name[:len(name)-len(rest)]; number != "" {
			wide += strings.Repeat("0", 15-min(15, len(number))) + number
		}
		next := strings.IndexAny(rest, digits)
		if next < 0 {
			next = len(rest)
		}
		wide += rest[:next]
		name = rest[next:]
	}
	return wide
}
