// Package kubelet tests rdma-device-plugin with the device manager of
// Kubernetes 1.37.2.
package kubelet

import (
	"context"
	"testing"
	_ "unsafe" // for go:linkname

	cadvisorapi "github.com/google/cadvisor/lib/model"
	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"

	"github.com/roce-k8s/roce-k8s/test/kubelet/scenario"
)

// The exported constructor knows one path for the kubelet's socket; this one
// takes it. For go:linkname the package needs a file in assembly: empty.s.
//
//go:linkname newManagerImpl k8s.io/kubernetes/pkg/kubelet/cm/devicemanager.newManagerImpl
func newManagerImpl(logger klog.Logger, socketPath string, topology []cadvisorapi.Node, s topologymanager.Store) (*devicemanager.ManagerImpl, error)

func TestTheDevicePluginWithKubernetes1372(t *testing.T) { scenario.Run(t, kubelet) }

func newManager(socket string) (*devicemanager.ManagerImpl, error) {
	log := klog.Background()
	return newManagerImpl(log, socket, nil, topologymanager.NewFakeManager(log))
}

func newAlignedManager(socket string, a scenario.Alignment) (*devicemanager.ManagerImpl, topologymanager.Manager, error) {
	var nodes []cadvisorapi.Node
	for id := range a.NUMANodes {
		nodes = append(nodes, cadvisorapi.Node{Id: id})
	}
	topology, err := topologymanager.NewManager(klog.Background(), nodes, a.Policy, a.Scope, nil)
	if err != nil {
		return nil, nil, err
	}
	impl, err := newManagerImpl(klog.Background(), socket, nodes, topology)
	return impl, topology, err
}

func (m *manager) admit(attributes *lifecycle.PodAdmitAttributes) lifecycle.PodAdmitResult {
	return m.topology.Admit(context.Background(), attributes)
}

func (m *manager) capacity() (capacity, allocatable v1.ResourceList, deleted []string) {
	return m.GetCapacity(klog.Background())
}

func (m *manager) allocate(pod *v1.Pod) error {
	return m.Allocate(context.Background(), pod, &pod.Spec.Containers[0], lifecycle.AddOperation)
}

func (m *manager) updateStatus(pod *v1.Pod, status *v1.PodStatus) {
	m.UpdateAllocatedResourcesStatus(klog.Background(), pod, status)
}
