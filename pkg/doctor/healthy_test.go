package doctor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/netmanager"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestWhatIsAsItShouldBeInAnotherWayIsNoAilment(t *testing.T) {
	withoutPeermem := func(n *fakeNode) {
		n.Helper()
		n.Must(os.RemoveAll(filepath.Join(n.Dir, "sys/module/nvidia_peermem")))
	}
	write := func(path, content string) func(*fakeNode) {
		return func(n *fakeNode) { n.Helper(); n.Write(path, content+"\n") }
	}
	for name, change := range map[string]func(*fakeNode){
		"another vendor's GPUs": func(n *fakeNode) {
			withoutPeermem(n)
			for _, gpu := range []string{"0000:f0:00.0", "0000:f1:00.0"} {
				n.Must(os.Remove(filepath.Join(n.Sys(), "bus/pci/devices", gpu, "driver")))
			}
		},
		"NVIDIA's open driver": func(n *fakeNode) {
			withoutPeermem(n)
			n.Write("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  fake\n")
		},
		"two lossless priorities in a traffic class of their own": func(n *fakeNode) {
			for _, d := range n.dcb {
				d.PFC[4], d.ETS.Class[4] = true, 3
			}
		},
		"DSCPs of other traffic on one rail":   func(n *fakeNode) { n.dcb[nic].DSCP[8] = 1 },
		"a plugin of somebody else's network":  func(n *fakeNode) { n.networks(`{"type": "bridge", "ipam": {"type": "none-such"}}`) },
		"a network without an IPAM plugin":     func(n *fakeNode) { n.networks(`{"type": "roce-host-device", "device": "ens11np0"}`) },
		"a network that lets the node choose":  func(n *fakeNode) { n.networks(`{"type": "roce-host-device", "capabilities": {"deviceID": true}}`) },
		"the PCI address in place of the name": func(n *fakeNode) { n.networks(`{"type": "roce-host-device", "pciBusID": "0000:08:00.0"}`) },
		"the address in place of the name": func(n *fakeNode) {
			n.networks(`{"type": "roce-host-device", "device": "ens11np0", "hwaddr": "02:00:00:00:00:99"}`)
		},
		"no GPUs and an IOMMU": func(n *fakeNode) {
			for _, gpu := range []string{"0000:f0:00.0", "0000:f1:00.0"} {
				n.Must(os.RemoveAll(filepath.Join(n.Sys(), "bus/pci/devices", gpu)))
			}
			n.Write("sys/bus/pci/devices/"+function+"/iommu_group/type", "DMA\n")
			n.Write("sys/bus/pci/devices/0000:00:01.0/config", configSpace(0x1d))
			withoutPeermem(n)
		},
		"a lossless traffic class of strict priority": everywhere(func(d *netdev.DCB) { d.ETS.Shares[3], d.ETS.Bandwidth[3] = false, 0 }),
		"a traffic class that is none":                everywhere(func(d *netdev.DCB) { d.ETS.Class[3] = netdev.Priorities }),
		"several DSCPs of the lossless priority, and one of none": everywhere(func(d *netdev.DCB) {
			d.DSCP = map[uint16]uint8{9: 200, 24: 3, 25: 3, 26: 3, 27: 3, 28: 3, 29: 3, 30: 3, 31: 3}
		}),
		"a driver that says nothing of PFC":  func(n *fakeNode) { n.dcb[nic].PFC = nil },
		"a driver that says nothing of ETS":  func(n *fakeNode) { n.dcb[nic].ETS = nil },
		"a kubelet that answers its configz": write("kubelet.yaml", `{"kubeletconfig": {"topologyManagerPolicy": "restricted"}}`),
		"rails on one NUMA node": func(n *fakeNode) {
			n.options.NICs = []string{"ens11np0", "ens12np0"}
			n.Write("kubelet.yaml", "topologyManagerPolicy: none\n")
		},
		"rails on one NUMA node, and one on none": func(n *fakeNode) {
			n.options.NICs, n.options.Ignore = []string{"ens11np0", "ens12np0"}, []string{"numa"}
			n.Write("sys/bus/pci/devices/"+function+"/numa_node", "-1\n")
			n.Write("kubelet.yaml", "topologyManagerPolicy: none\n")
		},
		"a netdev whose flags cannot be read":     func(n *fakeNode) { n.Must(os.RemoveAll(filepath.Join(n.Sys(), "class/net/ens11np0/flags"))) },
		"a container runtime that has just ended": write("proc/4000/comm", "containerd"),
		"somebody else's network for another mode": func(n *fakeNode) {
			n.networks(`{"plugins": [{"type": "roce-host-device", "device": "ens11np0"}, {"type": "fake-ipam", "rdmaMode": "shared"}]}`)
		},
		"a node with one NUMA node": func(n *fakeNode) {
			n.Must(os.RemoveAll(filepath.Join(n.Sys(), "devices/system/node/node1")))
			n.Write("sys/bus/pci/devices/"+function+"/numa_node", "-1\n")
		},
		"a network manager that is at work": func(n *fakeNode) {
			n.Must(n.Journal.Owe(&attachment.Record{
				Step: attachment.Returned, ContainerID: "c1", IfName: "net1", Manager: netmanager.NetworkManager, Back: time.Now(),
				NIC: attachment.NIC{Netdev: netdev.Identity{ParentBus: "pci", Parent: function, Index: 10, PermanentMAC: "02:00:00:00:00:01"}}, Host: netdev.State{Name: nic},
			}))
		},
		"another module's option of that name": write("etc/modprobe.d/other.conf", "options mlx5_core netns_mode=1"),
		"a file that modprobe does not read":   write("etc/modprobe.d/notes.txt", "options ib_core netns_mode=1"),
		"the kernel's own mode, for which nobody has to ask": func(n *fakeNode) {
			n.Must(os.Remove(filepath.Join(n.Dir, "etc/modprobe.d/fake.conf")))
			n.Write("sys/module/ib_core/parameters/netns_mode", "Y\n")
			n.networks(`{"type": "roce-host-device", "device": "ens11np0"}`)
		},
		"a module that is built in":               func(n *fakeNode) { n.Must(os.RemoveAll(filepath.Join(n.Sys(), "module/ib_uverbs"))) },
		"somebody else's network of another node": func(n *fakeNode) { n.networks(`{"type": "host-device", "device": "ens99np0"}`) },
		"the path in place of the name": func(n *fakeNode) {
			n.networks(`{"type": "roce-host-device", "kernelpath": "/sys/devices/pci0000:00/0000:00:01.0/0000:08:00.0/"}`)
		},
		"a scalable function in place of the name": func(n *fakeNode) {
			n.Write("sys/bus/auxiliary/devices/mlx5_core.sf.2/sfnum", "88\n")
			n.networks(`{"type": "roce-host-device", "pciBusID": "mlx5_core.sf.2"}`)
		},
		"an InfiniBand device": func(n *fakeNode) {
			n.Write("sys/class/infiniband/mlx5_7/ports/1/link_layer", "InfiniBand\n")
			n.Write("sys/class/net/ens18np0/mtu", "2044\n")
		},
		"boards of two kinds": func(n *fakeNode) {
			n.Write("sys/class/infiniband/mlx5_7/board_id", "MT_0000000999\n")
			n.Write("sys/class/infiniband/mlx5_7/fw_ver", "16.35.4030\n")
		},
		"boards of two kinds without a name": func(n *fakeNode) {
			for _, hca := range []string{"mlx5_6", "mlx5_7"} {
				n.Must(os.Remove(filepath.Join(n.Sys(), "class/infiniband", hca, "board_id")))
			}
			n.Write("sys/bus/pci/devices/"+sysfs.MLX5(7).PCI+"/device", "0x1023\n")
			n.Write("sys/class/infiniband/mlx5_7/fw_ver", "16.35.4030\n")
		},
		"a link of unknown width": write("sys/bus/pci/devices/"+function+"/current_link_width", "255"),
		"a link of unknown speed": write("sys/bus/pci/devices/"+function+"/current_link_speed", "Unknown"),
	} {
		t.Run(name, func(t *testing.T) {
			n := newFakeNode(t)
			change(n)
			if r := n.examine(); len(r.Findings) > 0 || len(r.Unseen) > 0 {
				t.Errorf("%+v, unseen %+v", r.Findings, r.Unseen)
			}
		})
	}
}

