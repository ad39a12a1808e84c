package kubelet

import (
	"time"

	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// A Resource is what is offered to the kubelet. Its methods are called by
// several goroutines at once.
type Resource interface {
	// Name as pods ask for it: "rdma/hca_gpu".
	Name() string
	// Devices is the list for the kubelet, not to be changed, and a channel
	// that is closed when the list changes.
	Devices() ([]*pluginapi.Device, <-chan struct{})
	// Allocate says what a container with these devices gets. The answer is not
	// to be changed.
	Allocate(ids []string) (*pluginapi.ContainerAllocateResponse, error)
}

// A Preferrer is a Resource that would rather see some devices together.
type Preferrer interface {
	// Preferred picks size of the available IDs, including all of must.
	Preferred(available, must []string, size int) ([]string, error)
}

// An Observer is told what happens between a resource and the kubelet. Its
// methods are called by several goroutines at once.
type Observer interface {
	Registered(resource string)
	// StreamOpened and StreamEnded are about ListAndWatch.
	StreamOpened(resource string)
	StreamEnded(resource string)
	Allocated(resource string, took time.Duration, err error)
}
