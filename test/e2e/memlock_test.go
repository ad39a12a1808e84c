package e2e_test

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/roce-k8s/roce-k8s/test/e2e/cluster"
	"github.com/roce-k8s/roce-k8s/test/e2e/node"
)

// A pinning pod says who it is and how much it may lock, in KiB, and goes on.
func pinning(name, where string, limits ...string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  nodeName: %s
  securityContext: {runAsUser: 1000}
  containers:
    - name: main
      image: ghcr.io/roce-k8s/rdma-tools:1.0.0
      command: [/bin/bash, -c, "echo $UID $(ulimit -l); exec sleep 3600"]
      resources: {limits: {%s}}
`, name, where, strings.Join(limits, ", "))
}

// expectLimit starts a pinning pod and checks what it may lock.
func (s *site) expectLimit(want, name, where string, limits ...string) {
	s.Helper()
	s.apply(pinning(name, where, limits...))
	s.awaitPods(name)
	if out := strings.TrimSpace(s.kubectl("logs", name)); out != "1000 "+want {
		s.Errorf("%s, user and limit: %s, want 1000 %s", name, out, want)
	}
	s.deletePods(name)
}

// mayRaise tells whether a node may raise a limit above this machine's own, which
// takes CAP_SYS_RESOURCE. Nodes have it, test machines may lack it.
func (s *site) mayRaise(n *cluster.Node) bool {
	s.Helper()
	const sysResource = 24
	capabilities, err := strconv.ParseUint(s.on(n, "sed -n 's/CapEff:\t//p' /proc/self/status"), 16, 64)
	s.must(err)
	return capabilities>>sysResource&1 == 1
}

// awaitMemlock waits until containerd asks the plugin, and returns how many
// containers got a limit since that started.
func (s *site) awaitMemlock(n *cluster.Node) (raised int) {
	s.Helper()
	s.eventually(func() error {
		out := s.on(n, "curl -s localhost:9817/metrics | grep ^rdma_device_plugin_memlock_ || true")
		if !strings.Contains(out, "memlock_connected 1") {
			return fmt.Errorf("%s: %s", n.Name, out)
		}
		_, rest, _ := strings.Cut(out, `memlock_containers_total{result="raised"} `)
		count, _, _ := strings.Cut(rest, "\n")
		var err error
		raised, err = strconv.Atoi(count)
		return err
	})
	return raised
}

func memlockRaised(s *site) {
	const lowest = node.Memlock >> 10 // KiB
	n := s.nodes[0]
	s.deploy("memlock")
	want, with := "unlimited", []string{resource + ": 1"}
	if !s.mayRaise(n) {
		// Up to the machine's own limit, by the other kind of limit that there is.
		out := s.on(n, "ulimit -H -l")
		s.kubectl("patch", "-n", "kube-system", "daemonset/roce-k8s", "--type", "json", "-p",
			`[{"op": "replace", "path": "/spec/template/spec/containers/1/args/3", "value": "--memlock-limit=containerMemory"}]`)
		s.kubectl("rollout", "status", "-n", "kube-system", "daemonset/roce-k8s", "--timeout", patience.String())
		want, with = out, append(with, "memory: "+out+"Ki")
	}
	s.awaitCount(n, 8)
	s.awaitMemlock(n)
	s.expectLimit(want, "with-rdma", n.Name, with...)
	s.expectLimit(fmt.Sprint(lowest), "without-rdma", n.Name, with[1:]...)
	if raised := s.awaitMemlock(n); raised != 1 {
		s.Errorf("%d containers got a limit", raised)
	}

	s.must(n.RestartContainerd(s.context()))
	s.awaitMemlock(n)
	s.expectLimit(want, "after-a-restart", n.Name, with...)
	if raised := s.awaitMemlock(n); raised != 2 {
		s.Errorf("%d containers got a limit: the plugin was restarted, too", raised)
	}

	// Without the plugin everything starts, with what there is.
	s.deploy("base")
	s.awaitCount(n, 8)
	s.expectLimit(fmt.Sprint(lowest), "without-the-plugin", n.Name, with...)
}
