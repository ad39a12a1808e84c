package deviceplugin

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// charDevices are paths of character devices, sorted.
func charDevices(names ...string) []string {
	var paths []string
	for _, name := range names {
		paths = append(paths, "/dev/infiniband/"+name)
	}
	slices.Sort(paths)
	return paths
}

const perDevice = `{"periodicUpdateInterval": 1, "configList": [
{"resourceName": "rail", "mode": "perDevice", "selectors": {"isRoCE": true}}]}`

func TestPerDeviceOffersEachNICUnderItsAddress(t *testing.T) {
	hcas := node.Eight()
	n := newTestNode(t, append(hcas, sysfs.MLX5(8), sysfs.SF(hcas[0], 2, 10), sysfs.RXE(20, sysfs.HCA{}))...)
	n.Write("config.json", perDevice)
	k := n.kubelet()
	n.start()
	n.wait(k, "rdma/rail", 11)
	response, ids, err := k.Allocate("rdma/rail", 11)
	n.Must(err)
	want := []string{
		"0000:08:00.0", "0000:0b:00.0", "0000:0e:00.0", "0000:11:00.0", "0000:14:00.0", "0000:17:00.0",
		"0000:1a:00.0", "0000:1d:00.0", "0000:20:00.0", "mlx5_core.sf.2", "rxe20",
	}
	if !slices.Equal(ids, want) {
		t.Errorf("IDs %v", ids)
	}
	var all []string
	for _, number := range []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 20} {
		all = append(all, fmt.Sprintf("uverbs%d", number))
	}
	checkDevices(t, response, charDevices(append(all, "rdma_cm")...))
}

func TestPerDeviceGivesTheCharacterDevicesOfItsNICOnly(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Write("config.json", perDevice)
	k := n.kubelet()
	n.start()
	n.wait(k, "rdma/rail", 8)
	n.Attach(rdma.Exclusive, node.Eight()[0]) // also while it is in a pod
	response, ids, err := k.Allocate("rdma/rail", 1)
	n.Must(err)
	if !slices.Equal(ids, []string{"0000:08:00.0"}) {
		t.Fatalf("IDs %v", ids)
	}
	checkDevices(t, response, charDevices("rdma_cm", "uverbs0"))
}

func TestPerDeviceTellsTheNUMANode(t *testing.T) {
	virtual := sysfs.RXE(20, sysfs.HCA{})
	n := newTestNode(t, sysfs.MLX5(0), sysfs.MLX5(8), virtual)
	devices := n.candidates()
	o := newOffer(config.Resource{Mode: config.PerDevice, Units: 1}, devices, true, false)
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

// candidates are the node's devices, all healthy.
func (n *testNode) candidates() []candidate {
	n.Helper()
	var all []candidate
	for _, d := range n.look(n.inventory(nil)).Devices {
		all = append(all, candidate{Device: d, healthy: true, root: n.RDMA().PCIeRoot(d.Device), gid: -1})
	}
	return all
}

func TestPerDeviceKeepsItsIDsWhateverHappens(t *testing.T) {
	hcas := node.Eight()
	n := newTestNode(t, hcas...)
	n.Write("config.json", perDevice)
	k := n.kubelet()
	stop := n.start()
	n.wait(k, "rdma/rail", 8)
	n.Attach(rdma.Exclusive, hcas[:4]...)
	n.Must(n.Unplug(hcas[7]))
	n.wait(k, "rdma/rail", 7)
	if capacity, _ := k.Allocatable("rdma/rail"); capacity != 8 {
		t.Errorf("capacity %d, want 8", capacity)
	}
	if !strings.Contains(n.Logs.String(), `msg="device degraded" resource=rdma/rail device="ens18np0/mlx5_7 (0000:1d:00.0)" place=gone because="the hardware or its driver is gone"`) {
		t.Errorf("logged:\n%s", n.Logs)
	}
	stop()
	n.wait(k, "rdma/rail", 0)
	n.start()
	n.wait(k, "rdma/rail", 7)
	if capacity, _ := k.Allocatable("rdma/rail"); capacity != 8 {
		t.Errorf("capacity %d after a restart, want 8", capacity)
	}
	n.Must(n.Add(hcas[7]))
	n.wait(k, "rdma/rail", 8)
}

func TestSeveralUnitsOfADeviceGiveTheSame(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0))
	o := newOffer(config.Resource{Mode: config.PerDevice, Units: 3, CharDevices: []config.CharDevice{config.Uverbs}}, n.candidates(), true, false)
	for i, want := range []string{"0000:08:00.0", "0000:08:00.0-1", "0000:08:00.0-2"} {
		if o.list[i].ID != want {
			t.Errorf("ID %s, want %s", o.list[i].ID, want)
		}
		response, err := o.allocate([]string{want})
		n.Must(err)
		checkDevices(t, response, charDevices("uverbs0"))
	}
}

