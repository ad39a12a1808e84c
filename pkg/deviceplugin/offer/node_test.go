package offer

import (
	"context"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// A testNode is a simulated node with devices to be offered.
type testNode struct{ *node.Node }

func newTestNode(t *testing.T, hcas ...sysfs.HCA) *testNode {
	t.Helper()
	return &testNode{node.New(t, hcas...)}
}

// look reads the node's devices, and remembers them.
func (n *testNode) look(i *inventory.Inventory) []inventory.Device {
	n.Helper()
	s, err := i.Read(n.Ctx)
	n.Must(err)
	i.Remember(s)
	return s.Devices
}

// inventory is the node's, with the links of a host.
func (n *testNode) inventory(links func(context.Context) ([]netlink.Link, error)) *inventory.Inventory {
	return inventory.New(inventory.Options{Node: n.RDMA(), Journal: n.Journal, StateDir: n.State(), Links: links, Log: n.Log()})
}

// candidates are the node's devices, all healthy.
func (n *testNode) candidates() []Candidate {
	n.Helper()
	var all []Candidate
	for _, d := range n.look(n.inventory(nil)) {
		all = append(all, Candidate{Device: d, Healthy: true, Root: n.RDMA().PCIeRoot(d.Device), GIDIndex: -1})
	}
	return all
}

func names(devices []inventory.Device) string {
	var s []string
	for _, d := range devices {
		s = append(s, d.Name)
	}
	return strings.Join(s, " ")
}
