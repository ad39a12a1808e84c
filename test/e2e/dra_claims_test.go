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

// gpuOfAStandInSlice: NICs are allocated by the PCIe roots of GPUs. The GPUs are a
// ResourceSlice that this test writes, and no driver has them: the pod gets a node
// and cannot start.
func gpuOfAStandInSlice(s *site) {
	n := s.nodes[0]
	all, err := s.offered(n)
	s.must(err)
	var gpus []string
	for i, o := range all[:4] {
		gpus = append(gpus, fmt.Sprintf(`{name: gpu-%d, attributes: {resource.kubernetes.io/pcieRoot: {string: %q}}}`, i, o.text("resource.kubernetes.io/pcieRoot")))
	}
	s.apply(fmt.Sprintf(`
apiVersion: resource.k8s.io/v1
kind: ResourceSlice
metadata: {name: stand-in-gpus}
spec: {driver: gpu.stand-in, nodeName: %s, pool: {name: gpus, generation: 1, resourceSliceCount: 1}, devices: [%s]}
---
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: stand-in-gpu}
spec: {selectors: [{cel: {expression: 'device.driver == "gpu.stand-in"'}}]}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: aligned}
spec:
  spec:
    devices:
      requests:
        - {name: gpu, exactly: {deviceClassName: stand-in-gpu, selectors: [{cel: {expression: 'device.attributes["resource.kubernetes.io"].pcieRoot == %q'}}]}}
        - {name: nic, exactly: {deviceClassName: roce-k8s.io}}
      constraints: [{requests: [gpu, nic], matchAttribute: resource.kubernetes.io/pcieRoot}]
`, n.Name, strings.Join(gpus, ", "), all[3].text("resource.kubernetes.io/pcieRoot")))
	s.apply(claiming{name: "aligned", node: n.Name, templates: []string{"aligned"}}.manifest())
	s.eventually(func() error {
		got := s.kubectl("get", "resourceclaims", "-o", "jsonpath={.items[*].status.allocation.devices.results[*].device}")
		if want := "gpu-3 " + all[3].Name; got != want {
			return fmt.Errorf("allocated: %q, want %q", got, want)
		}
		return nil
	})
	s.deletePods("aligned")
	s.kubectl("delete", "resourceslice/stand-in-gpus", "deviceclass/stand-in-gpu", "resourceclaimtemplate/aligned")
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