func TestEachOfSeveralAilmentsIsFound(t *testing.T) {
	n := newFakeNode(t)
	n.networks(`{`, `{"type": "roce-host-device", "device": "ens11np0"}`, `[]`)
	n.Write("state/attachments/c1@net1.json.bad", "{")
	n.Write("state/attachments/c2@net1.json.new", "{")
	n.Must(os.Remove(filepath.Join(n.Sys(), "class/net/ens11np0/ifindex")))
	n.Write("run/NetworkManager/devices/11", "[device]\nconnection-uuid=fake-1\nroute-metric-default-effective=101\n")
	var found []string
	for _, f := range n.examine().Findings {
		found = append(found, f.Check+": "+filepath.Base(f.Where))
	}
	want := []string{"network-config: fake-1", "network-config: fake-3", "network-manager: ens12np0", "leftovers: c1@net1.json.bad", "leftovers: attachments"}
	if !slices.Equal(found, want) {
		t.Errorf("%q", found)
	}
}

func TestEveryPluginOfANetworkOfOursIsLookedFor(t *testing.T) {
	n := newFakeNode(t)
	n.networks(`{"plugins": [{"type": "roce-host-device", "device": "ens11np0", "ipam": {"type": "fake-ipam"}}, {"type": "none-1"}, {"type": "none-2", "ipam": {"type": "none-3"}}]}`,
		`{"plugins": [{"type": "none-1"}, {"type": "roce-host-device", "device": "ens11np0"}]}`)
	var where []string
	for _, f := range n.examine().Findings {
		where = append(where, f.Check+" "+filepath.Base(f.Where))
		if !strings.HasSuffix(f.What, "is not there, which network default/fake-1 needs") {
			t.Errorf("%+v", f)
		}
	}
	if slices.Sort(where); !slices.Equal(where, []string{"cni-plugin none-1", "cni-plugin none-2", "cni-plugin none-3"}) {
		t.Errorf("%q", where)
	}
}

