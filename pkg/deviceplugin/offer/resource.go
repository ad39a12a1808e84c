package offer

import (
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// A Resource is what the kubelet is offered under one name: an offer that is
// replaced as a whole.
type Resource struct {
	name string

	mu      sync.Mutex
	offer   Offer
	changed chan struct{}
}

// NewResource makes one that offers nothing yet.
func NewResource(name string) *Resource {
	return &Resource{name: name, changed: make(chan struct{})}
}

// Name implements kubelet.Resource.
func (r *Resource) Name() string { return r.name }

// Devices implements kubelet.Resource.
func (r *Resource) Devices() ([]*pluginapi.Device, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.offer.list, r.changed
}

// Allocate implements kubelet.Resource.
func (r *Resource) Allocate(ids []string) (*pluginapi.ContainerAllocateResponse, error) {
	return r.Offer().allocate(ids)
}

// Offer is the one that is in place.
func (r *Resource) Offer() Offer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.offer
}

// Replace puts another offer in place. The kubelet hears of it only if the list
// changes: it writes a checkpoint for every message.
func (r *Resource) Replace(o Offer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	news := !slices.EqualFunc(r.offer.list, o.list, func(a, b *pluginapi.Device) bool { return proto.Equal(a, b) })
	r.offer = o
	if news {
		close(r.changed)
		r.changed = make(chan struct{})
	}
}
