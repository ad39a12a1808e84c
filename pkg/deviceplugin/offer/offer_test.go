package offer

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestPerDeviceTellsTheNUMANode(t *testing.T) {
	virtual := sysfs.RXE(20, sysfs.HCA{})
	n := newTestNode(t, sysfs.MLX5(0), sysfs.MLX5(8), virtual)
	devices := n.candidates()
	o := New(config.Resource{Mode: config.PerDevice, Units: 1}, devices, true, nil)
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
	o := New(config.Resource{Mode: config.PerDevice, Units: 3, CharDevices: []config.CharDevice{config.Uverbs}}, n.candidates(), true, nil)
	for i, want := range []string{"0000:08:00.0", "0000:08:00.0-1", "0000:08:00.0-2"} {
		if o.list[i].ID != want {
			t.Errorf("ID %s, want %s", o.list[i].ID, want)
		}
		response, err := o.allocate([]string{want})
		n.Must(err)
		node.CheckDevices(t, response, node.CharDevices("uverbs0"))
	}
}

func TestUnitsAreInTheOrderOfTheirIDsAndDevicesInThatOfTheirNames(t *testing.T) {
	a, b := two()
	a.NUMANode = 1
	o := New(config.Resource{Mode: config.PerDevice, Units: 2}, []Candidate{{Device: a, Healthy: true}, {Device: b}}, true, nil)
	var units []string
	for _, d := range o.Units() {
		numa := "-"
		for _, node := range d.Topology.GetNodes() {
			numa = fmt.Sprint(node.ID)
		}
		units = append(units, d.ID+" "+d.Health+" "+numa+" "+o.Behind(d.ID)[0].Name)
	}
	if want := []string{"0000:08:00.0 Unhealthy - mlx5_0", "0000:08:00.0-1 Unhealthy - mlx5_0", "0000:0b:00.0 Healthy 1 mlx5_1", "0000:0b:00.0-1 Healthy 1 mlx5_1"}; !slices.Equal(units, want) {
		t.Errorf("%q, want %q", units, want)
	}
	b.Address = a.Address // of a function that has two
	o = New(config.Resource{Mode: config.PerDevice, Units: 1}, []Candidate{{Device: a}, {Device: b}}, true, nil)
	if o.Behind("0000:0b:00.0")[0].Name != "mlx5_1" || o.Behind("mlx5_0")[0].Name != "mlx5_0" || len(o.Units()) != 2 {
		t.Errorf("%v", o.Units())
	}
	a, b = two()
	o = New(config.Resource{Mode: config.Shared, Units: 1, Env: true, CharDevices: []config.CharDevice{config.Uverbs}}, []Candidate{{Device: a}, {Device: b}}, true, nil)
	if devices := o.Behind("0"); len(devices) != 2 || devices[0].Name != "mlx5_0" || len(o.Behind("1")) > 0 {
		t.Errorf("%v", devices)
	}
	if response, err := o.allocate([]string{"0"}); err != nil || response.Envs["NCCL_IB_HCA"] != "=mlx5_0,mlx5_1" {
		t.Errorf("%v, %v", response, err)
	}
}

func TestTwoSoftDevicesOnOneFunctionHaveDifferentIDs(t *testing.T) {
	nic := sysfs.NIC(0)
	n := newTestNode(t, nic, sysfs.RXE(0, nic), sysfs.RXE(1, nic))
	o := New(config.Resource{Mode: config.PerDevice, Units: 1}, n.candidates(), true, nil)
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
		o := New(config.Resource{Mode: config.Shared, Units: 1, CharDevices: test.kinds}, n.candidates(), true, nil)
		response, err := o.allocate([]string{"0"})
		n.Must(err)
		node.CheckDevices(t, response, test.want)
	}
}

func TestADeviceThatIsGoneGivesNoPathsThatDoNotExist(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	all := n.candidates()
	all[3].Place = inventory.Gone
	o := New(config.Resource{Mode: config.Shared, Units: 1, CharDevices: []config.CharDevice{config.Uverbs}}, all, true, nil)
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
			o := New(config.Resource{Mode: config.Shared, Units: 8, CharDevices: []config.CharDevice{config.Uverbs, config.Umad, config.Issm}}, all, true, nil)
			for b.Loop() {
				if r, err := o.allocate([]string{"0", "1"}); err != nil || len(r.Devices) != 3*count {
					b.Fatal(len(r.Devices), err)
				}
			}
		})
	}
}