func TestTwoSoftDevicesOnOneFunctionHaveDifferentIDs(t *testing.T) {
	nic := sysfs.NIC(0)
	n := newTestNode(t, nic, sysfs.RXE(0, nic), sysfs.RXE(1, nic))
	o := newOffer(config.Resource{Mode: config.PerDevice, Units: 1}, n.candidates(), true, false)
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
		{[]config.CharDevice{config.Uverbs}, charDevices("uverbs0")},
		{[]config.CharDevice{config.Umad, config.RDMACM}, charDevices("umad0", "rdma_cm")},
		{[]config.CharDevice{config.Issm}, charDevices("issm0")},
	} {
		o := newOffer(config.Resource{Mode: config.Shared, Units: 1, CharDevices: test.kinds}, n.candidates(), true, false)
		response, err := o.allocate([]string{"0"})
		n.Must(err)
		checkDevices(t, response, test.want)
	}
}

func TestADeviceThatIsGoneGivesNoPathsThatDoNotExist(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	all := n.candidates()
	all[3].Place = inventory.Gone
	o := newOffer(config.Resource{Mode: config.Shared, Units: 1, CharDevices: []config.CharDevice{config.Uverbs}}, all, true, false)
	response, err := o.allocate([]string{"0"})
	n.Must(err)
	checkDevices(t, response, charDevices("uverbs0", "uverbs1", "uverbs2", "uverbs4", "uverbs5", "uverbs6", "uverbs7"))
}

func TestEnvDescribesTheDevicesOfTheContainer(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Write("config.json", `{"configList": [{"resourceName": "rail", "mode": "perDevice", "env": true, "selectors": {"isRoCE": true}}]}`)
	k := n.kubelet()
	n.start()
	n.wait(k, "rdma/rail", 8)
	response, _, err := k.Allocate("rdma/rail", 2)
	n.Must(err)
	want := map[string]string{
		"NCCL_IB_HCA": "=mlx5_0,mlx5_1",
		"RDMA_DEVICES": `[{"rdma":"mlx5_0","netdev":"ens11np0","pci":"0000:08:00.0","numa":0,"gidIndex":3},` +
			`{"rdma":"mlx5_1","netdev":"ens12np0","pci":"0000:0b:00.0","numa":0,"gidIndex":3}]`,
	}
	for name, value := range want {
		if response.Envs[name] != value {
			t.Errorf("%s=%s\nwant %s", name, response.Envs[name], value)
		}
	}
}

