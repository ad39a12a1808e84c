package e2e_test

import (
	"os"
	"slices"
	"testing"
)

// A scenario starts with nodes that have the project deployed and no pods, and leaves
// them so; the first starts with nodes that have nothing of it, and the second deploys it.
type scenario struct {
	name string
	test func(*site)
}

// The scenarios follow each other on one cluster.
func TestOnKubernetes(t *testing.T) {
	scenarios := slices.Concat(usual(), claimsInShort())
	if os.Getenv("ROCE_E2E_SCENARIOS") == "dra" {
		scenarios = claimsAtLength()
	}
	s := newSite(t)
	for _, scenario := range scenarios {
		ok := t.Run(scenario.name, func(t *testing.T) {
			sub := s.in(t)
			t.Cleanup(func() {
				if t.Failed() {
					sub.collect()
				}
			})
			scenario.test(sub)
		})
		if !ok {
			break // the others would start from a state that nobody knows
		}
	}
}

func usual() []scenario {
	return []scenario{
		{"the chart comes and goes with Helm", chart},
		{"the manifests deploy the project and the kubelet has its resource", deploys},
		{"the guide's two pods run with eight networks each and the count stays", guidePods},
		{"what discover prints is taken and attaches, and status says who has it", discovers},
		{"a pod without the resource has no access", noResourceNoAccess},
		{"a network may name the resource in shared mode", namedResourceShared},
		{"in mode perDevice one network serves eight rails", perDevice},
		{"with the overlay cdi the runtime gives the devices", cdiDevices},
		{"with the overlay memlock pods with the resource may lock memory", memlockRaised},
		{"pods outlive a kubelet that restarts", kubeletRestarts},
		{"the resource is never lost in a rollout", rollout},
		{"pods outlive a plugin that is killed", pluginKilled},
		{"the driver is loaded again under the plugin and running pods", driverReloads},
		{"a pod that is deleted by force gives everything back", forcedDelete},
		{"a node that lost power has its NICs and addresses again", powerLoss},
		{"from k8s-rdma-shared-dev-plugin and host-device and back with running pods", migration},
	}
}

// The scenarios of the DRA driver begin and end with the device plugin's deployment:
// claimsAtLength takes as long as all the usual ones, claimsInShort is in them.
func claimsInShort() []scenario {
	return []scenario{
		{"the DRA driver takes the device plugin's place", draDeploys},
		{"the guide's pods run by a claim for the extended resource, without their networks and with them", guidePodsByExtendedResource},
		{"a driver that is killed between two steps of a pod's life is not missed", driverKilled},
		{"without the chain no pod with claims starts, and says why", chainLost},
		{"pods in a row over the same eight NICs each have all of them", podsInARow(3)},
		{"and goes again", draLeaves},
	}
}

func claimsAtLength() []scenario {
	return []scenario{
		{"the manifests deploy the project and the kubelet has its resource", deploys},
		{"the DRA driver takes the device plugin's place", draDeploys},
		{"the guide's pods run by a claim for the extended resource, without their networks and with them", guidePodsByExtendedResource},
		{"pods share a node's NICs by claims, and wait for one", claimsShareANode},
		{"a driver that is killed between two steps of a pod's life is not missed", driverKilled},
		{"an attach that is killed is undone", attachKilled},
		{"pods with claims outlive a kubelet and a runtime that restart", claimsOutlive},
		{"without the chain no pod with claims starts, and says why", chainLost},
		{"a claim that is deleted while its pod ends", claimDeleted},
		{"a NIC that is pulled is not allocated until it is back", nicPulled},
		{"pods that end without the API server give their NICs back", withoutAPI},
		{"a node that lost power has NICs and claims as new", claimsLosePower},
		{"pods in a row over the same eight NICs each have all of them", podsInARow(20)},
		{"NICs are allocated by the roots of GPUs of a stand-in slice, or else by their NUMA nodes", gpusOfAStandInSlice},
		{"claims get addresses of Whereabouts, by their class and by their own parameters", addressesOfWhereabouts},
		{"nodes move from the device plugin to the driver and back one by one", nodeByNode},
		{"and goes again", draLeaves},
	}
}
