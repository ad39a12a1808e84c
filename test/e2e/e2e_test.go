package e2e_test

import "testing"

// The scenarios follow each other on one cluster. The first starts with nodes that
// have nothing of the project, and leaves them so; the second deploys it. Each of the
// others starts with nodes that have it deployed and no pods, and leaves them so.
func TestOnKubernetes(t *testing.T) {
	s := newSite(t)
	for _, scenario := range []struct {
		name string
		test func(*site)
	}{
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
	} {
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
