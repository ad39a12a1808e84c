package inventory

import (
	"maps"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestRailsAreNumberedByThePCIAddressOfTheirFunction(t *testing.T) {
	first, second, far := sysfs.MLX5(9), sysfs.MLX5(2), sysfs.MLX5(3)
	first.PCI, far.PCI = "0000:04:00.0", "10000:01:00.0" // a domain of five digits comes last
	virtual, scalable := sysfs.VF(first, 1, 20), sysfs.SF(far, 4, 21)
	n := node.New(t, far, second, first, virtual, scalable, sysfs.RXE(0, sysfs.HCA{}))
	devices, err := n.RDMA().Devices()
	n.Must(err)
	var all []Device
	names := map[string]string{}
	for _, d := range devices {
		all = append(all, Device{Device: d})
		names[d.Key()] = d.Name
	}
	got := map[string]int{}
	for key, rail := range Rails(n.RDMA(), all) {
		got[names[key]] = rail
	}
	want := map[string]int{first.RDMA: 0, virtual.RDMA: 0, second.RDMA: 1, far.RDMA: 2, scalable.RDMA: 2}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestAPodThatHasANICDoesNotChangeItsRail(t *testing.T) {
	n := node.New(t, node.Eight()...)
	n.Attach(rdma.Exclusive, sysfs.MLX5(0), sysfs.MLX5(3))
	i := New(Options{Node: n.RDMA(), Journal: n.Journal, StateDir: n.State(), Log: n.Log()})
	seen, err := i.Read(n.Ctx)
	n.Must(err)
	rails := Rails(n.RDMA(), seen.Devices)
	for _, d := range seen.Devices {
		if want := "mlx5_" + string(rune('0'+rails[d.Key()])); len(rails) != 8 || d.Name != want {
			t.Errorf("%s is on rail %d", d, rails[d.Key()])
		}
	}
}
