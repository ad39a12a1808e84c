package doctor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

func pcie(p *patient) (found []symptom, err error) {
	addresses, names := p.functions()
	for i, address := range addresses {
		link := p.node.PCIeLink(address)
		if link.Width == 0 || link.Speed == 0 {
			continue // the kernel does not say: a virtual machine's
		}
		if link.Width < link.MaxWidth || link.Speed < link.MaxSpeed {
			found = append(found, symptom{names[i], fmt.Sprintf("x%d at %.3g GT/s, and could do x%d at %.3g GT/s",
				link.Width, link.Speed/1e9, link.MaxWidth, link.MaxSpeed/1e9), address})
		}
	}
	return found, nil
}

func numa(p *patient) (found []symptom, err error) {
	if p.numaNodes() < 2 {
		return nil, nil
	}
	addresses, names := p.functions()
	for i, address := range addresses {
		if node, ok := p.number("bus/pci/devices", address, "numa_node"); ok && node < 0 {
			found = append(found, symptom{names[i], "the firmware does not say on which NUMA node it is", address})
		}
	}
	return found, nil
}

// findGPUs are the PCI functions with a GPU's driver.
func (p *patient) findGPUs() (addresses []string) {
	entries, _ := os.ReadDir(filepath.Join(p.Roots.Sys, "bus/pci/devices"))
	for _, e := range entries {
		if driver := p.node.DriverOf(rdma.BusPCI, e.Name()); driver == "nvidia" || driver == "amdgpu" {
			addresses = append(addresses, e.Name())
		}
	}
	return addresses
}

// bridgesAbove are the PCI bridges on the way from a function to the root.
func (p *patient) bridgesAbove(address string) (bridges []string) {
	path, err := filepath.EvalSymlinks(filepath.Join(p.Roots.Sys, "bus/pci/devices", address))
	if err != nil {
		return nil
	}
	for path = filepath.Dir(path); rdma.IsPCIAddress(filepath.Base(path)); path = filepath.Dir(path) {
		bridges = append(bridges, filepath.Base(path))
	}
	return bridges
}

// What of ACS sends a packet from one device to another up to the root complex:
// request redirect and completion redirect (PCI_ACS_RR and PCI_ACS_CR in
// <linux/pci_regs.h>).
const redirects = 1<<2 | 1<<3

func acs(p *patient) (found []symptom, err error) {
	if len(p.gpus) == 0 {
		return nil, nil
	}
	var seen []string
	addresses, _ := p.functions()
	for _, address := range addresses {
		for _, bridge := range p.bridgesAbove(address) {
			if slices.Contains(seen, bridge) {
				continue
			}
			seen = append(seen, bridge)
			control, has, err := p.acsControl(bridge)
			if err != nil {
				return nil, err
			}
			if has && control&redirects != 0 {
				found = append(found, symptom{where: bridge, what: fmt.Sprintf("redirects peer-to-peer traffic (ACSCtl %#04x)", control)})
			}
		}
	}
	return found, nil
}

// acsControl reads the ACS control register of a bridge. The kernel shows the
// extended configuration space, from 256 on, only to those with SYS_ADMIN
// (pci_read_config in drivers/pci/pci-sysfs.c).
func (p *patient) acsControl(bridge string) (control uint16, has bool, err error) {
	const begin, idACS = 0x100, 0x0d
	b, err := os.ReadFile(filepath.Join(p.Roots.Sys, "bus/pci/devices", bridge, "config"))
	if err != nil {
		return 0, false, fmt.Errorf("read the configuration space of %s: %w", bridge, err)
	}
	if len(b) <= 64 {
		return 0, false, errors.New("the PCI configuration space takes root with SYS_ADMIN")
	}
	// Each capability: ID in 16 bits, version in 4, the next one's place in 12.
	for at, tries := begin, 0; at >= begin && at+8 <= len(b) && tries < 64; tries++ {
		header := binary.LittleEndian.Uint32(b[at:])
		if header&0xffff == idACS {
			return binary.LittleEndian.Uint16(b[at+6:]), true, nil
		}
		at = int(header >> 20)
	}
	return 0, false, nil
}

func iommu(p *patient) (found []symptom, err error) {
	if len(p.gpus) == 0 {
		return nil, nil
	}
	addresses, names := p.functions()
	for i, address := range slices.Concat(addresses, p.gpus) {
		name := "GPU " + address
		if i < len(names) {
			name = names[i]
		}
		if kind := p.sys("bus/pci/devices", address, "iommu_group/type"); strings.HasPrefix(kind, "DMA") {
			found = append(found, symptom{where: name, what: "the IOMMU translates its addresses (" + kind + ")"})
		}
	}
	return found, nil
}

// gpuDirect knows two ways for a NIC to reach a GPU's memory: the module
// nvidia_peermem, and dma-buf, which of NVIDIA's drivers the open ones export.
func gpuDirect(p *patient) ([]symptom, error) {
	if !slices.ContainsFunc(p.gpus, func(gpu string) bool { return p.node.DriverOf(rdma.BusPCI, gpu) == "nvidia" }) || p.hasModule("nvidia_peermem") {
		return nil, nil
	}
	version, err := os.ReadFile(filepath.Join(p.Roots.Proc, "driver/nvidia/version"))
	if err != nil {
		return nil, fmt.Errorf("read which driver the GPUs have: %w", err)
	}
	if strings.Contains(string(version), "Open Kernel Module") {
		return nil, nil
	}
	return []symptom{{where: "the node", what: "has NVIDIA's closed driver and not nvidia_peermem: no NIC reaches a GPU's memory"}}, nil
}
