package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/roce-k8s/roce-k8s/test/e2e/cluster"
)

// driverKilled: no step of a pod's life needs the driver to have lived since the one
// before.
func driverKilled(s *site) {
	n := s.nodes[0]
	pod := claiming{name: "killed", node: n.Name, templates: []string{"all"}}

	// Between Prepare and attach: the pod's own network is made before.
	held, release := s.hold(n, "bridge", "ADD", "eth0")
	s.apply(pod.manifest())
	held()
	s.killDriver(n)
	release()
	s.awaitPods(pod.name)
	s.expectClaimed(pod.name, 8)

	// Between the end of the NICs' attachments, which is the first of the sandbox's
	// network, and Unprepare.
	held, release = s.hold(n, "bridge", "DEL", "eth0")
	s.kubectl("delete", "pod", pod.name, "--grace-period", "1", "--wait=false")
	held()
	s.killDriver(n)
	release()
	s.kubectl("wait", "--for=delete", "pod/"+pod.name, "--timeout", patience.String())
	s.expectNothingLeft()
	s.awaitOffered(n, 8)
}

// attachKilled: the CNI plugin is killed while it has some of a pod's NICs. The next
// sandbox has all of them.
func attachKilled(s *site) {
	n := s.nodes[0]
	held, release := s.hold(n, "host-local", "ADD", "rail*")
	s.apply(claiming{name: "killed", node: n.Name, templates: []string{"all"}}.manifest())
	held()
	s.on(n, "pkill -KILL -x roce-host-devic")
	release()
	s.awaitPods("killed")
	s.expectClaimed("killed", 8)
	s.deletePods("killed")
	s.expectNothingLeft()
}

// claimsOutlive restarts the kubelet and containerd under pods with claims, in order
// and not, and has one end after each.
func claimsOutlive(s *site) {
	a, b := s.nodes[0], s.nodes[1]
	for _, restart := range []func(context.Context) error{a.RestartKubelet, a.KillKubelet, a.RestartContainerd, a.KillContainerd} {
		s.claim(claiming{name: "outlives", node: a.Name, templates: []string{"all"}})
		before := s.lives("outlives")
		s.must(restart(s.context()))
		s.eventually(func() error { _, err := s.exec("outlives", "bash", "-c", "true"); return err })
		begin := time.Now()
		s.awaitOffered(a, 8) // a kubelet that starts takes the slices away
		s.Log("the slices are back after", time.Since(begin))
		if after := s.lives("outlives"); !slices.Equal(before, after) {
			s.Errorf("the pod before: %v\nand after: %v", before, after)
		}
		s.expectClaimed("outlives", 8)
		s.deletePods("outlives")
		s.expectNothingLeft()
	}
	s.awaitOffered(b, 8)
}

// claimsLosePower: NICs and claims of a node that lost power are as new.
func claimsLosePower(s *site) {
	n := s.nodes[0]
	s.claim(claiming{name: "powerless", node: n.Name, templates: []string{"all"}})
	s.losePower()
	for _, n := range s.nodes {
		s.awaitOffered(n, 8)
		s.eventually(func() error { return s.chained(n, true) })
	}
	s.deletePods("powerless")
	s.expectNothingLeft()
	podsInARow(1)(s)
}

