package offer

import (
	"encoding/json"
	"slices"
	"testing"

	"tags.cncf.io/container-device-interface/pkg/parser"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestEveryCDIDeviceHasANameOfItsOwnThatCDITakes(t *testing.T) {
	hca, nic := sysfs.MLX5(0), sysfs.NIC(5)
	odd, third := sysfs.RXE(20, nic), sysfs.RXE(22, sysfs.HCA{})
	odd.RDMA = "rxe@eth0"
	third.RDMA = "rdma_cm" // anybody may call one so
	n := newTestNode(t, hca, sysfs.SMI(hca, 30), sysfs.MLX5(1), nic, odd, third)
	r := config.Resource{Name: "a", Mode: config.Shared, Units: 1, CharDevices: []config.CharDevice{config.Uverbs, config.Umad, config.RDMACM}}
	chosen := map[string][]inventory.Device{"a": n.look(n.inventory(nil))}
	names := NameCDI([]config.Resource{r}, chosen)
	seen := map[string]bool{"rdma_cm": true}
	for _, d := range chosen["a"] {
		name := names[d.Key()]
		if err := parser.ValidateDeviceName(name); err != nil || seen[name] {
			t.Errorf("%s is %q: there already, or %v", d, name, err)
		}
		seen[name] = true
	}
	for _, want := range []string{hca.PCI, "smi30", sysfs.MLX5(1).PCI} {
		if !seen[want] {
			t.Errorf("none is called %s: %v", want, names)
		}
	}
	var given []string
	spec := CDISpec([]config.Resource{r}, chosen, names, true)
	for _, d := range spec.Devices {
		given = append(given, d.Name)
	}
	if len(slices.Compact(given)) != 6 {
		t.Errorf("in the spec: %v", given)
	}
	var candidates []Candidate
	for _, d := range chosen["a"] {
		candidates = append(candidates, Candidate{Device: d, Healthy: true})
	}
	response, err := New(r, candidates, true, names).allocate([]string{"0"})
	n.Must(err)
	for _, d := range response.CdiDevices {
		if _, _, name, err := parser.ParseQualifiedName(d.Name); err != nil || !slices.Contains(given, name) {
			t.Errorf("a container gets %s, which is in no spec (%v)", d.Name, err)
		}
	}
	if len(response.CdiDevices) != 6 {
		t.Errorf("a container gets %v", response.CdiDevices)
	}
}

// One name that is in no spec keeps the container from starting.
func TestADeviceWithNothingToGiveIsNotNamed(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0), sysfs.MLX5(1), sysfs.MLX5(2))
	n.Must(n.RemoveCharDevices(sysfs.MLX5(1)))
	r := config.Resource{Name: "a", Mode: config.Shared, Units: 1, CharDevices: []config.CharDevice{config.Uverbs}}
	names := NameCDI([]config.Resource{r}, map[string][]inventory.Device{"a": n.look(n.inventory(nil))})
	candidates := n.candidates()
	candidates[2].Place = inventory.Gone
	response, err := New(r, candidates, false, names).allocate([]string{"0"})
	n.Must(err)
	if given := response.CdiDevices; len(given) != 1 || given[0].Name != QualifiedCDIName(sysfs.MLX5(0).PCI) || len(response.Devices) > 0 {
		t.Errorf("%v", response)
	}
}