func TestRailsAreThoseThatAreNamed(t *testing.T) {
	n := newFakeNode(t)
	n.options.NICs = []string{"mlx5_2", "ens11np0"}
	r := n.examine()
	if len(r.Rails) != 2 || len(r.Findings) > 0 {
		t.Errorf("%+v", r)
	}
	n.options.NICs = []string{"ens11np0", "ens99np0"}
	if _, err := Examine(n.Ctx, n.options); err == nil || !strings.Contains(err.Error(), "no RDMA device is on ens99np0") {
		t.Errorf("%v", err)
	}
}

func TestADriverThatCannotBeAskedForItsBridgingIsNotSeen(t *testing.T) {
	n := newFakeNode(t)
	n.options.DCB = func(string) (*netdev.DCB, error) { return nil, errors.New("no room") }
	r := n.examine()
	if len(r.Findings) > 0 || len(r.Unseen) < 4 || !strings.Contains(r.Unseen[0].Why, "no room") {
		t.Errorf("%+v, unseen %+v", r.Findings, r.Unseen)
	}
}

func TestAKubeletsConfigurationThatCannotBeReadIsNotSeen(t *testing.T) {
	n := newFakeNode(t)
	n.Write("kubelet.yaml", "{")
	if r := n.examine(); len(r.Findings) > 0 || len(r.Unseen) != 1 || r.Unseen[0].Check != "topology" {
		t.Errorf("%+v, unseen %+v", r.Findings, r.Unseen)
	}
}

