package doctor

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// A fakeNode is a GPU node that nothing is wrong with: eight rails on two NUMA
// nodes, with a switch and a GPU for each four.
type fakeNode struct {
	*node.Node
	options Options
	dcb     map[string]*netdev.DCB
}

const fakeVersion = "v-fake"

func newFakeNode(t *testing.T) *fakeNode {
	t.Helper()
	n := &fakeNode{Node: node.New(t, node.Eight()...), dcb: map[string]*netdev.DCB{}}
	host := func(path string) string { return filepath.Join(n.Dir, path) }
	n.options = Options{
		Roots:    Roots{Sys: n.Sys(), Dev: n.Dev(), Proc: host("proc"), Etc: host("etc"), Run: host("run"), Lib: host("usr/lib")},
		StateDir: n.State(), PluginDir: host("opt/cni/bin"), KubeletConfig: host("kubelet.yaml"), Version: fakeVersion,
		DCB:           func(nic string) (*netdev.DCB, error) { return n.dcb[nic], nil },
		PluginVersion: func(context.Context, string) (string, error) { return fakeVersion, nil },
	}
	n.files(map[string]string{
		"sys/module/ib_core/parameters/netns_mode": "N",
		"sys/module/ib_uverbs/refcnt":              "8",
		"sys/module/rdma_ucm/refcnt":               "1",
		"sys/module/nvidia_peermem/refcnt":         "1",
		"sys/devices/system/node/node0/cpulist":    "0-63",
		"sys/devices/system/node/node1/cpulist":    "64-127",
		"etc/modprobe.d/fake.conf":                 "# a fake node's\noptions ib_core netns_mode=0",
		"etc/NetworkManager/conf.d/rails.conf":     "[main]\nno-auto-default=*",
		"etc/cni/roce-host-device.json":            "{}",
		"proc/cmdline":                             "root=/dev/fake iommu=pt",
		"proc/4242/comm":                           "containerd",
		"proc/4242/limits":                         limits("unlimited"),
		"proc/driver/nvidia/version":               "NVRM version: NVIDIA UNIX x86_64 Kernel Module  fake",
		"opt/cni/bin/roce-host-device":             "fake",
		"opt/cni/bin/fake-ipam":                    "fake",
		"kubelet.yaml":                             "topologyManagerPolicy: restricted",
	})
	for _, plugin := range []string{"roce-host-device", "fake-ipam"} {
		n.Must(os.Chmod(host("opt/cni/bin/"+plugin), 0o755))
	}
	for i, h := range node.Eight() {
		n.rail(i, h)
	}
	for numa, root := range []string{"pci0000:00/0000:00:01.0", "pci0000:00/0000:00:02.0"} {
		gpu := sysfs.HCA{Root: root, PCI: fmt.Sprintf("0000:f%d:00.0", numa), Vendor: "0x10de", Device: "0xfake", Driver: "nvidia", NUMA: numa}
		n.Must(n.Add(gpu))
		n.files(map[string]string{"sys/bus/pci/devices/" + gpu.PCI + "/iommu_group/type": "identity"})
		bridge := filepath.Base(root)
		n.Must(os.Symlink("../../../devices/"+root, filepath.Join(n.Sys(), "bus/pci/devices", bridge)))
		n.Write("sys/bus/pci/devices/"+bridge+"/config", configSpace(1)) // source validation alone
	}
	n.options.Counters = host("counters.json")
	n.Must(n.examine().WriteCounters(n.options.Counters))
	n.networks(`{"type": "roce-host-device", "device": "ens11np0", "rdmaMode": "exclusive", "ipam": {"type": "fake-ipam"}}`)
	return n
}

// rail makes what the simulated tree lacks of a rail.
func (n *fakeNode) rail(i int, h sysfs.HCA) {
	n.Helper()
	n.Must(n.AddCounters(100, h))
	// On both NUMA nodes, as the simulated tree has it with sixteen only.
	pci, net := "sys/bus/pci/devices/"+h.PCI+"/", "sys/class/net/"+h.Netdev+"/"
	n.files(map[string]string{
		pci + "numa_node": fmt.Sprint(i / 4), pci + "iommu_group/type": "identity",
		pci + "current_link_width": "16", pci + "current_link_speed": "32.0 GT/s PCIe",
		net + "ifindex":                                    fmt.Sprint(10 + i),
		net + "ecn/roce_np/enable/3":                       "1",
		net + "ecn/roce_rp/enable/3":                       "1",
		fmt.Sprintf("run/NetworkManager/devices/%d", 10+i): "[device]\nconnection-uuid=fake-1",
		"sys/class/infiniband/" + h.RDMA + "/board_id":     "MT_0000000838",
	})
	n.dcb[h.Netdev] = &netdev.DCB{
		PFC:  &[8]bool{3: true},
		ETS:  &netdev.ETS{Class: [8]uint8{0, 1, 2, 3, 4, 5, 6, 7}, Bandwidth: [8]uint8{3: 50}, Shares: [8]bool{3: true}},
		DSCP: map[uint16]uint8{26: 3},
	}
}

func (n *fakeNode) files(files map[string]string) {
	n.Helper()
	for path, content := range files {
		n.Write(path, content+"\n")
	}
}

// networks gives the node networks of these configurations, fake-1 and so on.
func (n *fakeNode) networks(configs ...string) {
	var items []string
	for i, c := range configs {
		items = append(items, fmt.Sprintf(`{"kind": "NetworkAttachmentDefinition", "metadata": {"namespace": "default", "name": "fake-%d"}, "spec": {"config": %q}}`, i+1, c))
	}
	n.options.Networks = strings.NewReader(`{"kind": "List", "items": [` + strings.Join(items, ", ") + `]}`)
}

// limits is /proc/PID/limits.
func limits(memlock string) string {
	return "Limit                     Soft Limit           Hard Limit           Units     \n" +
		"Max core file size        unlimited            unlimited            bytes     \n" +
		fmt.Sprintf("Max locked memory         %-20s %-20s bytes     ", memlock, memlock)
}

// configSpace is that of a bridge whose second extended capability is ACS, with a
// control register.
func configSpace(control uint16) string {
	b := make([]byte, 4096)
	binary.LittleEndian.PutUint32(b[0x100:], 0x0001|2<<16|0x148<<20) // AER
	binary.LittleEndian.PutUint32(b[0x148:], 0x000d|1<<16)
	binary.LittleEndian.PutUint16(b[0x148+6:], control)
	return string(b)
}

func (n *fakeNode) examine() *Report {
	n.Helper()
	r, err := Examine(n.Ctx, n.options)
	n.Must(err)
	return r
}
