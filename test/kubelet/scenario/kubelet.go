// Package scenario holds the tests that rdma-device-plugin must pass with a
// kubelet's real device manager, whatever the version of Kubernetes.
//
// It runs the program as a process and knows the device manager through an
// interface: the packages of k8s.io/kubernetes, whose versions exclude each
// other, are in the modules beside it.
package scenario

// A Kubelet makes device managers of one version of Kubernetes.
type Kubelet struct {
	// Start starts one in its device-plugins folder, as a kubelet does that
	// starts while these pods are on the node.
	Start func(folder string, pods []Pod) (Manager, error)
	// StartAligned starts one on an empty node, with the topology manager.
	StartAligned func(folder string, a Alignment) (Manager, error)
	// Checkpoint writes the file that an earlier kubelet left in the folder.
	// Devices of a pod are what the plugin of those days gave it.
	Checkpoint func(folder string, registered map[string][]string, held []Held) error
}

// A Manager is one life of a kubelet's device manager.
type Manager interface {
	Count(resource string) (Count, error)
	// Admit allocates what a pod asks for. The pod is on the node from then on.
	Admit(Pod) error
	// Remove takes a pod off the node.
	Remove(Pod) error
	// Options are what the kubelet hands to the runtime to start the pod's
	// container.
	Options(Pod) (Options, error)
	// Held are the IDs of the units that a pod has of its resource.
	Held(Pod) ([]string, error)
	// Health is what the pod's status says of its units, by their IDs
	// (KEP-4680).
	Health(Pod) (map[string]string, error)
	// Stop ends this life.
	Stop()
}

// A Count is what a node's status says of a resource.
type Count struct{ Capacity, Allocatable int }

// An Alignment is what a kubelet's configuration says of it, on a node with so
// many NUMA nodes.
type Alignment struct {
	Policy    string // topologyManagerPolicy
	Scope     string // topologyManagerScope
	NUMANodes int
}

// A Pod has one container, which asks for units of one resource.
type Pod struct {
	UID      string
	Resource string
	Units    int
	// Beside asks for units of another resource: in the same container, or, with
	// Apart, in a second one.
	Beside      string
	BesideUnits int
	Apart       bool
	// Running: the runtime says so when the kubelet starts.
	Running bool
}

// Options are those of a container.
type Options struct {
	Devices []string // paths in the container
	Envs    map[string]string
	CDI     []string
}

// Held is what a checkpoint says of a pod.
type Held struct {
	Pod
	IDs     []string
	Devices []string // paths
}