func TestNothingIsGivenInsteadOfADevice(t *testing.T) {
	kinds := []config.CharDevice{config.Uverbs, config.Umad, config.RDMACM}
	for name, test := range map[string]struct {
		mode    config.Mode
		kinds   []config.CharDevice
		happens func(all []Candidate)
		ids     []string
		refused bool
	}{
		"a pool with one of its devices left": {config.Shared, kinds, func(all []Candidate) { all[0].Place = inventory.Gone }, []string{"0"}, false},
		"a pool with none left":               {config.Shared, kinds, func(all []Candidate) { all[0].Place, all[1].Place = inventory.Gone, inventory.Gone }, []string{"0"}, true},
		"a pool whose devices cannot be opened": {config.Shared, kinds, func(all []Candidate) {
			all[0].CharDevices, all[1].CharDevices = node.CharDevices("umad0"), nil
		}, []string{"0"}, true},
		"the very unit that is gone":         {config.PerDevice, kinds, func(all []Candidate) { all[0].Place = inventory.Gone }, []string{"0000:08:00.0"}, true},
		"one of two units is gone":           {config.PerDevice, kinds, func(all []Candidate) { all[0].Place = inventory.Gone }, []string{"0000:08:00.0", "0000:0b:00.0"}, true},
		"another unit is gone":               {config.PerDevice, kinds, func(all []Candidate) { all[0].Place = inventory.Gone }, []string{"0000:0b:00.0"}, false},
		"nobody asks for what can be opened": {config.Shared, kinds[2:], func(all []Candidate) { all[0].CharDevices, all[1].CharDevices = nil, nil }, []string{"0"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := newTestNode(t, sysfs.MLX5(0), sysfs.MLX5(1))
			all := n.candidates()
			test.happens(all)
			o := New(config.Resource{Mode: test.mode, Units: 1, CharDevices: test.kinds}, all, true, nil)
			response, err := o.allocate(test.ids)
			if (err != nil) != test.refused {
				t.Errorf("got %v, %v", response, err)
			}
		})
	}
}

func TestAResourceWithoutUnitsOffersNone(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0))
	if o := New(config.Resource{Mode: config.Shared}, n.candidates(), true, nil); len(o.Units()) != 0 || len(o.Devices()) != 0 {
		t.Errorf("got %v", o.Units())
	}
}

func TestWhatTheConfigurationNamesIsMissed(t *testing.T) {
	all := []config.CharDevice{config.Uverbs, config.Umad, config.Issm, config.RDMACM}
	n := newTestNode(t, sysfs.MLX5(0), sysfs.IRDMA(1)) // without umad and issm
	devices := n.look(n.inventory(nil))
	for name, test := range map[string]struct {
		r       config.Resource
		manager bool
		want    string
	}{
		"all of it by default":     {config.Resource{CharDevices: all}, true, ""},
		"no rdma_cm by default":    {config.Resource{CharDevices: all}, false, "rdma_cm: the node has none; is the module rdma_ucm loaded?"},
		"no rdma_cm, not asked":    {config.Resource{CharDevices: all[:1], Named: true}, false, ""},
		"umad of one of them":      {config.Resource{CharDevices: all[:2], Named: true}, true, "umad: ens12np0/irdma1 (0000:0b:00.0) has none; is the module ib_umad loaded?"},
		"what is there, and named": {config.Resource{CharDevices: []config.CharDevice{config.Uverbs, config.RDMACM}, Named: true}, true, ""},
	} {
		if got := strings.Join(Missing(test.r, devices, test.manager), "\n"); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	if got := Missing(config.Resource{CharDevices: all}, nil, false); len(got) != 0 {
		t.Errorf("a node without devices misses %v", got)
	}
}

// Whoever makes a software device chooses its name, of any bytes.
func TestASoftwareDeviceTakesNoPlaceOfAnother(t *testing.T) {
	hca := sysfs.MLX5(0)
	for name, want := range map[string]string{"a_rxe": "a_rxe", hca.PCI: "", "rxe\xff": "", "rxe": "rxe"} {
		t.Run(fmt.Sprintf("%q", name), func(t *testing.T) {
			soft := sysfs.RXE(20, hca)
			soft.RDMA = name
			n := newTestNode(t, hca, soft)
			candidates := n.candidates()
			if want == "" {
				want = slices.MaxFunc(candidates, func(a, b Candidate) int { return compareBool(a.Soft, b.Soft) }).NodeGUID
			}
			r := config.Resource{Name: "rdma/a", Mode: config.PerDevice, Units: 2, Env: true}
			o := New(r, candidates, false, nil)
			for id, soft := range map[string]bool{hca.PCI: false, hca.PCI + "-1": false, want: true, want + "-1": true} {
				if behind := o.Behind(id); len(behind) != 1 || behind[0].Soft != soft {
					t.Errorf("%q: unit %s is %v", name, id, behind)
				}
			}
			// By itself, too, it is not called by the address.
			if alone := New(r, slices.DeleteFunc(slices.Clone(candidates), func(c Candidate) bool { return !c.Soft }), false, nil); alone.Behind(want) == nil {
				t.Errorf("%q alone: %v", name, alone.Units())
			}
			for key, value := range environment(candidates) {
				if !utf8.ValidString(value) {
					t.Errorf("%q: %s=%q", name, key, value)
				}
			}
			chosen := map[string][]inventory.Device{}
			for _, c := range candidates {
				chosen[r.Name] = append(chosen[r.Name], c.Device)
				if c.Guest != c.Soft {
					t.Errorf("%q: %s is a guest: %v", name, c, c.Guest)
				}
			}
			names := NameCDI([]config.Resource{r}, chosen)
			for _, c := range candidates {
				if got := names[c.Key()]; c.Soft && got != want || !c.Soft && got != hca.PCI {
					t.Errorf("%q: %s is called %s", name, c, got)
				}
			}
		})
	}
}

func TestNoTwoUnitsHaveOneID(t *testing.T) {
	// The second unit of one and the first of another.
	a, b := sysfs.RXE(20, sysfs.HCA{}), sysfs.RXE(21, sysfs.HCA{})
	a.RDMA, b.RDMA = "rxe0", "rxe0-1"
	o := New(config.Resource{Mode: config.PerDevice, Units: 2}, newTestNode(t, a, b).candidates(), false, nil)
	if len(o.Units()) != 4 || len(o.grants) != 4 {
		t.Errorf("%v", o.Units())
	}
}