// two are devices of the resources a and b.
func two() (a, b inventory.Device) {
	of := func(name, address string, chars ...string) inventory.Device {
		return inventory.Device{Place: inventory.OnHost, Device: rdma.Device{Name: name, Bus: rdma.BusPCI, Address: address, CharDevices: chars, NUMANode: -1}}
	}
	return of("mlx5_1", "0000:0b:00.0", "/host/dev/infiniband/uverbs1", "/host/dev/infiniband/umad1"), of("mlx5_0", "0000:08:00.0", "/host/dev/infiniband/uverbs0")
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTheSpecHasWhatThereIsToGive(t *testing.T) {
	a, b := two()
	gone, bare := a, b
	gone.Address, gone.Place = "0000:0e:00.0", inventory.Gone
	bare.Address, bare.CharDevices = "0000:11:00.0", []string{"/host/dev/infiniband/issm0"}
	resources := []config.Resource{{Name: "a", CharDevices: []config.CharDevice{config.Uverbs, config.Umad}}, {Name: "b", CharDevices: []config.CharDevice{config.Uverbs, config.RDMACM}}}
	chosen := map[string][]inventory.Device{"a": {a, gone}, "b": {bare, b}}
	const devices = `{"name":"0000:08:00.0","containerEdits":{"deviceNodes":[{"path":"/dev/infiniband/uverbs0","permissions":"rw"}]}},` +
		`{"name":"0000:0b:00.0","containerEdits":{"deviceNodes":[{"path":"/dev/infiniband/uverbs1","permissions":"rw"},{"path":"/dev/infiniband/umad1","permissions":"rw"}]}}`
	const manager = `,{"name":"rdma_cm","containerEdits":{"deviceNodes":[{"path":"/dev/infiniband/rdma_cm","permissions":"rw"}]}}`
	for connectionManager, more := range map[bool]string{true: manager, false: ""} {
		want := `{"cdiVersion":"0.5.0","kind":"roce-k8s.io/hca","devices":[` + devices + more + `],"containerEdits":{}}`
		if got := asJSON(t, CDISpec(resources, chosen, NameCDI(resources, chosen), connectionManager)); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	if spec := CDISpec(resources, map[string][]inventory.Device{"a": {gone}, "b": {bare}}, nil, true); len(spec.Devices) > 0 {
		t.Errorf("nothing to give, but %+v", spec.Devices)
	}
}

func TestDevicesOfOneNameAreToldApartByCDI(t *testing.T) {
	soft := func(guid string) inventory.Device {
		return inventory.Device{Device: rdma.Device{Name: "rxe0", Soft: true, NodeGUID: guid}}
	}
	nic := soft("5054:00ff:fe00:0003")
	nic.Name, nic.Bus, nic.Address = "rxe1", rdma.BusPCI, "0000:08:00.0" // which it is on, as others may be
	if name := cdiName(nic); name != "rxe1" {
		t.Errorf("a soft device is called %s", name)
	}
	first, second := soft("5054:00ff:fe00:0001"), soft("5054:00ff:fe00:0002")
	names := NameCDI([]config.Resource{{Name: "a"}, {Name: "b"}}, map[string][]inventory.Device{"a": {first}, "b": {second}})
	if len(names) != 2 || names[first.Key()] != "rxe0" || names[second.Key()] == "rxe0" || parser.ValidateDeviceName(names[second.Key()]) != nil {
		t.Errorf("%q", names)
	}
}

func TestAClaimGetsEachOfItsDevicesAndADescriptionOfThoseThatAreToHaveOne(t *testing.T) {
	a, b := two()
	plain := config.Resource{Name: "a", Mode: config.PerDevice, CharDevices: []config.CharDevice{config.Uverbs}}
	described := config.Resource{Name: "b", Mode: config.PerDevice, CharDevices: []config.CharDevice{config.Uverbs, config.RDMACM}, Env: true}
	given := []Given{{Candidate{Device: a, GIDIndex: -1}, "n1", plain}, {Candidate{Device: b, GIDIndex: 3}, "n0", described}}
	const want = `{"cdiVersion":"","kind":"roce-k8s.io/hca","devices":[` +
		`{"name":"c1-n1","containerEdits":{"deviceNodes":[{"path":"/dev/infiniband/uverbs1","permissions":"rw"}]}},` +
		`{"name":"c1-n0","containerEdits":{"deviceNodes":[{"path":"/dev/infiniband/rdma_cm","permissions":"rw"},{"path":"/dev/infiniband/uverbs0","permissions":"rw"}]}}` +
		`],"containerEdits":{"env":["NCCL_IB_HCA==mlx5_0","RDMA_DEVICES=[{\"rdma\":\"mlx5_0\",\"pci\":\"0000:08:00.0\",\"gidIndex\":3}]"]}}`
	for range 5 { // in the same order each time
		spec, nothing := ClaimCDI("c1", given, true)
		if got := asJSON(t, spec); got != want || nothing != "" {
			t.Errorf("%s, %q\nwant %s", got, nothing, want)
		}
	}
	if spec, _ := ClaimCDI("c1", given[:1], true); len(spec.ContainerEdits.Env) > 0 {
		t.Errorf("%q", spec.ContainerEdits.Env)
	}
	for change, want := range map[string]string{
		"gone": "mlx5_0 (0000:08:00.0): the hardware behind it or its driver is gone", "closed": "mlx5_0 (0000:08:00.0): no device behind it has a uverbs character device",
		"other": "mlx5_0 (0000:08:00.0): it has none of the character devices that the resource gives",
	} {
		bad := slices.Clone(given)
		switch change {
		case "gone":
			bad[1].Place = inventory.Gone
		case "closed":
			bad[1].CharDevices = nil
		case "other":
			bad[1].Resource.CharDevices = []config.CharDevice{config.Issm}
		}
		if spec, nothing := ClaimCDI("c1", bad, true); spec != nil || nothing != want {
			t.Errorf("%s: %+v, %q, want %q", change, spec, nothing, want)
		}
	}
}
