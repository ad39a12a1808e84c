package deviceplugin

import (
	"fmt"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// kinds are those of a fleet's devices, by the resource that offers them.
var kinds = []string{"pf", "vf", "sf", "bnxt", "intel", "soft", "ib", "bond"}

const fleetConfig = `{"periodicUpdateInterval": 0, "configList": [
{"resourceName": "pf", "mode": "perDevice", "selectors": {"vendors": ["15b3"], "deviceIDs": ["1021"], "drivers": ["mlx5_core"], "isRoCE": true, "exclude": {"ifNames": ["bond0"]}}},
{"resourceName": "vf", "mode": "perDevice", "selectors": {"deviceIDs": ["101e"]}},
{"resourceName": "sf", "mode": "perDevice", "selectors": {"pciAddresses": ["mlx5_core.sf.*"]}},
{"resourceName": "bnxt", "mode": "perDevice", "selectors": {"drivers": ["bnxt_en"]}},
{"resourceName": "intel", "mode": "perDevice", "selectors": {"vendors": ["8086"]}},
{"resourceName": "soft", "mode": "perDevice", "selectors": {"rdmaDevices": ["rxe*"]}},
{"resourceName": "ib", "mode": "perDevice", "selectors": {"linkTypes": ["infiniband"]}},
{"resourceName": "bond", "mode": "perDevice", "selectors": {"ifNames": ["bond0"]}}]}`

// A fleet is a node with as many devices of each kind, by kind.
type fleet struct {
	*testNode
	of    map[string][]sysfs.HCA
	links []netlink.LinkAttrs
}

func newFleet(t *testing.T, devices int) *fleet {
	f := &fleet{testNode: newTestNode(t), of: map[string][]sysfs.HCA{}}
	f.Ctx = t.Context() // hundreds of devices take their time
	f.Write("config.json", fleetConfig)
	f.links = []netlink.LinkAttrs{{Index: 1000, Name: "bond0"}}
	for i := range devices {
		kind := kinds[i%len(kinds)]
		h := sysfs.MLX5(i)
		switch kind {
		case "vf":
			h = sysfs.VF(sysfs.MLX5(i-1), 1, i)
		case "sf":
			h = sysfs.SF(sysfs.MLX5(i-2), i, i)
		case "bnxt":
			h = sysfs.BNXT(i)
		case "intel":
			h = sysfs.IRDMA(i)
		case "soft":
			nic := sysfs.NIC(i)
			f.Must(f.Add(nic))
			h = sysfs.RXE(i, nic)
		case "ib":
			h.LinkLayer, h.Netdev = "InfiniBand", fmt.Sprintf("ib%d", i)
		case "bond":
			f.links = append(f.links, netlink.LinkAttrs{Index: i + 1, Name: h.Netdev, MasterIndex: 1000})
		}
		f.Must(f.Add(h))
		f.of[kind] = append(f.of[kind], h)
	}
	return f
}

// plugin is the program without a kubelet, which looks when it is told to.
func (f *fleet) plugin() *manager {
	f.Helper()
	m := newManager(f.options(), f.inventory(node.Links(f.links...)))
	m.health = offer.NewHealth(0)
	file, err := readConfigFile(f.options().ConfigFile)
	f.Must(err)
	m.apply(f.Ctx, file)
	return m
}

// healthy looks at the node and says how many units of a kind are healthy, and
// how many there are.
func (f *fleet) healthy(m *manager) map[string][2]int {
	f.Helper()
	for range 2 { // the second look believes what the first one saw
		if m.rescan(f.Ctx); m.failing.err != nil {
			f.Fatal(m.failing.err)
		}
	}
	counts := map[string][2]int{}
	for _, kind := range kinds {
		list, _ := m.entries["rdma/"+kind].resource.Devices()
		c := [2]int{0, len(list)}
		for _, d := range list {
			if d.Health == pluginapi.Healthy {
				c[0]++
			}
		}
		counts[kind] = c
	}
	return counts
}

func TestEveryKindOfDeviceIsOfferedOnceWhereverItGoes(t *testing.T) {
	for devices, modes := range map[int][]rdma.Mode{8: {rdma.Shared, rdma.Exclusive}, 64: {rdma.Shared, rdma.Exclusive}, 512: {rdma.Exclusive}} {
		for _, mode := range modes {
			t.Run(fmt.Sprintf("%d devices, %s mode", devices, mode), func(t *testing.T) {
				f := newFleet(t, devices)
				m := f.plugin()
				each := devices / len(kinds)
				check := func(when string, ill ...string) {
					t.Helper()
					for kind, got := range f.healthy(m) {
						want := [2]int{each, each}
						if slices.Contains(ill, kind) {
							want[0] = 0
						}
						if slices.Contains(ill, "no "+kind) {
							want = [2]int{}
						}
						if got != want {
							t.Errorf("%s: %s has %d healthy of %d, want %v", when, kind, got[0], got[1], want)
						}
					}
				}
				check("at the start")
				f.unitsGiveTheirDevice(m)

				var moved []sysfs.HCA // a Soft-RoCE device moves with a NIC that is not its own
				for _, kind := range []string{"pf", "vf", "sf", "bnxt", "intel", "ib", "bond"} {
					moved = append(moved, f.of[kind]...)
				}
				f.Attach(mode, moved...)
				check("all in pods")
				f.unitsGiveTheirDevice(m)
				m = f.plugin()
				check("all in pods, another plugin")

				for i, h := range moved {
					f.Must(f.ReturnNetdev(h))
					if mode == rdma.Exclusive {
						f.Must(f.ReturnRDMA(h))
					}
					f.Must(f.Journal.Remove(attachment.ID{ContainerID: "pod1", IfName: fmt.Sprintf("net%d", i+1)}))
				}
				check("all back")

				for _, kind := range []string{"vf", "intel"} {
					for _, h := range f.of[kind] {
						f.Must(f.Unplug(h))
					}
				}
				check("some pulled, and no virtual functions", "no vf", "intel")
				for _, kind := range []string{"vf", "intel"} {
					f.Must(f.Add(f.of[kind]...))
				}
				check("all plugged in again")
				f.unitsGiveTheirDevice(m)
			})
		}
	}
}

// unitsGiveTheirDevice checks that each unit has the ID, the NUMA node and the
// uverbs of its device.
func (f *fleet) unitsGiveTheirDevice(m *manager) {
	f.Helper()
	for _, kind := range kinds {
		r := m.entries["rdma/"+kind].resource
		list, _ := r.Devices()
		topology := map[string]*pluginapi.TopologyInfo{}
		for _, d := range list {
			topology[d.ID] = d.Topology
		}
		for _, h := range f.of[kind] {
			id, numa := h.PCI, h.NUMA
			switch kind {
			case "sf":
				id = h.Auxiliary
			case "soft": // those of the NIC below it
				id, numa = sysfs.NIC(h.Number).PCI, sysfs.NIC(h.Number).NUMA
			}
			response, err := r.Allocate([]string{id})
			f.Must(err)
			node.CheckDevices(f.T, response, []string{"/dev/infiniband/rdma_cm", fmt.Sprintf("/dev/infiniband/uverbs%d", h.Number)})
			if nodes := topology[id].GetNodes(); len(nodes) != 1 || nodes[0].ID != int64(numa) {
				f.Errorf("%s: NUMA nodes %v, want %d", id, nodes, numa)
			}
		}
	}
}