func TestAPluginThatDoesNotAnswerIsNotOfAnotherVersion(t *testing.T) {
	n := newFakeNode(t)
	n.options.PluginVersion = func(context.Context, string) (string, error) { return "", errors.New("no answer") }
	if r := n.examine(); len(r.Findings) > 0 || len(r.Unseen) != 1 || r.Unseen[0].Check != "cni-version" || !strings.HasSuffix(r.Unseen[0].Why, ": no answer") {
		t.Errorf("%+v, unseen %+v", r.Findings, r.Unseen)
	}
}

func TestWithoutAJournalTheHostsDevicesAreLookedAt(t *testing.T) {
	n := newFakeNode(t)
	n.Must(errors.Join(os.Mkdir(n.State(), 0o755), os.Chmod(n.State(), 0o777)))
	n.Write("sys/class/net/ens11np0/mtu", "1500\n")
	var found []string
	for _, f := range n.examine().Findings {
		found = append(found, f.Check)
	}
	if !slices.Equal(found, []string{"journal", "mtu"}) {
		t.Errorf("%q", found)
	}
}

func TestARailIsNamedByAnyOfItsNames(t *testing.T) {
	devices := []inventory.Device{{Device: rdma.Device{Name: "mlx5_0", Netdevs: []string{"ens11np0"}}}, {Device: rdma.Device{Name: "mlx5_1", Netdevs: []string{"ens12np0"}}, AltNames: []string{"enp11s0np0"}}}
	for name, want := range map[string]string{"mlx5_1": "mlx5_1", "ens12np0": "mlx5_1", "enp11s0np0": "mlx5_1", "ens11np0": "mlx5_0"} {
		p := &patient{Options: Options{NICs: []string{name}}, seen: inventory.Snapshot{Devices: devices}}
		if err := p.chooseRails(); err != nil || len(p.rails) != 1 || p.rails[0].Name != want {
			t.Errorf("%s: %+v, %v", name, p.rails, err)
		}
	}
}

// In shared mode the host sees its RDMA device, and no netdev of it.
func TestANICInAPodIsNotOneOfTheHosts(t *testing.T) {
	device := func(place inventory.Place, visible bool, netdevs ...string) inventory.Device {
		return inventory.Device{Device: rdma.Device{Netdevs: netdevs}, Place: place, Visible: visible}
	}
	p := &patient{rails: []inventory.Device{
		device(inventory.InPod, true, "net1"), device(inventory.OnHost, false, "eth1"), device(inventory.OnHost, true), device(inventory.Gone, true, "eth2"), device(inventory.OnHost, true, "eth3"),
	}}
	if rails := p.onHost(); len(rails) != 1 || rails[0].Netdevs[0] != "eth3" {
		t.Errorf("%+v", rails)
	}
}

// A card has one link, and one place, however many rails are on it.
func TestAFunctionIsLookedAtOnce(t *testing.T) {
	p := &patient{rails: []inventory.Device{
		{Device: rdma.Device{Name: "mlx5_0", Bus: rdma.BusPCI, Address: "0000:08:00.0", Netdevs: []string{"ens11np0"}}},
		{Device: rdma.Device{Name: "mlx5_8", Bus: rdma.BusPCI, Address: "0000:08:00.2", PhysicalFunction: "devices/pci0000:00/0000:08:00.0", Netdevs: []string{"ens11v0"}}},
		{Device: rdma.Device{Name: "mlx5_1", Bus: rdma.BusPCI, Address: "0000:0b:00.0"}, Place: inventory.Gone},
		{Device: rdma.Device{Name: "rxe0", Soft: true}},
		{Device: rdma.Device{Name: "mlx5_2", Bus: rdma.BusPCI, Address: "0000:0e:00.0"}},
	}}
	addresses, names := p.functions()
	if !slices.Equal(addresses, []string{"0000:08:00.0", "0000:0e:00.0"}) || !slices.Equal(names, []string{"ens11np0", "mlx5_2"}) {
		t.Errorf("%q, %q", addresses, names)
	}
}