// chainLost: without the plugin in the list of the node's network no pod with claims
// starts, says why, and starts once it is there again.
func chainLost(s *site) {
	n := s.nodes[0]
	const stop, goOn = "pkill -STOP -f '" + chainProcess + "'", "pkill -CONT -f '" + chainProcess + "'"
	pod := claiming{name: "unchained", node: n.Name, templates: []string{"half"}}

	// An agent that writes its file anew loses nothing: the plugin is back at once.
	s.on(n, "cp "+conf+" /run/chained; "+unchain)
	s.eventually(func() error { return s.chained(n, true) })

	// Nobody puts it back: the driver prepares nothing.
	s.on(n, stop+"; "+unchain)
	s.apply(pod.manifest())
	s.awaitEvent(pod.name, "roce-host-device is not in the list of plugins")
	s.deletePods(pod.name)
	s.on(n, goOn)
	s.eventually(func() error { return s.chained(n, true) })

	// The runtime has the old list, and nobody knows: containerd reads the folder when
	// a file goes or is written, and not when one comes. No container starts.
	// Source: cniNetConfSyncer.syncLoop in containerd 2.4.2, internal/cri/server.
	s.on(n, stop+"; "+unchain+"; sleep 1; mv /run/chained /etc/cni/chained; mv /etc/cni/chained "+conf)
	s.apply(pod.manifest())
	s.awaitEvent(pod.name, "has 0 of the 4 NICs of claim")
	if ready := s.kubectl("get", "pod", pod.name, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`); ready != "False" {
		s.Errorf("without its NICs the pod is ready: %s", ready)
	}
	s.on(n, goOn+"; touch "+conf+".look; rm "+conf+".look")
	s.deletePods(pod.name)
	s.expectNothingLeft()
	s.claim(pod)
	s.expectClaimed(pod.name, 4)
	s.deletePods(pod.name)
	s.expectNothingLeft()
}

// claimDeleted: somebody takes a claim away, finalizer and all, while its pod ends.
func claimDeleted(s *site) {
	n := s.nodes[0]
	s.claim(claiming{name: "bereft", node: n.Name, templates: []string{"all"}})
	held, release := s.hold(n, "bridge", "DEL", "eth0")
	s.kubectl("delete", "pod", "bereft", "--grace-period", "1", "--wait=false")
	held()
	claim := strings.TrimSpace(s.kubectl("get", "resourceclaims", "-o", "name"))
	s.kubectl("patch", claim, "--type=merge", "-p", `{"metadata": {"finalizers": null}}`)
	s.kubectl("delete", claim, "--wait=false")
	release()
	s.kubectl("wait", "--for=delete", "pod/bereft", "--timeout", patience.String())
	s.expectNothingLeft()
}

// nicPulled: hardware that is gone is not allocated any more, and its place is free
// again once it is back.
func nicPulled(s *site) {
	n := s.nodes[0]
	all, err := s.offered(n)
	s.must(err)
	address, device := all[0].text("resource.kubernetes.io/pciBusID"), all[0].text(driverName+"/rdmaDevice")
	if device == "" {
		device = all[0].text("rdmaDevice")
	}
	const look = "ip link add look type veth peer name look2 && ip link delete look"
	s.on(n, fmt.Sprintf(`mkdir -p /run/pulled && mv "$(readlink -f /sys/bus/pci/devices/%s)" /run/pulled/function && mv /sys/class/infiniband/%s /run/pulled/device && mv /dev/infiniband/uverbs0 /run/pulled && %s`, address, device, look))
	s.awaitOffered(n, 7)
	s.apply(claiming{name: "waits", node: n.Name, templates: []string{"all"}}.manifest())
	s.expectPending("waits")
	s.on(n, fmt.Sprintf(`mv /run/pulled/function "$(readlink -m /sys/bus/pci/devices/%s)" && mv /run/pulled/device /sys/class/infiniband/%s && mv /run/pulled/uverbs0 /dev/infiniband && %s`, address, device, look))
	s.awaitOffered(n, 8)
	s.awaitPods("waits")
	s.expectClaimed("waits", 8)
	s.deletePods("waits")
	s.expectNothingLeft()
}

// withoutAPI: pods that end while the API server is away give their NICs back then.
func withoutAPI(s *site) {
	n := s.nodes[0]
	s.claim(claiming{name: "ends", node: n.Name, templates: []string{"all"}, command: "sleep 4711", more: "  restartPolicy: Never\n"})
	s.must(s.WithoutAPI(s.context(), func() {
		s.on(n, "pkill -KILL -f '^sleep 4711'")
		s.must(s.nicsOf(n, 8))
	}))
	s.kubectl("wait", "pod/ends", "--for=jsonpath={.status.phase}=Failed", "--timeout", patience.String())
	s.deletePods("ends")
	s.expectNothingLeft()
	for _, n := range s.nodes {
		s.awaitOffered(n, 8)
	}
}

// nicsOf waits until a node has so many of its NICs, up.
func (s *site) nicsOf(n *cluster.Node, want int) error {
	return cluster.Eventually(s.context(), func() error {
		out, err := n.Run(s.context(), "ip -o link show up | grep -c ' ens.*mtu 9000'")
		if err == nil && strings.TrimSpace(out) != fmt.Sprint(want) {
			err = errors.New(n.Name + " has back " + out)
		}
		return err
	})
}

// nodeByNode moves the nodes from the device plugin to the driver and back, one at a
// time, under running pods: no node offers a NIC both ways, and the pods' manifests
// stay as they are.
func nodeByNode(s *site) {
	s.serveBy(plugin, s.nodes...)
	for _, n := range s.nodes {
		s.awaitOffered(n, 0)
		s.awaitCount(n, 8)
	}
	s.startGuidePods()
	before := s.lives(guidePod1, guidePod2)
	first := s.nodes[slices.IndexFunc(s.nodes, func(n *cluster.Node) bool {
		return n.Name == s.kubectl("get", "pod", guidePod1, "-o", "jsonpath={.spec.nodeName}")
	})]

	// There, the pods go on. What they have is offered, and not to be had.
	s.serveBy(driver, first)
	s.awaitCount(first, 0)
	s.eventually(func() error {
		all, err := s.offered(first)
		taken := slices.DeleteFunc(slices.Clone(all), func(o offer) bool { return !o.has("roce-k8s.io/taken") })
		if err == nil && (len(all) != 8 || len(taken) != 8) {
			err = fmt.Errorf("%s offers %d devices, of which %d are taken", first.Name, len(all), len(taken))
		}
		return err
	})
	if after := s.lives(guidePod1, guidePod2); !slices.Equal(before, after) {
		s.Errorf("the pods before: %v\nand after: %v", before, after)
	}
	s.expectRails(guidePod1, guidePod2)

	// The next pod on that node is the driver's, the other one the device plugin's.
	s.deletePods(guidePod1)
	s.awaitOffered(first, 8)
	s.startGuidePods()
	s.expectRails(guidePod1, guidePod2)
	if claims := s.kubectl("get", "resourceclaims", "-o", "name"); strings.Count(claims, "\n") != 1 {
		s.Errorf("the claims are\n%s", claims)
	}

	// And back.
	before = s.lives(guidePod1, guidePod2)
	s.serveBy(plugin, first)
	s.awaitOffered(first, 0)
	s.awaitCount(first, 8)
	if after := s.lives(guidePod1, guidePod2); !slices.Equal(before, after) {
		s.Errorf("the pods before: %v\nand after: %v", before, after)
	}
	s.expectRails(guidePod1, guidePod2)
	s.deletePods(guidePod2)
	s.kubectl("delete", "pod", guidePod1, "--grace-period", "1", "--wait=false")
	s.must(s.nicsOf(first, 8))
	// Kubernetes asks the driver to end the claim, and waits for it.
	s.serveBy(driver, first)
	s.kubectl("wait", "--for=delete", "pod/"+guidePod1, "--timeout", patience.String())
	s.expectNothingLeft()
}
