package kubelet

// This file is the same in both modules: that of v1.36 is a link. What differs
// between the versions of Kubernetes is in version_test.go.

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	"k8s.io/kubernetes/pkg/kubelet/checkpointmanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/containermap"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager/checkpoint"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"

	"github.com/roce-k8s/roce-k8s/test/kubelet/scenario"
)

var kubelet = scenario.Kubelet{Start: start, StartAligned: startAligned, Checkpoint: writeCheckpoint}

// TestMain silences the kubelet, which calls the end of every stream an error,
// unless ROCE_TEST_KUBELET_LOG is the verbosity that somebody wants.
func TestMain(m *testing.M) {
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	if v := os.Getenv("ROCE_TEST_KUBELET_LOG"); v != "" {
		_ = flags.Set("v", v)
	} else {
		klog.LogToStderr(false)
		klog.SetOutput(io.Discard)
		_ = flags.Set("stderrthreshold", "FATAL")
	}
	os.Exit(scenario.Main(m, kubelet))
}

// A manager is a device manager with the pods of its node.
type manager struct {
	*devicemanager.ManagerImpl
	topology topologymanager.Manager // nil: pods are admitted without
	mu       sync.Mutex
	pods     []*v1.Pod
}

// ready: the pods are known from the start.
type ready struct{}

func (ready) AddSource(string) {}
func (ready) AllReady() bool   { return true }

func start(folder string, pods []scenario.Pod) (scenario.Manager, error) {
	log := klog.Background()
	impl, err := newManager(filepath.Join(folder, "kubelet.sock"))
	if err != nil {
		return nil, err
	}
	m := &manager{ManagerImpl: impl}
	containers, running := containermap.NewContainerMap(), sets.New[string]()
	for _, p := range pods {
		m.pods = append(m.pods, podOf(p))
		if p.Running {
			containers.Add(p.UID, container, "container-of-"+p.UID)
			running.Insert("container-of-" + p.UID)
		}
	}
	return m, impl.Start(log, m.active, ready{}, containers, running)
}

func startAligned(folder string, a scenario.Alignment) (scenario.Manager, error) {
	impl, topology, err := newAlignedManager(filepath.Join(folder, "kubelet.sock"), a)
	if err != nil {
		return nil, err
	}
	topology.AddHintProvider(klog.Background(), impl)
	m := &manager{ManagerImpl: impl, topology: topology}
	return m, impl.Start(klog.Background(), m.active, ready{}, containermap.NewContainerMap(), sets.New[string]())
}

func (m *manager) active() []*v1.Pod {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.pods)
}

func (m *manager) Stop() { _ = m.ManagerImpl.Stop(klog.Background()) }

func (m *manager) Count(name string) (scenario.Count, error) {
	capacity, allocatable, _ := m.capacity()
	c, a := capacity[v1.ResourceName(name)], allocatable[v1.ResourceName(name)]
	return scenario.Count{Capacity: int(c.Value()), Allocatable: int(a.Value())}, nil
}

func (m *manager) Admit(p scenario.Pod) error {
	pod := podOf(p)
	_ = m.Remove(p)
	m.mu.Lock()
	m.pods = append(m.pods, pod)
	m.mu.Unlock()
	if m.topology == nil {
		return m.allocate(pod)
	}
	if is := m.admit(&lifecycle.PodAdmitAttributes{Pod: pod, Operation: lifecycle.AddOperation}); !is.Admit {
		return errors.New(is.Reason + ": " + is.Message)
	}
	return nil
}

func (m *manager) Remove(p scenario.Pod) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pods = slices.DeleteFunc(m.pods, func(pod *v1.Pod) bool { return string(pod.UID) == p.UID })
	return nil
}

func (m *manager) Options(p scenario.Pod) (scenario.Options, error) {
	pod := podOf(p)
	options, err := m.GetDeviceRunContainerOptions(context.Background(), pod, &pod.Spec.Containers[0])
	o := scenario.Options{Envs: map[string]string{}}
	if err != nil || options == nil {
		return o, err
	}
	for _, d := range options.Devices {
		o.Devices = append(o.Devices, d.PathInContainer)
	}
	for _, e := range options.Envs {
		o.Envs[e.Name] = e.Value
	}
	for _, d := range options.CDIDevices {
		o.CDI = append(o.CDI, d.Name)
	}
	return o, nil
}

func (m *manager) Held(p scenario.Pod) ([]string, error) {
	var ids []string
	for id := range m.GetDevices(p.UID, container)[p.Resource] {
		ids = append(ids, id)
	}
	return ids, nil
}

func (m *manager) Health(p scenario.Pod) (map[string]string, error) {
	status := &v1.PodStatus{ContainerStatuses: []v1.ContainerStatus{{Name: container}}}
	m.updateStatus(podOf(p), status)
	of := map[string]string{}
	for _, r := range status.ContainerStatuses[0].AllocatedResourcesStatus {
		for _, unit := range r.Resources {
			of[string(unit.ResourceID)] = string(unit.Health)
		}
	}
	return of, nil
}

const container = "c"

func podOf(p scenario.Pod) *v1.Pod {
	first, beside := v1.ResourceList{v1.ResourceName(p.Resource): *resource.NewQuantity(int64(p.Units), resource.DecimalSI)}, v1.ResourceList{}
	containers := []v1.Container{{Name: container, Resources: v1.ResourceRequirements{Limits: first, Requests: first}}}
	if p.Apart {
		containers = append(containers, v1.Container{Name: "beside", Resources: v1.ResourceRequirements{Limits: beside, Requests: beside}})
	} else {
		beside = first
	}
	if p.Beside != "" {
		beside[v1.ResourceName(p.Beside)] = *resource.NewQuantity(int64(p.BesideUnits), resource.DecimalSI)
	}
	return &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: p.UID, Namespace: "default", UID: types.UID(p.UID)},
		Spec:       v1.PodSpec{Containers: containers},
	}
}

func writeCheckpoint(folder string, registered map[string][]string, held []scenario.Held) error {
	var entries []checkpoint.PodDevicesEntry
	for _, h := range held {
		response := &pluginapi.ContainerAllocateResponse{}
		for _, path := range h.Devices {
			response.Devices = append(response.Devices, &pluginapi.DeviceSpec{ContainerPath: path, HostPath: path, Permissions: "rwm"})
		}
		encoded, err := proto.Marshal(response)
		if err != nil {
			return err
		}
		entries = append(entries, checkpoint.PodDevicesEntry{
			PodUID: h.UID, ContainerName: container, ResourceName: h.Resource, AllocResp: encoded,
			DeviceIDs: checkpoint.DevicesPerNUMA{-1: h.IDs}, // no topology
		})
	}
	c, err := checkpointmanager.NewCheckpointManager(folder)
	if err != nil {
		return err
	}
	return c.CreateCheckpoint("kubelet_internal_checkpoint", checkpoint.New(entries, registered))
}
