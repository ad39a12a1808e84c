package offer

import (
	"slices"
	"testing"

	"tags.cncf.io/container-device-interface/pkg/parser"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
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
	n := newTestNode(t, sysfs.MLX5(0), sysfs.MLX5(1))
	n.Must(n.RemoveCharDevices(sysfs.MLX5(1)))
	r := config.Resource{Name: "a", Mode: config.Shared, Units: 1, CharDevices: []config.CharDevice{config.Uverbs}}
	names := NameCDI([]config.Resource{r}, map[string][]inventory.Device{"a": n.look(n.inventory(nil))})
	response, err := New(r, n.candidates(), false, names).allocate([]string{"0"})
	n.Must(err)
	if given := response.CdiDevices; len(given) != 1 || given[0].Name != QualifiedCDIName(sysfs.MLX5(0).PCI) {
		t.Errorf("%v", given)
	}
}
