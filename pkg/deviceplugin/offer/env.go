package offer

import (
	"encoding/json"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// A describedDevice is a device in the variable RDMA_DEVICES. Names and index
// are the host's at the time of the allocation, before a CNI plugin moves the
// NIC: the netdev gets another name in the pod, and the GID index is a hint.
type describedDevice struct {
	RDMA   string `json:"rdma"`
	Netdev string `json:"netdev,omitempty"`
	PCI    string `json:"pci,omitempty"`
	NUMA   *int   `json:"numa,omitempty"`
	// GIDIndex is that of the first RoCE v2 GID of an IPv4 address.
	GIDIndex *int `json:"gidIndex,omitempty"`
}

// environment describes devices to a container: as JSON, and to NCCL.
func environment(devices []Candidate) map[string]string {
	described := make([]describedDevice, len(devices))
	names := make([]string, len(devices))
	for n, c := range devices {
		names[n] = strings.ToValidUTF8(c.Name, "?") // the kernel takes any bytes, the kubelet does not
		described[n] = describedDevice{RDMA: c.Name, PCI: c.Address}
		if c.Bus != rdma.BusPCI {
			described[n].PCI = ""
		}
		if len(c.Netdevs) > 0 {
			described[n].Netdev = c.Netdevs[0]
		}
		if c.NUMANode >= 0 {
			described[n].NUMA = &devices[n].NUMANode
		}
		if c.GIDIndex >= 0 {
			described[n].GIDIndex = &devices[n].GIDIndex
		}
	}
	b, err := json.Marshal(described)
	if err != nil {
		return nil // strings and numbers: it cannot fail
	}
	// "=" asks for exactly these names; without it mlx5_1 would mean mlx5_10 as
	// well.
	return map[string]string{"RDMA_DEVICES": string(b), "NCCL_IB_HCA": "=" + strings.Join(names, ",")}
}
