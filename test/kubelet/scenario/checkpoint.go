package scenario

import (
	"slices"
	"strconv"
	"testing"
)

// oldCheckpoint is the day on which this plugin takes over from
// k8s-rdma-shared-dev-plugin: eight pods have a unit each.
func oldCheckpoint(t *testing.T, k Kubelet) {
	n := newNode(t, k, 8, shared(10, ""))
	var pods []Pod
	var held []Held
	var ids []string
	for i := range 8 {
		id := strconv.Itoa(i)
		pod := Pod{UID: "pod-" + id, Resource: resource, Units: 1, Running: true}
		pods, ids = append(pods, pod), append(ids, id)
		held = append(held, Held{Pod: pod, IDs: []string{id}, Devices: n.allDevices()})
	}
	n.ok(k.Checkpoint(n.folder(), map[string][]string{resource: ids}, held))
	n.startKubelet(pods...)
	for _, pod := range pods {
		n.served(pod, n.allDevices())
	}
	n.startPlugin()
	n.awaitCount(resource, Count{10, 10})
	for i, pod := range pods {
		// Its container starts again, or the whole pod is looked at again.
		n.admit(pod, n.allDevices())
		is, err := n.manager.Held(pod)
		n.ok(err)
		if want := []string{strconv.Itoa(i)}; !slices.Equal(is, want) {
			t.Errorf("%s holds %v, want %v", pod.UID, is, want)
		}
	}
	n.refused(n.guest(resource, 3), "Requested: 3, Available: 2")
	n.admit(n.guest(resource, 2), n.allDevices())
}

// containerRestarts: after its own restart the kubelet refuses a container
// that does not run and whose units are unknown or unhealthy.
func containerRestarts(t *testing.T, k Kubelet) {
	n := newNode(t, k, 8, shared(8, ""))
	n.startKubelet()
	n.startPlugin()
	n.awaitCount(resource, Count{8, 8})
	one, rest := Pod{UID: "one", Resource: resource, Units: 1}, Pod{UID: "rest", Resource: resource, Units: 7}
	n.admit(one, n.allDevices())
	n.admit(rest, n.allDevices())
	before, err := n.manager.Held(one)
	n.ok(err)

	n.restartKubelet(one, rest)
	n.awaitCount(resource, Count{8, 8})
	n.admit(one, n.allDevices())
	n.plugin.terminate(t)
	n.awaitCount(resource, Count{8, 0})
	n.served(one, n.allDevices())
	n.startPlugin()
	n.awaitCount(resource, Count{8, 8})
	n.restartKubelet(one, rest)
	n.awaitCount(resource, Count{8, 8})
	n.admit(one, n.allDevices())
	n.admit(rest, n.allDevices())
	after, err := n.manager.Held(one)
	n.ok(err)
	if !slices.Equal(before, after) {
		t.Errorf("the pod held %v and now %v", before, after)
	}
	n.refused(n.guest(resource, 1), "Requested: 1, Available: 0")
}

// nicsInPods moves the NICs to other namespaces, first as netdevs only and
// then with their RDMA devices, as in both modes of the RDMA subsystem.
func nicsInPods(t *testing.T, k Kubelet) {
	n := newNode(t, k, 8, perDevice)
	n.startKubelet()
	n.startPlugin()
	n.awaitCount(resource, Count{8, 8})
	pod := Pod{UID: "pod", Resource: resource, Units: 8}
	n.nicsOf(pod)
	for _, h := range n.hcas {
		n.ok(n.tree.TakeNetdev(h))
	}
	n.stays(resource, Count{8, 8}, unsettled)
	for _, h := range n.hcas[:4] {
		n.ok(n.tree.TakeRDMA(h))
	}
	n.stays(resource, Count{8, 8}, unsettled)

	n.plugin.terminate(t)
	n.awaitCount(resource, Count{8, 0})
	n.startPlugin()
	n.awaitCount(resource, Count{8, 8})
	n.restartKubelet(pod)
	n.awaitCount(resource, Count{8, 8})
	n.admit(pod, devicesOf(n.hcas, "uverbs"))

	for _, h := range n.hcas {
		n.ok(n.tree.ReturnNetdev(h))
	}
	for _, h := range n.hcas[:4] {
		n.ok(n.tree.ReturnRDMA(h))
	}
	n.stays(resource, Count{8, 8}, unsettled)
}
