package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// draDeploys takes the device plugin off the nodes and deploys the driver: each node
// offers its NICs, and its own network has the CNI plugin in its list.
func draDeploys(s *site) {
	s.kubectl("apply", "-k", filepath.Join(os.Getenv("ROCE_E2E_ROOT"), "test/e2e/manifests/dra"))
	s.serveBy(driver, s.nodes...)
	for _, daemonSet := range []string{"roce-k8s", driverDaemonSet} {
		s.kubectl("rollout", "status", "-n", "kube-system", "daemonset/"+daemonSet, "--timeout", patience.String())
	}
	for _, n := range s.nodes {
		s.awaitOffered(n, 8)
		s.eventually(func() error { return s.chained(n, true) })
		// Kubernetes takes all of them: pcieRoot is what a claim aligns GPUs by.
		all, err := s.offered(n)
		s.must(err)
		for _, o := range all {
			if o.text("resource.kubernetes.io/pcieRoot") == "" || o.text("k8s.cni.cncf.io/resourceName") != resource {
				s.Errorf("%s offers %s without its root or its resource: %v", n.Name, o.Name, o.Attributes)
			}
		}
		for _, process := range []string{driverProcess, chainProcess} {
			if out := s.on(n, "grep CapEff /proc/$(pgrep -f '"+process+"')/status"); !strings.HasSuffix(out, "0000000000000000") {
				s.Errorf("%s: the capabilities of %s: %s", n.Name, process, out)
			}
		}
	}
	s.template("all", 8, "")
	s.template("half", 4, "")
	s.template("first", 1, fmt.Sprintf(`device.attributes[%q].rail == 0`, driverName))
}

// draLeaves is the way back.
func draLeaves(s *site) {
	s.serveBy(plugin, s.nodes...)
	for _, n := range s.nodes {
		s.awaitOffered(n, 0)
		s.awaitCount(n, 8)
		s.eventually(func() error { return s.chained(n, false) })
	}
	s.kubectl("delete", "-k", filepath.Join(os.Getenv("ROCE_E2E_ROOT"), "test/e2e/manifests/dra"))
	s.kubectl("delete", "resourceclaimtemplates", "--all")
	s.deploy("base")
	for _, n := range s.nodes {
		s.awaitCount(n, 8)
	}
}

// withoutNetworks are the guide's pods without the annotation that asks for networks.
func withoutNetworks(pods string) string {
	return regexp.MustCompile(`(?m)^  annotations:\n(    .*\n)+`).ReplaceAllString(pods, "")
}

// guidePodsByExtendedResource: the guide's pods as they are get their NICs by a claim
// that the scheduler makes, and, with their networks, from Multus all the same.
func guidePodsByExtendedResource(s *site) {
	for _, n := range s.nodes {
		s.must(n.AdvertiseGPUs(s.context()))
	}
	s.apply(withoutNetworks(s.file("deployments/examples/guide-pods.yaml")))
	s.awaitPods(guidePod1, guidePod2)
	for _, pod := range []string{guidePod1, guidePod2} {
		s.expectClaimed(pod, 8)
	}
	s.deletePods(guidePod1, guidePod2)
	s.expectNothingLeft()

	s.startGuidePods()
	s.expectRails(guidePod1, guidePod2)
	for _, pod := range []string{guidePod1, guidePod2} {
		if names := s.claimed(pod); len(names) > 0 {
			s.Errorf("%s has %v beside its networks' interfaces", pod, names)
		}
		if devices := s.openDevices(pod); len(devices) < 8 {
			s.Errorf("%s can open %v", pod, devices)
		}
	}
	s.deletePods(guidePod1, guidePod2)
	s.expectNothingLeft()
}

