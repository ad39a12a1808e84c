package discovery

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

// The guide's sysfs, and veths for its NICs.
func TestALookFindsRailsWithTheirGPUs(t *testing.T) {
	host := node.NewHost(t)
	n, fake := node.NewHere(t), node.NewFakeGuideNode()
	n.Must(fake.Add(n.Tree))
	for _, h := range fake.Rails[:3] {
		node.AddNIC(t, host, h.Netdev)
	}
	found, err := Look(n.Ctx, Place{Name: "node-a", Node: n.RDMA(), StateDir: n.State(), Proc: filepath.Join(n.Dir, "proc"), Log: n.Log()})
	n.Must(err)
	if found.Name != "node-a" || found.Version != nodeVersion || found.Blind != "" || len(found.GPUs) != len(fake.GPUs) {
		t.Errorf("%+v", found)
	}
	var rails []string
	for i, r := range found.Rails {
		rails = append(rails, r.Netdev)
		if !slices.Equal(r.GPUs, fake.GPUs[i:i+1]) || r.MTU != 1500 {
			t.Errorf("%+v", r)
		}
	}
	if want := []string{fake.Rails[0].Netdev, fake.Rails[1].Netdev, fake.Rails[2].Netdev}; !slices.Equal(rails, want) {
		t.Errorf("rails %q, want %q; left out %+v", rails, want, found.LeftOut)
	}
	for _, out := range found.LeftOut {
		if slices.Contains(rails, out.Netdev) || out.Why == "" {
			t.Errorf("%+v", out)
		}
	}
}

func TestANodeWithoutAPCIBusIsLookedAt(t *testing.T) {
	node.NewHost(t)
	n := node.NewHere(t)
	n.Must(os.RemoveAll(filepath.Join(n.Sys(), "bus/pci")))
	found, err := Look(n.Ctx, Place{Name: "node-a", Node: n.RDMA(), StateDir: n.State(), Proc: filepath.Join(n.Dir, "proc"), Log: n.Log()})
	if err != nil || len(found.Rails)+len(found.GPUs) > 0 {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestAPortBesideTheFirstHasTheDeviceAsWell(t *testing.T) {
	n := describeFake(t, func(f *node.FakeGuideNode, n *node.Node) { n.Must(n.AddRepresentor(f.Rails[0], "ens99np1", "p1")) })
	if slices.ContainsFunc(n.LeftOut, func(l LeftOut) bool { return l.Netdev == "ens99np1" }) || len(n.Rails) != 8 {
		t.Errorf("%d rails, left out %+v", len(n.Rails), n.LeftOut)
	}
}

func TestRailsAreInTheOrderOfTheirAddressesWhateverTheirDevicesAreCalled(t *testing.T) {
	n := describeFake(t, func(f *node.FakeGuideNode, _ *node.Node) {
		f.Rails[0].RDMA, f.Rails[7].RDMA = f.Rails[7].RDMA, f.Rails[0].RDMA
	})
	if !slices.IsSortedFunc(n.Rails, func(a, b Rail) int { return rdma.ComparePCI(a.Address, b.Address) }) || len(n.Rails) != 8 || n.Rails[0].RDMA != "mlx5_7" {
		t.Errorf("%+v", n.Rails)
	}
}
