package e2e_test

import (
	"fmt"
	"slices"
	"strings"
)

// network is a NetworkAttachmentDefinition that names the resource, so that Multus
// tells the CNI plugin which unit the kubelet gave.
func network(name, nic string) string {
	return fmt.Sprintf(`
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata:
  name: %s
  annotations: {k8s.v1.cni.cncf.io/resourceName: %s}
spec:
  config: '{"cniVersion": "1.0.0", "name": %[1]q, "type": "roce-host-device", "rdma": "none", %[3]s
    "ipam": {"type": "whereabouts", "range": "172.31.0.0/24"}}'
`, name, resource, nic)
}

// namedResourceShared: the unit is "0" to "7" there, and no NIC's address.
func namedResourceShared(s *site) {
	s.apply(network("with-resource", `"device": "ens11np0",`))
	s.start(pod{name: "named", node: "node1", networks: []string{"with-resource"}, units: 1})
	if out := s.hostNICs(s.nodes[0]); strings.Contains(out, "ens11np0") {
		s.Errorf("the NIC is on the host:\n%s", out)
	}
	s.deletePods("named")
	s.expectAllBack()
}

// configure gives the device plugin another configuration. The kubelet looks at
// a ConfigMap again when the pod changes.
func (s *site) configure(config string) {
	s.Helper()
	s.kubectl("patch", "configmap", "rdma-devices", "-n", "kube-system", "--type", "merge", "-p", fmt.Sprintf(`{"data": {"config.json": %q}}`, config))
	s.kubectl("annotate", "pods", "-n", "kube-system", "-l", "app.kubernetes.io/name=roce-k8s", "--overwrite", fmt.Sprintf("e2e/configured=%d", len(config)))
}

const perDeviceConfig = `{"periodicUpdateInterval": 300, "configList": [{"resourceName": "hca_gpu", "mode": "perDevice", "selectors": {"ifNames": ["ens1*np0"]}}]}`

func perDevice(s *site) {
	before := s.kubectl("get", "configmap", "rdma-devices", "-n", "kube-system", "-o", `jsonpath={.data.config\.json}`)
	s.configure(perDeviceConfig)
	for _, n := range s.nodes {
		s.eventually(func() error {
			if out := s.on(n, "curl -s localhost:9817/metrics"); !strings.Contains(out, "config_generation 2") {
				return fmt.Errorf("%s has the old configuration", n.Name)
			}
			return nil
		})
		s.awaitCount(n, 8)
	}
	s.apply(network("rails", ""))
	s.start(
		pod{name: "all", node: "node1", networks: slices.Repeat([]string{"rails"}, 8), units: 8},
		pod{name: "one", node: "node2", networks: []string{"rails"}, units: 1},
	)
	if out := s.hostNICs(s.nodes[0]); strings.Contains(out, "ens") {
		s.Errorf("a NIC is on the host:\n%s", out)
	}
	for name, uverbs := range map[string]int{"all": 8, "one": 1} {
		devices := s.openDevices(name)
		if len(devices) != uverbs+1 || !slices.Contains(devices, "rdma_cm") {
			s.Errorf("%s can open %v, want %d uverbs and rdma_cm", name, devices, uverbs)
		}
	}
	for _, n := range s.nodes {
		s.awaitCount(n, 8)
	}
	s.deletePods("all", "one")
	s.expectAllBack()
	s.configure(before)
	for _, n := range s.nodes {
		s.eventually(func() error {
			if out := s.on(n, "curl -s localhost:9817/metrics"); !strings.Contains(out, "config_generation 3") {
				return fmt.Errorf("%s has the old configuration", n.Name)
			}
			return nil
		})
		s.awaitCount(n, 8)
	}
}

// cdiDevices: the kubelet hands the runtime names, and containerd reads from the
// spec what they stand for.
func cdiDevices(s *site) {
	const spec = "ls /var/run/cdi"
	s.deploy("cdi")
	for _, n := range s.nodes {
		s.awaitCount(n, 8)
		if out := s.on(n, spec); out != "roce-k8s.io-hca.json" {
			s.Errorf("%s has the CDI specs %q", n.Name, out)
		}
	}
	s.start(pod{name: "cdi", node: "node1", units: 1})
	if devices := s.openDevices("cdi"); len(devices) != 3*len(rails)+1 {
		s.Errorf("the pod can open %v", devices)
	}
	s.deletePods("cdi")
	s.deploy("base")
}