// claimsShareANode: a pod has all eight, then two pods half a node each and a third
// none, and of two that want the same NIC one waits for the other.
func claimsShareANode(s *site) {
	node := s.nodes[0].Name
	s.claim(claiming{name: "all", node: node, templates: []string{"all"}})
	s.expectClaimed("all", 8)
	s.deletePods("all")
	s.expectNothingLeft()

	s.claim(
		claiming{name: "half1", node: node, templates: []string{"half"}},
		claiming{name: "half2", node: node, templates: []string{"half"}},
	)
	s.expectClaimed("half1", 4)
	s.expectClaimed("half2", 4)
	both := append(s.claimed("half1"), s.claimed("half2")...)
	slices.Sort(both)
	if len(slices.Compact(both)) != 8 {
		s.Errorf("both have %v", both)
	}
	s.apply(claiming{name: "half3", node: node, templates: []string{"half"}}.manifest())
	s.expectPending("half3")
	s.deletePods("half1")
	s.awaitPods("half3")
	s.expectClaimed("half3", 4)
	s.deletePods("half2", "half3")
	s.expectNothingLeft()

	for _, name := range []string{"rival1", "rival2"} {
		s.apply(claiming{name: name, node: node, templates: []string{"first"}}.manifest())
	}
	winner, loser := "rival1", "rival2"
	s.eventually(func() error {
		ready, err := s.Kubectl(s.context(), "get", "pod", winner, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		if err == nil && ready != "True" {
			winner, loser = loser, winner // look at the other one next
			err = fmt.Errorf("neither %s nor %s is ready", winner, loser)
		}
		return err
	})
	s.expectPending(loser)
	s.deletePods(winner)
	s.awaitPods(loser)
	s.expectClaimed(loser, 1)
	s.deletePods(loser)
	s.expectNothingLeft()
}

// exampleOfClaims applies the example's class and templates, for a kernel without
// RDMA, and returns its pod.
func (s *site) exampleOfClaims() (pod string) {
	s.Helper()
	const parameters, kind = "        parameters:\n", "apiVersion: v1\nkind: Pod\n"
	claims, pod, found := strings.Cut(s.file("deployments/examples/dra.yaml"), kind)
	if !found || !strings.Contains(claims, parameters) {
		s.Fatal("the example has no pod, or its class no parameters")
	}
	s.apply(strings.Replace(claims, parameters, parameters+"          rdma: none\n", 1))
	return kind + pod
}

// addressesOfWhereabouts: they come by the parameters of a claim's class, or by its
// own, and are free when the pod is gone.
func addressesOfWhereabouts(s *site) {
	s.apply(s.exampleOfClaims())
	s.awaitPods("half-a-node")
	s.expectClaimed("half-a-node", 4)
	s.expectTaken("half-a-node", 4)
	s.deletePods("half-a-node")
	s.expectNothingLeft()

	s.apply(`
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: pooled}
spec:
  spec:
    devices:
      requests: [{name: nics, exactly: {deviceClassName: roce-k8s.io, count: 2}}]
      config: [{opaque: {driver: roce-k8s.io, parameters: {ipam: {type: whereabouts, range: 172.31.32.0/24}}}}]
`)
	s.claim(claiming{name: "pooled", node: s.nodes[0].Name, templates: []string{"pooled"}})
	s.expectClaimed("pooled", 2)
	s.expectTaken("pooled", 2)
	out, err := s.exec("pooled", "ip", "-o", "-4", "addr", "show", "up")
	s.must(err)
	if strings.Count(out, " inet 172.31.32.") != 2 {
		s.Errorf("the class has the last word, and not the claim:\n%s", out)
	}
	s.deletePods("pooled")
	s.expectNothingLeft()
	s.kubectl("delete", "deviceclass/roce-rails", "resourceclaimtemplate/pooled")
}

// expectTaken checks that a pod has so many addresses of Whereabouts.
func (s *site) expectTaken(pod string, want int) {
	s.Helper()
	taken := s.kubectl("get", "ippools.whereabouts.cni.cncf.io", "-A", "-o", "jsonpath={.items[*].spec.allocations.*.podref}")
	if have := strings.Fields(taken); len(have) != want || slices.ContainsFunc(have, func(ref string) bool { return ref != "default/"+pod }) {
		s.Errorf("addresses of %v, want %d of %s", have, want, pod)
	}
}

// gpusOfAStandInSlice: NICs are allocated by the PCIe roots of GPUs, and, where there
// is none left, by their NUMA nodes. The GPUs are a ResourceSlice that this test
// writes, and no driver has them: the pods get a node and cannot start.
func gpusOfAStandInSlice(s *site) {
	n := s.nodes[0]
	all, err := s.offered(n)
	s.must(err)
	s.exampleOfClaims()
	s.apply(fmt.Sprintf(`
apiVersion: resource.k8s.io/v1
kind: ResourceSlice
metadata: {name: stand-in-gpus}
spec:
  driver: gpu.stand-in
  nodeName: %s
  pool: {name: gpus, generation: 1, resourceSliceCount: 1}
  devices:
    - {name: gpu-0, attributes: &at {resource.kubernetes.io/pcieRoot: {string: %q}, resource.kubernetes.io/numaNode: {int: 1}}}
    - {name: gpu-1, attributes: *at}
---
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: gpu.nvidia.com}
spec: {selectors: [{cel: {expression: 'device.driver == "gpu.stand-in"'}}]}
`, n.Name, all[6].text("resource.kubernetes.io/pcieRoot")))
	want := ""
	for _, pod := range []struct{ name, gpu, nic string }{{"near", "gpu-0", "same-root=" + all[6].Name}, {"nearby", "gpu-1", "same-numa=" + all[4].Name}} {
		s.apply(claiming{name: pod.name, node: n.Name, templates: []string{"gpu-and-near-nic"}}.manifest())
		want += fmt.Sprintf("gpu=%s nic/%s ", pod.gpu, pod.nic)
		s.eventually(func() error {
			got := s.kubectl("get", "resourceclaims", "-o", `jsonpath={range .items[*].status.allocation.devices.results[*]}{.request}={.device} {end}`)
			if got != want {
				return fmt.Errorf("allocated: %q, want %q", got, want)
			}
			return nil
		})
	}
	s.deletePods("near", "nearby")
	s.kubectl("delete", "resourceslice/stand-in-gpus", "deviceclass/gpu.nvidia.com", "deviceclass/roce-rails")
	s.expectNothingLeft()
}

// podsInARow: each pod follows at once upon the one before, and has all NICs.
func podsInARow(count int) func(*site) {
	return func(s *site) {
		for i := range count {
			name := fmt.Sprintf("row%d", i)
			s.claim(claiming{name: name, node: s.nodes[0].Name, templates: []string{"all"}})
			s.expectClaimed(name, 8)
			s.deletePods(name)
		}
		s.expectNothingLeft()
	}
}
