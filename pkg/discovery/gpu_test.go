package discovery

import "testing"

// A pod that asks for more GPUs than a node has never runs there.
func TestNoMoreGPUsAreAskedForThanEachNodeHas(t *testing.T) {
	a := describeFake(t)
	b := again(t, a, func(n *Node) { n.Name, n.GPUs = "node-b", n.GPUs[1:] })
	for _, nodes := range [][]*Node{{a, b}, {b, a}} {
		if _, number := Merge(nodes).gpus(); number != 7 {
			t.Errorf("%s first: %d", nodes[0].Name, number)
		}
	}
}
