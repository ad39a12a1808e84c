package e2e_test

import "strings"

// discover is what `discover` prints in the plugin's container on the first node.
func (s *site) discover(flags ...string) string {
	s.Helper()
	plugin := s.kubectl("get", "pods", "-n", "kube-system", "-l", "app.kubernetes.io/name=roce-k8s",
		"--field-selector", "spec.nodeName="+s.nodes[0].Name, "-o", "name")
	return s.kubectl(append([]string{"exec", "-n", "kube-system", strings.TrimSpace(plugin), "--", "/rdma-device-plugin", "discover"}, flags...)...)
}

// discovers: the API server takes all that is printed of a node, and a pod gets the
// rails by it. discover runs in the plugin's container, with its capabilities; status
// on the node, which here has a boot ID of its own that no container sees.
func discovers(s *site) {
	const subnet = "--range=192.168.0.0/24"
	taken, err := s.Apply(s.context(), s.discover(subnet), "--dry-run=server")
	s.must(err)
	if n := strings.Count(taken, "\n"); n != 1+8+1 {
		s.Errorf("%d objects:\n%s", n, taken)
	}
	s.apply(withoutRDMA(s.discover(subnet, "-o=networks")))
	s.start(pod{name: "discovered", node: "node1", networks: []string{"roce-net-1", "roce-net-8"}, units: 1})
	status := s.on(s.nodes[0], "/proc/$(pgrep -x rdma-device-plu)/root/rdma-device-plugin status")
	for _, want := range []string{": ready;", "default/discovered (net1 in ", "default/discovered (net2 in ", "rdma/hca_gpu default/discovered "} {
		if !strings.Contains(strings.Join(strings.Fields(status), " "), want) {
			s.Errorf("the status has no %q:\n%s", want, status)
		}
	}
	s.deletePods("discovered")
	s.expectAllBack()
}
