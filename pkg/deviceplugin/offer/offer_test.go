package offer

import (
	"fmt"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestPerDeviceTellsTheNUMANode(t *testing.T) {
	virtual := sysfs.RXE(20, sysfs.HCA{})
	n := newTestNode(t, sysfs.MLX5(0), sysfs.MLX5(8), virtual)
	devices := n.candidates()
	o := New(config.Resource{Mode: config.PerDevice, Units: 1}, devices, true, false)
	for i, want := range []string{"0", "1", ""} {
		got := ""
		if t := o.list[i].Topology; t != nil {
			got = fmt.Sprint(t.Nodes[0].ID)
		}
		if got != want {
			t.Errorf("%s: NUMA node %q, want %q", o.list[i].ID, got, want)
		}
	}
}

func TestSeveralUnitsOfADeviceGiveTheSame(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0))
	o := New(config.Resource{Mode: config.PerDevice, Units: 3, CharDevices: []config.CharDevice{config.Uverbs}}, n.candidates(), true, false)
	for i, want := range []string{"0000:08:00.0", "0000:08:00.0-1", "0000:08:00.0-2"} {
		if o.list[i].ID != want {
			t.Errorf("ID %s, want %s", o.list[i].ID, want)
		}
		response, err := o.allocate([]string{want})
		n.Must(err)
		node.CheckDevices(t, response, node.CharDevices("uverbs0"))
	}
}

func TestTwoSoftDevicesOnOneFunctionHaveDifferentIDs(t *testing.T) {
	nic := sysfs.NIC(0)
	n := newTestNode(t, nic, sysfs.RXE(0, nic), sysfs.RXE(1, nic))
	o := New(config.Resource{Mode: config.PerDevice, Units: 1}, n.candidates(), true, false)
	if len(o.list) != 2 || o.list[0].ID != nic.PCI || o.list[1].ID != "rxe1" {
		t.Errorf("got %v", o.list)
	}
}

func TestCharDevicesAreThoseThatTheConfigurationNames(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0))
	for _, test := range []struct {
		kinds []config.CharDevice
		want  []string
	}{
		{[]config.CharDevice{config.Uverbs}, node.CharDevices("uverbs0")},
		{[]config.CharDevice{config.Umad, config.RDMACM}, node.CharDevices("umad0", "rdma_cm")},
		{[]config.CharDevice{config.Issm}, node.CharDevices("issm0")},
	} {
		o := New(config.Resource{Mode: config.Shared, Units: 1, CharDevices: test.kinds}, n.candidates(), true, false)
		response, err := o.allocate([]string{"0"})
		n.Must(err)
		node.CheckDevices(t, response, test.want)
	}
}

func TestADeviceThatIsGoneGivesNoPathsThatDoNotExist(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	all := n.candidates()
	all[3].Place = inventory.Gone
	o := New(config.Resource{Mode: config.Shared, Units: 1, CharDevices: []config.CharDevice{config.Uverbs}}, all, true, false)
	response, err := o.allocate([]string{"0"})
	n.Must(err)
	node.CheckDevices(t, response, node.CharDevices("uverbs0", "uverbs1", "uverbs2", "uverbs4", "uverbs5", "uverbs6", "uverbs7"))
}

func BenchmarkAllocate(b *testing.B) {
	for _, count := range []int{8, 64, 512} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			var all []Candidate
			for n := range count {
				c := Candidate{Healthy: true}
				c.Name, c.Address = fmt.Sprintf("mlx5_%d", n), fmt.Sprintf("0000:%02x:00.%d", n/8, n%8)
				c.CharDevices = node.CharDevices(fmt.Sprintf("uverbs%d", n), fmt.Sprintf("umad%d", n), fmt.Sprintf("issm%d", n))
				all = append(all, c)
			}
			o := New(config.Resource{Mode: config.Shared, Units: 8, CharDevices: []config.CharDevice{config.Uverbs, config.Umad, config.Issm}}, all, true, false)
			for b.Loop() {
				if r, err := o.allocate([]string{"0", "1"}); err != nil || len(r.Devices) != 3*count {
					b.Fatal(len(r.Devices), err)
				}
			}
		})
	}
}
