package discovery

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/kernelfile"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// A GPU is an accelerator that a device plugin offers as a resource.
type GPU struct {
	Address  string `json:"address"`
	Resource string `json:"resource"`
	root     string
}

// gpuResource is the resource of a vendor's GPUs. A server's own display adapter
// is another vendor's.
func gpuResource(vendor string) string {
	switch vendor {
	case "0x10de":
		return "nvidia.com/gpu"
	case "0x1002":
		return "amd.com/gpu"
	}
	return ""
}

// isGPUClass tells whether a PCI class is a display controller's (VGA, 3D, other)
// or a processing accelerator's.
func isGPUClass(class string) bool {
	return strings.HasPrefix(class, "0x03") || strings.HasPrefix(class, "0x1200")
}

// gpus lists those of a node in the order of their addresses.
func gpus(n rdma.Node) (found []GPU, err error) {
	devices := filepath.Join(n.Sys, "bus/pci/devices")
	entries, err := os.ReadDir(devices)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		class, _ := kernelfile.Read(filepath.Join(devices, e.Name(), "class"))
		vendor, _ := kernelfile.Read(filepath.Join(devices, e.Name(), "vendor"))
		if resource := gpuResource(vendor); resource != "" && isGPUClass(class) {
			on := rdma.Device{Bus: rdma.BusPCI, Address: e.Name()}
			found = append(found, GPU{Address: e.Name(), Resource: resource, root: n.PCIeRoot(on)})
		}
	}
	slices.SortFunc(found, func(a, b GPU) int { return rdma.ComparePCI(a.Address, b.Address) })
	return found, nil
}

// pair gives each rail the GPUs below its root port.
func pair(rails []Rail, gpus []GPU) {
	for i := range rails {
		for _, g := range gpus {
			if g.root != "" && g.root == rails[i].PCIeRoot {
				rails[i].GPUs = append(rails[i].GPUs, g.Address)
			}
		}
	}
}
