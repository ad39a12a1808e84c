package e2e_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

const (
	guidePod1 = "gpu-rdma-pod-1"
	guidePod2 = "gpu-rdma-pod-2"
)

// networks applies the guide's networks as the examples have them, for a kernel
// without RDMA.
func (s *site) networks() {
	s.Helper()
	s.apply(withoutRDMA(s.file("deployments/examples/guide-networks.yaml")))
}

// withoutRDMA takes networks, or the chart's values for some.
func withoutRDMA(networks string) string {
	const object, value = `"type": "roce-host-device",`, "      type: roce-host-device\n"
	return strings.NewReplacer(object, object+` "rdma": "none",`, value, value+"      rdma: none\n").Replace(networks)
}

// startGuidePods starts the guide's pods and waits until they run.
func (s *site) startGuidePods() {
	s.Helper()
	for _, n := range s.nodes {
		s.must(n.AdvertiseGPUs(s.context()))
	}
	s.networks()
	s.apply(s.file("deployments/examples/guide-pods.yaml"))
	s.awaitPods(guidePod1, guidePod2)
}

func (s *site) awaitPods(names ...string) {
	s.Helper()
	s.kubectl(append([]string{"wait", "--for", "condition=Ready", "--timeout", patience.String(), "pod"}, names...)...)
}

// deletePods deletes pods in order, without the half minute that a shell with
// process ID 1 takes to ignore SIGTERM.
func (s *site) deletePods(names ...string) {
	s.Helper()
	s.kubectl(append([]string{"delete", "pod", "--grace-period", "1"}, names...)...)
}

// A life is what changes when a pod does not simply go on.
type life struct{ UID, Containers string }

func (s *site) lives(pods ...string) []life {
	s.Helper()
	var lives []life
	for _, pod := range pods {
		var p struct {
			Metadata struct{ UID string }
			Status   struct {
				Phase             string
				ContainerStatuses []struct {
					ContainerID  string
					RestartCount int
				}
			}
		}
		s.must(json.Unmarshal([]byte(s.kubectl("get", "pod", pod, "-o", "json")), &p))
		lives = append(lives, life{p.Metadata.UID, fmt.Sprint(p.Status.Phase, p.Status.ContainerStatuses)})
	}
	return lives
}

// unharmed does something to the nodes while the guide's pods run, and checks
// that they go on with all that they have.
func (s *site) unharmed(what func()) {
	s.Helper()
	s.startGuidePods()
	before := s.lives(guidePod1, guidePod2)
	what()
	for _, n := range s.nodes {
		s.awaitCount(n, 8)
	}
	if after := s.lives(guidePod1, guidePod2); !slices.Equal(before, after) {
		s.Errorf("the pods before: %v\nand after: %v", before, after)
	}
	s.expectRails(guidePod1, guidePod2)
	s.deletePods(guidePod1, guidePod2)
	s.expectAllBack()
}

// expectRails checks what the guide shows of its pods, and that packets of 9000
// bytes pass on every rail between them.
func (s *site) expectRails(pods ...string) {
	s.Helper()
	addresses := make([][]string, len(pods))
	for i, pod := range pods {
		for rail := 1; rail <= len(rails); rail++ {
			out, err := s.exec(pod, "ip", "-o", "-4", "addr", "show", "up", "dev", fmt.Sprintf("net%d", rail))
			s.must(err)
			_, rest, _ := strings.Cut(out, "inet ")
			address, _, _ := strings.Cut(rest, "/24")
			if !strings.HasPrefix(address, fmt.Sprintf("172.31.%d.", rail)) {
				s.Fatalf("%s has on net%d: %s", pod, rail, out)
			}
			addresses[i] = append(addresses[i], address)
		}
		out, err := s.exec(pod, "bash", "-c", "cat /sys/class/net/net*/mtu | grep -c '^9000$'; cat /sys/class/net/net*/operstate | grep -c '^up$'")
		s.must(err)
		if out != "8\n8\n" {
			s.Errorf("%s has with MTU 9000, and up:\n%s", pod, out)
		}
	}
	for rail, address := range addresses[1] {
		if out, err := s.exec(pods[0], "ping", "-c", "1", "-W", "5", "-M", "do", "-s", "8972", "-I", fmt.Sprintf("net%d", rail+1), address); err != nil {
			s.Errorf("rail %d: %v\n%s", rail+1, err, out)
		}
	}
}

// openDevices lists the character devices that a pod can open.
func (s *site) openDevices(pod string) []string {
	s.Helper()
	out, err := s.exec(pod, "bash", "-c", `cd /dev/infiniband && for d in *; do ( exec 3<>"$d" ) && echo "$d"; done`)
	s.must(err)
	return strings.Fields(out)
}

func guidePods(s *site) {
	s.startGuidePods()
	s.expectRails(guidePod1, guidePod2)
	for _, pod := range []string{guidePod1, guidePod2} {
		devices := s.openDevices(pod)
		for i := range rails {
			for _, kind := range []string{"uverbs", "umad", "issm"} {
				if name := fmt.Sprint(kind, i); !slices.Contains(devices, name) {
					s.Errorf("%s cannot open %s, only %v", pod, name, devices)
				}
			}
		}
	}
	for _, n := range s.nodes {
		s.awaitCount(n, 8)
		if out := s.on(n, "curl -s localhost:9817/metrics"); !strings.Contains(out, `state="pod"} 8`) {
			s.Errorf("%s: no metric says that pods have eight devices:\n%s", n.Name, out)
		}
	}
	s.deletePods(guidePod1, guidePod2)
	s.expectAllBack()
}

// A pod describes a pod of the tests.
type pod struct {
	name, node string
	networks   []string
	units      int
}

func (p pod) manifest() string {
	limits := ""
	if p.units > 0 {
		limits = fmt.Sprintf("%s: %d", resource, p.units)
	}
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata:
  name: %s
  annotations: {k8s.v1.cni.cncf.io/networks: %q}
spec:
  nodeName: %s
  containers:
    - name: rdma-tools
      image: ghcr.io/roce-k8s/rdma-tools:1.0.0
      command: [/bin/bash, -c, sleep 3600]
      resources: {limits: {%s}}
`, p.name, strings.Join(p.networks, ","), p.node, limits)
}

func (s *site) start(pods ...pod) {
	s.Helper()
	for _, p := range pods {
		s.apply(p.manifest())
	}
	for _, p := range pods {
		s.awaitPods(p.name)
	}
}

func noResourceNoAccess(s *site) {
	s.start(pod{name: "plain", node: "node1"})
	const script = `ls /dev/infiniband; mknod /tmp/device c 4 20; exec 3<>/tmp/device`
	if out, err := s.exec("plain", "bash", "-c", script); err == nil || !strings.Contains(err.Error(), "Operation not permitted") {
		s.Errorf("%v: %s", err, out)
	}
	s.deletePods("plain")
}
