package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// oldPlugin is the real k8s-rdma-shared-dev-plugin's own DaemonSet, changed where
// this machine wants it: it ends where it cannot ask for the RDMA mode, unless an
// old kernel's error says why, which a seccomp profile gives; a privileged
// container would have none.
func (s *site) oldPlugin() string {
	s.Helper()
	found, err := filepath.Glob(filepath.Join(os.Getenv("ROCE_E2E_PEERS"), "shared-device-plugin@*/manifests/daemonset.yaml"))
	s.must(err)
	if len(found) != 1 {
		s.Fatal("no manifest of k8s-rdma-shared-dev-plugin")
	}
	b, err := os.ReadFile(found[0])
	s.must(err)
	for _, n := range s.nodes {
		s.on(n, `mkdir -p /var/lib/kubelet/seccomp; cat >/var/lib/kubelet/seccomp/old-kernel.json <<'EOF'
{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{
  "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22,
  "args": [{"index": 0, "value": 16, "op": "SCMP_CMP_EQ"}, {"index": 2, "value": 20, "op": "SCMP_CMP_EQ"}]}]}
EOF`)
	}
	manifest := strings.NewReplacer(
		"privileged: true", "{capabilities: {add: [NET_ADMIN]}, seccompProfile: {type: Localhost, localhostProfile: old-kernel.json}}",
		"securityContext:\n          ", "securityContext: ",
		"      volumes:\n", "      volumes:\n        - {name: sys, hostPath: {path: /sys}}\n",
		"        volumeMounts:\n", "        volumeMounts:\n          - {name: sys, mountPath: /sys, readOnly: true}\n",
		"image: ghcr.io/mellanox/k8s-rdma-shared-dev-plugin\n", "image: ghcr.io/mellanox/k8s-rdma-shared-dev-plugin:v1.5.3\n",
	).Replace(string(b))
	return manifest
}

// hostDevice is a network as the guide has it.
func hostDevice(name, nic string) string {
	return strings.Replace(strings.Replace(network(name, fmt.Sprintf(`"device": %q,`, nic)), `"type": "roce-host-device", "rdma": "none"`, `"type": "host-device"`, 1),
		"annotations: {k8s.v1.cni.cncf.io/resourceName: "+resource+"}", "annotations: {}", 1)
}

// migration swaps the two projects under running pods, there and back, as
// docs/migrating.md says.
func migration(s *site) {
	theirs, n := s.oldPlugin(), s.nodes[0]
	s.remove("roce-k8s")
	s.apply(theirs)
	s.awaitCount(n, 8)

	// A pod of the old days, with its NIC moved by host-device.
	s.apply(hostDevice("old-rail", "ens12np0"))
	s.start(pod{name: "old", node: n.Name, networks: []string{"old-rail"}, units: 2})
	old := s.lives("old")

	// There: the other plugin goes, ours comes. The pod goes on.
	s.remove("rdma-shared-dp-ds")
	s.deploy("base")
	s.awaitCount(n, 8)
	s.expectUnharmed("old", old)

	// The network changes one word; the next pod gets its NIC from us.
	s.apply(network("new-rail", `"device": "ens11np0",`))
	s.start(pod{name: "new", node: n.Name, networks: []string{"new-rail"}, units: 2})
	fresh := s.lives("new")

	// And back. Both pods go on, and each plugin takes its own NIC back.
	s.remove("roce-k8s")
	s.apply(theirs)
	s.awaitCount(n, 8)
	s.expectUnharmed("old", old)
	s.expectUnharmed("new", fresh)
	s.deletePods("old", "new")
	s.on(n, "ip link set ens12np0 up") // host-device leaves it down
	s.expectAllBack()

	s.remove("rdma-shared-dp-ds")
	s.deploy("base")
	s.awaitCount(n, 8)
}

// remove removes a device plugin, and waits until the cluster knows: the units
// that it offered stay, unhealthy.
func (s *site) remove(daemonSet string) {
	s.Helper()
	s.kubectl("delete", "-n", "kube-system", "daemonset/"+daemonSet, "--wait")
	for _, n := range s.nodes {
		s.awaitCount(n, 0)
	}
}

// expectUnharmed checks that a pod goes on as it was, and can still open its
// devices.
func (s *site) expectUnharmed(pod string, before []life) {
	s.Helper()
	if after := s.lives(pod); after[0] != before[0] {
		s.Errorf("%s was %v and is %v", pod, before, after)
	}
	if devices := s.openDevices(pod); len(devices) == 0 {
		s.Errorf("%s can open no device", pod)
	}
}
