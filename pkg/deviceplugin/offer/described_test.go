package offer

import (
	"slices"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

func TestAContainerIsToldThisOfItsDevices(t *testing.T) {
	candidate := func(name, bus, address string, numa, gid int, netdevs ...string) Candidate {
		return Candidate{Device: inventory.Device{Device: rdma.Device{Name: name, Bus: bus, Address: address, NUMANode: numa, Netdevs: netdevs}}, GIDIndex: gid}
	}
	got := environment([]Candidate{
		candidate("mlx5_0", rdma.BusPCI, "0000:08:00.0", 0, 3, "ens1", "ens2"),
		candidate("mlx5_1", rdma.BusPCI, "0000:0b:00.0", 1, 0),
		candidate("mlx5_2", rdma.BusAuxiliary, "mlx5_core.sf.2", -1, -1),
	})
	for name, want := range map[string]string{
		"RDMA_DEVICES": `[{"rdma":"mlx5_0","netdev":"ens1","pci":"0000:08:00.0","numa":0,"gidIndex":3},{"rdma":"mlx5_1","pci":"0000:0b:00.0","numa":1,"gidIndex":0},{"rdma":"mlx5_2"}]`,
		"NCCL_IB_HCA":  "=mlx5_0,mlx5_1,mlx5_2",
	} {
		if got[name] != want {
			t.Errorf("%s=%s\nwant %s", name, got[name], want)
		}
	}
	if len(got) != 2 {
		t.Errorf("%v", got)
	}
}

func TestADeviceThatSeveralResourcesSelectStaysWithTheFirstAndIsAMistakeInTheOthers(t *testing.T) {
	var devices []inventory.Device
	for _, name := range []string{"a", "b", "c"} {
		devices = append(devices, inventory.Device{Device: rdma.Device{Name: name}})
	}
	resource := func(name string, line int, names ...string) config.Resource {
		return config.Resource{Name: "rdma/" + name, At: config.Position{Line: line, Column: 7}, Selectors: config.Selectors{RDMADevices: names}}
	}
	chosen, clashes := Assign([]config.Resource{resource("x", 3, "b"), resource("y", 4, "a", "b", "c"), resource("z", 5, "b")}, devices)
	if names(chosen["rdma/x"]) != "b" || names(chosen["rdma/y"]) != "a c" || len(chosen) != 2 {
		t.Errorf("%v", chosen)
	}
	var got []string
	for _, c := range clashes {
		got = append(got, c.Err("f").Error())
	}
	want := []string{
		`f:4:7: resources rdma/x (line 3) and rdma/y both select b; a device can be in one only: narrow the selectors, or use "exclude"`,
		`f:5:7: resources rdma/x (line 3) and rdma/z both select b; a device can be in one only: narrow the selectors, or use "exclude"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant\n%q", got, want)
	}
}

// A unit is a place in a container; a device is there once.
func TestSeveralUnitsGiveEachThingOnceInOrder(t *testing.T) {
	device := func(name string) Candidate {
		return Candidate{Device: inventory.Device{Device: rdma.Device{Name: name, Bus: rdma.BusPCI, Address: name}}, GIDIndex: -1}
	}
	of := func(name string, paths ...string) *grant {
		return &grant{charDevices: paths, cdi: []string{"cdi=" + name}, devices: []Candidate{device(name)}}
	}
	for _, env := range []bool{true, false} {
		all := Offer{env: env}.join([]*grant{of("b", "/dev/y", "/dev/z"), of("a", "/dev/x", "/dev/y"), of("b", "/dev/y", "/dev/z")})
		response := all.response()
		var paths, cdi []string
		for _, d := range response.Devices {
			paths = append(paths, d.HostPath+" "+d.ContainerPath+" "+d.Permissions)
		}
		for _, d := range response.CdiDevices {
			cdi = append(cdi, d.Name)
		}
		if !slices.Equal(paths, []string{"/dev/x /dev/x rw", "/dev/y /dev/y rw", "/dev/z /dev/z rw"}) || !slices.Equal(cdi, []string{"cdi=a", "cdi=b"}) {
			t.Errorf("%q, %q", paths, cdi)
		}
		if want := map[bool]string{true: "=a,b"}[env]; response.Envs["NCCL_IB_HCA"] != want {
			t.Errorf("env %v: %v", env, response.Envs)
		}
	}
}

func TestWhoGetsUnitsOfSeveralDevicesIsToldOfAllOfThem(t *testing.T) {
	var devices []Candidate
	for i, address := range []string{"0000:08:00.0", "0000:0b:00.0"} {
		devices = append(devices, Candidate{Device: inventory.Device{Device: rdma.Device{
			Name: []string{"mlx5_0", "mlx5_1"}[i], Bus: rdma.BusPCI, Address: address, CharDevices: []string{[]string{"uverbs0", "uverbs1"}[i]},
		}}, Healthy: true, GIDIndex: -1})
	}
	for env, want := range map[bool]string{true: "=mlx5_0,mlx5_1", false: ""} {
		o := perDeviceOffer(config.Resource{Name: "rdma/a", Units: 2, Env: env, CharDevices: []config.CharDevice{"uverbs"}}, devices, false, nil)
		response, err := o.allocate([]string{"0000:08:00.0", "0000:0b:00.0-1"})
		if err != nil || response.Envs["NCCL_IB_HCA"] != want {
			t.Errorf("env %v: %v, %v", env, response, err)
		}
	}
}

func TestWhatADeviceHasInsteadIsSaid(t *testing.T) {
	r := config.Resource{Selectors: config.Selectors{Vendors: []string{"15b3"}}}
	for vendor, want := range map[string]string{"15B3": "", "14e4": "vendors: it has 14e4", "": "vendors: it has none"} {
		if got := Mismatch(r, inventory.Device{Device: rdma.Device{Vendor: vendor}}); got != want {
			t.Errorf("%q: %q, want %q", vendor, got, want)
		}
	}
	r = config.Resource{Exclude: config.Selectors{IfNames: []string{"ens*"}}}
	for netdevs, want := range map[string]string{"ens1": "exclude ifNames: it has ens1, rail0", "eth0": ""} {
		if got := Mismatch(r, inventory.Device{Device: rdma.Device{Netdevs: []string{netdevs}}, AltNames: []string{"rail0"}}); got != want {
			t.Errorf("%q: %q, want %q", netdevs, got, want)
		}
	}
}

func TestAPoolOfOneUnitHasItsDevices(t *testing.T) {
	devices := []Candidate{{Device: inventory.Device{Device: rdma.Device{Name: "mlx5_0", Bus: rdma.BusPCI, Address: "0000:08:00.0"}}, Healthy: true}}
	for units, want := range map[int]int{0: 0, 1: 1, 2: 1} {
		if got := sharedOffer(config.Resource{Units: units}, devices, false, nil).Devices(); len(got) != want {
			t.Errorf("%d units: %v", units, got)
		}
	}
}
