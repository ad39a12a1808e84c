package scenario

import (
	"fmt"
	"maps"
	"testing"
	"time"
)

// unsettled is longer than the plugin waits before it believes what it sees of
// a device's health.
const unsettled = 4 * time.Second

func poolHealth(t *testing.T, k Kubelet) {
	n := newNode(t, k, 8, shared(8, `, "healthPolicy": "link"`))
	n.startKubelet()
	n.startPlugin()
	n.awaitCount(resource, Count{8, 8})
	pod := Pod{UID: "pod", Resource: resource, Units: 1}
	n.admit(pod, n.allDevices())

	for _, h := range n.hcas[1:] {
		n.ok(n.tree.SetPort(h, "DOWN", "Disabled"))
	}
	n.stays(resource, Count{8, 8}, unsettled)
	n.ok(n.tree.SetPort(n.hcas[0], "DOWN", "Disabled"))
	t.Logf("unhealthy %s after the last port went down", n.awaitCount(resource, Count{8, 0}))
	n.refused(n.guest(resource, 1), "no healthy devices present")
	n.served(pod, n.allDevices())
	n.ok(n.tree.SetPort(n.hcas[5], "ACTIVE", "LinkUp"))
	t.Logf("healthy %s after a port came up", n.awaitCount(resource, Count{8, 8}))
	n.awaitUse(resource, 7)

	n.configure(shared(8, "")) // that is healthPolicy present
	for _, h := range n.hcas {
		n.ok(n.tree.RemoveCharDevices(h))
	}
	n.awaitCount(resource, Count{8, 0})
	n.ok(n.tree.Add(n.hcas...))
	n.awaitCount(resource, Count{8, 8})
	n.awaitUse(resource, 7)
}

func perDeviceHealth(t *testing.T, k Kubelet) {
	n := newNode(t, k, 8, perDevice)
	n.startKubelet()
	n.startPlugin()
	n.awaitCount(resource, Count{8, 8})
	n.ok(n.tree.SetPort(n.hcas[2], "DOWN", "Disabled"))
	n.awaitCount(resource, Count{8, 7})
	n.refused(n.guest(resource, 8), "Requested: 8, Available: 7")
	n.awaitUse(resource, 7)
	n.ok(n.tree.SetPort(n.hcas[2], "ACTIVE", "LinkUp"))
	n.awaitCount(resource, Count{8, 8})
	n.awaitUse(resource, 8)
}

// healthInStatus is KEP-4680, on by default from 1.36: whoever watches a pod
// sees that its NIC is unhealthy.
func healthInStatus(t *testing.T, k Kubelet) {
	n := newNode(t, k, 8, perDevice)
	n.startKubelet()
	n.startPlugin()
	n.awaitCount(resource, Count{8, 8})
	pod := Pod{UID: "pod", Resource: resource, Units: 8}
	n.ok(n.manager.Admit(pod))
	expect := func(ill ...string) {
		t.Helper()
		want := map[string]string{}
		for _, h := range n.hcas {
			want[h.PCI] = "Healthy"
		}
		for _, id := range ill {
			want[id] = "Unhealthy"
		}
		n.await(fmt.Sprintf("a status with %v unhealthy", ill), func() bool {
			is, err := n.manager.Health(pod)
			n.ok(err)
			return maps.Equal(is, want)
		})
	}
	expect()
	down, pulled := n.hcas[2], n.hcas[5]
	n.ok(n.tree.SetPort(down, "DOWN", "Disabled"))
	expect(down.PCI)
	n.ok(n.tree.Unplug(pulled))
	expect(down.PCI, pulled.PCI)
	n.ok(n.tree.Add(pulled))
	n.ok(n.tree.SetPort(down, "ACTIVE", "LinkUp"))
	expect()
}
