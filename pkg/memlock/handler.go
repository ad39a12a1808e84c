package memlock

import (
	"context"

	"github.com/containerd/nri/pkg/api"
)

// A handler answers the runtime. It never fails: an error would fail the container.
type handler struct{ *Plugin }

// CreateContainer is asked before a container is made, and given two seconds.
func (h *handler) CreateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	if !hasRDMA(c) {
		return nil, nil, nil
	}
	log := h.Log.With("pod", pod.GetNamespace()+"/"+pod.GetName(), "container", c.GetName())
	limit := h.Limit.of(c)
	if own := has(c); own != nil {
		if own.GetSoft() < limit {
			h.tell(func(r *Report) { r.Kept++ })
			log.Warn("the container's spec has a lower memlock limit already, which stays", "bytes", own.GetSoft())
		}
		return nil, nil, nil
	}
	h.tell(func(r *Report) { r.Raised++ })
	log.Info("memlock limit raised", "limit", string(h.Limit))
	a := &api.ContainerAdjustment{}
	a.AddRlimit(rlimit, limit, limit)
	return a, nil, nil
}
