package dra

import (
	"context"
	"fmt"
	"reflect"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	"k8s.io/utils/ptr"
)

// offer has devices published in place of those before.
func (d *driver) offer(devices []resourceapi.Device) {
	select {
	case <-d.offers:
	default:
	}
	d.offers <- devices // only the loop calls this
}

// restoreAfter is how soon the slices are written again once somebody removed or
// changed them. A kubelet that starts removes those of all drivers, and the node
// has no NICs to allocate meanwhile; the controller that the helper would start
// lets 30 seconds pass (resourceslice.DefaultSyncDelay).
const restoreAfter = time.Second

// publish keeps the ResourceSlices as they were last offered.
func (d *driver) publish(ctx context.Context) {
	var controller *resourceslice.Controller
	defer func() { controller.Stop() }()
	var devices []resourceapi.Device
	for {
		var now []resourceapi.Device
		select {
		case <-ctx.Done():
			return
		case now = <-d.offers:
		}
		if controller != nil && reflect.DeepEqual(devices, now) {
			continue
		}
		devices = now
		all := &resourceslice.DriverResources{Pools: map[string]resourceslice.Pool{d.options.NodeName: {Slices: slicesOf(devices)}}}
		if controller != nil {
			controller.Update(all)
			continue
		}
		var err error
		controller, err = resourceslice.StartController(ctx, resourceslice.Options{ // waits for the API server, if need be
			DriverName: DriverName, KubeClient: d.options.Client, Resources: all,
			Owner:     &resourceslice.Owner{APIVersion: "v1", Kind: "Node", Name: d.options.NodeName},
			SyncDelay: ptr.To(restoreAfter), ErrorHandler: d.unpublished,
		})
		if err != nil {
			if ctx.Err() == nil {
				d.end(fmt.Errorf("publish the ResourceSlices: %w", err))
			}
			return
		}
	}
}

// unpublished logs what keeps the slices from being written. The controller tries
// again.
func (d *driver) unpublished(_ context.Context, err error, step string) {
	if d.said(step, err.Error()) {
		d.log.Warn("the ResourceSlices are not as they should be", "step", step, "err", err)
	}
}
