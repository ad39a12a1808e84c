package cluster

import (
	"context"
	"fmt"

	"github.com/roce-k8s/roce-k8s/test/e2e/node"
)

// Rails are the NICs of the guide's node, in the order of its networks.
func Rails() []string {
	return []string{"ens12np0", "ens11np0", "ens13np0", "ens14np0", "ens16np0", "ens15np0", "ens17np0", "ens18np0"}
}

// A Pair is a cluster with two nodes made of namespaces, rail i of one wired to
// rail i of the other, and what the guide takes for granted, Multus and
// Whereabouts.
type Pair struct {
	*ControlPlane
	Nodes []*Node
}

// StartPair starts a pair in this network namespace. What is there when it fails
// comes with the error, for its logs, and for Stop.
func StartPair(ctx context.Context, folder, peers string, parts Parts) (*Pair, error) {
	const address = "10.77.0.1"
	p := &Pair{}
	if err := AddBridge(address + "/24"); err != nil {
		return p, err
	}
	var err error
	if p.ControlPlane, err = StartControlPlane(ctx, folder, peers, address); err != nil {
		return p, err
	}
	if len(parts.Pulled) > 0 {
		if err := p.StartRegistry(ctx, parts.Pulled...); err != nil {
			return p, err
		}
	}
	for i := 1; i <= 2; i++ {
		config := node.Config{
			Name: fmt.Sprintf("node%d", i), Address: fmt.Sprintf("10.77.0.1%d/24", i), Gateway: address, PodSubnet: fmt.Sprintf("10.244.%d.0/24", i),
		}
		for k, name := range Rails() {
			config.NICs = append(config.NICs, node.NIC{Name: name, MAC: fmt.Sprintf("94:6d:ae:00:%02x:%02x", i, k)})
		}
		n, err := p.NewNode(config, parts)
		if err != nil {
			return p, err
		}
		if err := n.Boot(ctx); err != nil {
			return p, err
		}
		p.Nodes = append(p.Nodes, n)
	}
	for _, n := range p.Nodes {
		if err := n.AwaitReady(ctx); err != nil {
			return p, err
		}
	}
	if err := Wire(ctx, p.Nodes[0], p.Nodes[1]); err != nil {
		return p, err
	}
	for _, peer := range []string{"multus", "whereabouts"} {
		if err := p.Install(ctx, peer); err != nil {
			return p, err
		}
	}
	if parts.ThickMultus {
		return p, p.InstallThickMultus(ctx)
	}
	return p, nil
}

// Stop ends the nodes and the control plane.
func (p *Pair) Stop() {
	for _, n := range p.Nodes {
		n.PowerOff()
	}
	if p.ControlPlane != nil {
		p.ControlPlane.Stop()
	}
}
