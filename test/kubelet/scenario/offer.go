package scenario

import (
	"fmt"
	"slices"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func poolGivesItsUnits(t *testing.T, k Kubelet) {
	n := newNode(t, k, 8, shared(8, ""))
	n.startKubelet()
	n.startPlugin()
	t.Logf("the resource is there %s after the plugin's start", n.awaitCount(resource, Count{8, 8}))

	one := Pod{UID: "one", Resource: resource, Units: 1}
	n.admit(one, n.allDevices())
	n.refused(n.guest(resource, 8), "Requested: 8, Available: 7")
	others := Pod{UID: "others", Resource: resource, Units: 7}
	n.admit(others, n.allDevices())
	n.refused(n.guest(resource, 1), "Requested: 1, Available: 0")

	n.ok(n.manager.Remove(one))
	n.ok(n.manager.Remove(others))
	all := Pod{UID: "all", Resource: resource, Units: 8}
	n.admit(all, n.allDevices())
	held, err := n.manager.Held(all)
	n.ok(err)
	slices.Sort(held)
	if want := []string{"0", "1", "2", "3", "4", "5", "6", "7"}; !slices.Equal(held, want) {
		t.Errorf("a pod with all units holds %v", held)
	}
}

const perDevice = `{"periodicUpdateInterval": 1, "configList": [{"resourceName": "hca_gpu", "mode": "perDevice", "env": true,
	"healthPolicy": "link", "selectors": {"drivers": ["mlx5_core"]}}]}`

func perDeviceGivesItsNIC(t *testing.T, k Kubelet) {
	n := newNode(t, k, 16, perDevice)
	n.startKubelet()
	n.startPlugin()
	n.awaitCount(resource, Count{16, 16})

	pod := Pod{UID: "one", Resource: resource, Units: 1}
	n.nicsOf(pod)
	o, err := n.manager.Options(pod)
	n.ok(err)
	if o.Envs["NCCL_IB_HCA"] == "" {
		t.Errorf("no NCCL_IB_HCA in %v", o.Envs)
	}
	n.ok(n.manager.Remove(pod))

	// The kubelet asks the plugin which it prefers: those of one NUMA node.
	eight := Pod{UID: "eight", Resource: resource, Units: 8}
	nics := n.nicsOf(eight)
	for _, h := range nics {
		if h.NUMA != nics[0].NUMA {
			t.Errorf("%s is on another NUMA node than %s", h.RDMA, nics[0].RDMA)
		}
	}
	n.refused(n.guest(resource, 9), "Requested: 9, Available: 8")
}

// nicsOf admits a pod, and checks that its container gets the character
// devices of those NICs that its units stand for.
func (n *node) nicsOf(pod Pod) []sysfs.HCA {
	n.t.Helper()
	n.ok(n.manager.Admit(pod))
	held, err := n.manager.Held(pod)
	n.ok(err)
	var nics []sysfs.HCA
	for _, h := range n.hcas {
		if slices.Contains(held, h.PCI) {
			nics = append(nics, h)
		}
	}
	if len(nics) != pod.Units {
		n.t.Fatalf("a pod with %d units holds %v", pod.Units, held)
	}
	n.served(pod, devicesOf(nics, "uverbs"))
	return nics
}

func onePoolForEachPrefix(t *testing.T, k Kubelet) {
	n := newNode(t, k, 8, `{"configList": [
		{"resourceName": "hca", "rdmaHcaMax": 3, "selectors": {"rdmaDevices": ["mlx5_[0-3]"]}},
		{"resourceName": "hca", "resourcePrefix": "example.com", "rdmaHcaMax": 5, "selectors": {"rdmaDevices": ["mlx5_[4-7]"]}}]}`)
	n.startKubelet()
	n.startPlugin()
	for life := range 2 {
		n.awaitCount("rdma/hca", Count{3, 3})
		n.awaitCount("example.com/hca", Count{5, 5})
		for i, name := range []string{"rdma/hca", "example.com/hca"} {
			pod := Pod{UID: fmt.Sprint("pod-", life, i), Resource: name, Units: 1}
			n.admit(pod, devicesOf(n.hcas[4*i:4*i+4], "uverbs", "umad", "issm"))
			n.ok(n.manager.Remove(pod))
		}
		n.restartKubelet()
	}
}
