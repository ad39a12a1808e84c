package scenario

import (
	"fmt"
	"slices"
	"testing"
)

// gpu is the resource of what stands in for GPUs: HCAs.
const gpu = "rdma/gpu"

// withGPUs is a configuration with six NICs on NUMA node 0, mlx5_0 to mlx5_5,
// seven on node 1, mlx5_8 to mlx5_14, and GPUs.
func withGPUs(nics, gpus string) string {
	return fmt.Sprintf(`{"periodicUpdateInterval": 1, "configList": [
		{"resourceName": "gpu", "mode": "perDevice", "selectors": {"rdmaDevices": %s}},
		{"resourceName": "hca_gpu", %s, "selectors": {"drivers": ["mlx5_core"], "exclude": {"rdmaDevices": ["mlx5_[67]", "mlx5_15"]}}}]}`, gpus, nics)
}

// allNICs is how many withGPUs has.
const allNICs = 13

const (
	onOne  = `["mlx5_15"]` // on node 1
	onBoth = `["mlx5_7", "mlx5_15"]`
)

const (
	perContainer = "container" // the kubelet's default scope
	perPod       = "pod"
	noLocality   = "Resources cannot be allocated with Topology locality"
)

// startAligned starts the plugin, and a kubelet with a policy.
func startAligned(t *testing.T, k Kubelet, config, policy, scope string, units, gpus int) *node {
	t.Helper()
	n := newNode(t, k, 16, config)
	var err error
	n.manager, err = k.StartAligned(n.folder(), Alignment{policy, scope, 2})
	n.ok(err)
	n.startPlugin()
	n.awaitCount(resource, Count{units, units})
	n.awaitCount(gpu, Count{gpus, gpus})
	return n
}

// numaNodes admits a pod, and says on which NUMA nodes its NICs are.
func (n *node) numaNodes(pod Pod) (nodes []int) {
	n.t.Helper()
	n.ok(n.manager.Admit(pod))
	held, err := n.manager.Held(pod)
	n.ok(err)
	if len(held) != pod.Units {
		n.t.Fatalf("a pod with %d units holds %v", pod.Units, held)
	}
	for _, h := range n.hcas {
		if slices.Contains(held, h.PCI) && !slices.Contains(nodes, h.NUMA) {
			nodes = append(nodes, h.NUMA)
		}
	}
	return nodes
}

// alignedWithGPU: by the kubelet's default nothing asks for GPU and NIC together,
// and the plugin prefers the node that is filled best.
func alignedWithGPU(t *testing.T, k Kubelet) {
	for policy, want := range map[string]int{"none": 0, "best-effort": 1, "restricted": 1, "single-numa-node": 1} {
		t.Run(policy, func(t *testing.T) {
			n := startAligned(t, k, withGPUs(`"mode": "perDevice"`, onOne), policy, perContainer, allNICs, 1)
			nodes := n.numaNodes(Pod{UID: "pod", Resource: resource, Units: 4, Beside: gpu, BesideUnits: 1})
			if !slices.Equal(nodes, []int{want}) {
				t.Errorf("the GPU is on NUMA node 1, the NICs are on %v, want %d", nodes, want)
			}
		})
	}
}

func tooManyForOneNode(t *testing.T, k Kubelet) {
	whole := Pod{UID: "whole", Resource: resource, Units: allNICs, Beside: gpu, BesideUnits: 2}
	eight := Pod{UID: "eight", Resource: resource, Units: 8, Beside: gpu, BesideUnits: 1}
	for policy, admitted := range map[string][]Pod{
		"none":             {whole, eight},
		"best-effort":      {whole, eight},
		"restricted":       {whole}, // its GPUs are on both nodes, as well
		"single-numa-node": {},
	} {
		t.Run(policy, func(t *testing.T) {
			n := startAligned(t, k, withGPUs(`"mode": "perDevice"`, onBoth), policy, perContainer, allNICs, 2)
			for _, pod := range []Pod{whole, eight} {
				if !slices.Contains(admitted, pod) {
					n.refused(pod, noLocality)
					continue
				}
				if nodes := n.numaNodes(pod); len(nodes) != 2 {
					t.Errorf("%s has NICs on the NUMA nodes %v", pod.UID, nodes)
				}
				n.ok(n.manager.Remove(pod))
			}
		})
	}
}

func alignedAcrossContainers(t *testing.T, k Kubelet) {
	for scope, want := range map[string]int{perContainer: 0, perPod: 1} {
		t.Run(scope, func(t *testing.T) {
			n := startAligned(t, k, withGPUs(`"mode": "perDevice"`, onOne), "single-numa-node", scope, allNICs, 1)
			nodes := n.numaNodes(Pod{UID: "pod", Resource: resource, Units: 1, Beside: gpu, BesideUnits: 1, Apart: true})
			if !slices.Equal(nodes, []int{want}) {
				t.Errorf("the GPU is on NUMA node 1, the NIC on %v, want %d", nodes, want)
			}
		})
	}
}

// poolHasNoPlace: a unit of a pool is all NICs.
func poolHasNoPlace(t *testing.T, k Kubelet) {
	n := startAligned(t, k, withGPUs(`"rdmaHcaMax": 8`, onOne), "single-numa-node", perPod, 8, 1)
	n.ok(n.manager.Admit(Pod{UID: "pod", Resource: resource, Units: 8, Beside: gpu, BesideUnits: 1}))
}