func TestPreferredUnitsAreNearEachOther(t *testing.T) {
	// 0 to 3 and 4 to 7 are below one root port each on NUMA node 0, 8 to 11
	// below one on node 1.
	var hcas []sysfs.HCA
	for i := range 12 {
		hcas = append(hcas, sysfs.MLX5(i))
	}
	n := newTestNode(t, hcas...)
	o := newOffer(config.Resource{Mode: config.PerDevice, Units: 2}, n.candidates(), true, false)
	id := func(i, rank int) string {
		if rank > 0 {
			return fmt.Sprintf("%s-%d", hcas[i].PCI, rank)
		}
		return hcas[i].PCI
	}
	ids := func(numbers ...int) []string {
		var s []string
		for _, i := range numbers {
			s = append(s, id(i, 0))
		}
		return s
	}
	for name, test := range map[string]struct {
		available, must []string
		size            int
		want            []string
	}{
		"one root port that has just enough":     {ids(0, 1, 2, 4, 5), nil, 2, ids(4, 5)},
		"one NUMA node when a port is too small": {ids(0, 1, 4, 5, 8, 9), nil, 3, ids(0, 1, 4)},
		"the smallest NUMA node that will do":    {ids(0, 1, 2, 3, 4, 8, 9, 10), nil, 3, ids(8, 9, 10)},
		"as few nodes as can be":                 {ids(0, 1, 2, 8, 9), nil, 4, ids(0, 1, 2, 8)},
		"near those that it must have":           {ids(0, 1, 2, 3, 4, 5, 9), ids(5), 2, ids(5, 4)},
		"the node of those that it must have":    {ids(0, 1, 2, 8, 9), ids(8), 3, ids(8, 9, 0)},
		"all of them":                            {ids(3, 2, 1), nil, 3, ids(1, 2, 3)},
		"none":                                   {ids(0, 1), nil, 0, nil},
		"must, and no more":                      {ids(0, 1), ids(1), 1, ids(1)},
		"different devices before second units":  {[]string{id(0, 1), id(0, 0), id(1, 1), id(1, 0)}, nil, 2, ids(0, 1)},
		"second units if that is all":            {[]string{id(0, 1), id(0, 0), id(1, 1)}, nil, 3, []string{id(0, 0), id(0, 1), id(1, 1)}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := o.preferred(slices.Concat(test.available, test.must), test.must, test.size)
			n.Must(err)
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
	if _, err := o.preferred([]string{"9999:00:00.0"}, nil, 1); err == nil {
		t.Error("an unknown ID is preferred")
	}
}

func BenchmarkAllocate(b *testing.B) {
	for _, count := range []int{8, 64, 512} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			var all []candidate
			for n := range count {
				c := candidate{healthy: true}
				c.Name, c.Address = fmt.Sprintf("mlx5_%d", n), fmt.Sprintf("0000:%02x:00.%d", n/8, n%8)
				c.CharDevices = charDevices(fmt.Sprintf("uverbs%d", n), fmt.Sprintf("umad%d", n), fmt.Sprintf("issm%d", n))
				all = append(all, c)
			}
			o := newOffer(config.Resource{Mode: config.Shared, Units: 8, CharDevices: []config.CharDevice{config.Uverbs, config.Umad, config.Issm}}, all, true, false)
			for b.Loop() {
				if r, err := o.allocate([]string{"0", "1"}); err != nil || len(r.Devices) != 3*count {
					b.Fatal(len(r.Devices), err)
				}
			}
		})
	}
}

func TestOnlyPerDeviceAsksToBePreferred(t *testing.T) {
	r := newResource("a")
	for mode, want := range map[config.Mode]bool{config.Shared: false, config.PerDevice: true} {
		_, prefers := (&entry{resource: r}).offered(mode).(preferring)
		if prefers != want {
			t.Errorf("%s: %v", mode, prefers)
		}
	}
}

func TestAnOfferThatSaysTheSameIsNoNews(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	c := config.Resource{Mode: config.PerDevice, Units: 1}
	r := newResource("a")
	r.replace(newOffer(c, n.candidates(), true, false))
	_, changed := r.Devices()
	r.replace(newOffer(c, n.candidates(), false, false))
	select {
	case <-changed:
		t.Error("news")
	default:
	}
	ill := n.candidates()
	ill[0].healthy = false
	r.replace(newOffer(c, ill, true, false))
	<-changed
	if list, _ := r.Devices(); list[0].Health != pluginapi.Unhealthy {
		t.Errorf("got %v", list[0])
	}
}
