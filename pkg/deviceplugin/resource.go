package deviceplugin

import (
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// A resource is what the kubelet is offered under one name: an offer that is
// replaced as a whole.
type resource struct {
	name string

	mu      sync.Mutex
	offer   offer
	changed chan struct{}
}

func newResource(name string) *resource {
	return &resource{name: name, changed: make(chan struct{})}
}

// Name implements kubelet.Resource.
func (r *resource) Name() string { return r.name }

// Devices implements kubelet.Resource.
func (r *resource) Devices() ([]*pluginapi.Device, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.offer.list, r.changed
}

// Allocate implements kubelet.Resource.
func (r *resource) Allocate(ids []string) (*pluginapi.ContainerAllocateResponse, error) {
	return r.snapshot().allocate(ids)
}

func (r *resource) snapshot() offer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.offer
}

// replace puts another offer in place. The kubelet hears of it only if the
// list is another: it writes a checkpoint for every message.
func (r *resource) replace(o offer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	news := !slices.EqualFunc(r.offer.list, o.list, func(a, b *pluginapi.Device) bool { return proto.Equal(a, b) })
	r.offer = o
	if news {
		close(r.changed)
		r.changed = make(chan struct{})
	}
}
