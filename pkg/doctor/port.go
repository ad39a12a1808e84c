package doctor

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// isUp tells whether somebody has set a netdev up (IFF_UP).
func (p *patient) isUp(netdev string) bool {
	flags, err := strconv.ParseUint(strings.TrimPrefix(p.sys("class/net", netdev, "flags"), "0x"), 16, 32)
	return err != nil || flags&1 == 1
}

// gone finds rails of which the journal, or the device plugin's own record, still
// knows.
func gone(p *patient) (found []symptom, err error) {
	for _, d := range p.rails {
		if d.Place == inventory.Gone {
			what := "its hardware, or its driver, is gone"
			if d.Holder != nil {
				what += "; it was held by " + d.Holder.Holder()
			}
			found = append(found, symptom{nameOf(d), what, d.Address})
		}
	}
	return found, nil
}

// ports looks at those that the host sees: in exclusive mode not at those of
// NICs in pods. One that is set down has no link for that reason.
func ports(p *patient) (found []symptom, err error) {
	for _, d := range p.rails {
		if !d.Visible || d.Place == inventory.OnHost && len(d.Netdevs) > 0 && !p.isUp(d.Netdevs[0]) {
			continue
		}
		for _, port := range d.Ports {
			if port.State != "ACTIVE" {
				found = append(found, symptom{where: nameOf(d), what: fmt.Sprintf("port %d of %s is %s (%s)", port.Number, d.Name, port.State, port.PhysState)})
			}
		}
	}
	return found, nil
}

func down(p *patient) (found []symptom, err error) {
	for _, d := range p.onHost() {
		if !p.isUp(d.Netdevs[0]) {
			found = append(found, symptom{where: nameOf(d), what: "is set down"})
		}
	}
	return found, nil
}

// gids looks at active ports: the kernel empties the table of others.
func gids(p *patient) (found []symptom, err error) {
	for _, d := range p.onHost() {
		if len(d.Ports) > 0 && d.Ports[0].State == "ACTIVE" && !p.node.HasRoCEv2(d.Device) {
			found = append(found, symptom{nameOf(d), "has no RoCE v2 GID", d.Address})
		}
	}
	return found, nil
}

func mtu(p *patient) (found []symptom, err error) {
	for _, d := range p.onHost() {
		ethernet, ok := p.number("class/net", d.Netdevs[0], "mtu")
		if packet := rdma.ActiveMTU(ethernet); ok && packet < rdma.LargestMTU {
			found = append(found, symptom{where: nameOf(d), what: fmt.Sprintf("MTU %d: RoCE packets of %d bytes, not %d", ethernet, packet, rdma.LargestMTU)})
		}
	}
	return found, nil
}

func firmware(p *patient) (found []symptom, err error) {
	kinds := map[string][]inventory.Device{}
	var order []string
	for _, d := range p.rails {
		if version, board := p.node.Firmware(d.Name); d.Visible && version != "" && !d.Soft {
			kind := board
			if kind == "" {
				kind = d.Vendor + ":" + d.DeviceID
			}
			if kinds[kind] == nil {
				order = append(order, kind)
			}
			kinds[kind] = append(kinds[kind], d)
		}
	}
	for _, kind := range order {
		var versions []string
		for _, d := range kinds[kind] {
			version, _ := p.node.Firmware(d.Name)
			versions = append(versions, version)
		}
		oddOnes(versions, func(i int, usual string) {
			d := kinds[kind][i]
			found = append(found, symptom{nameOf(d), fmt.Sprintf("has firmware %s, the other boards of kind %s have %s", versions[i], kind, usual), d.Address})
		})
	}
	return found, nil
}
