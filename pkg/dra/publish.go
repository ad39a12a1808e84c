package dra

import (
	"context"
	"reflect"
	"time"

	"google.golang.org/grpc"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/roce-k8s/roce-k8s/pkg/watch"
)

// offer has devices published in place of those before.
func (d *driver) offer(devices []resourceapi.Device) {
	select {
	case <-d.offers:
	default:
	}
	d.offers <- devices // only the loop calls this
}

// A publisher is the helper's part that writes ResourceSlices.
type publisher interface {
	PublishResources(context.Context, resourceslice.DriverResources) error
}

// A kubelet that starts removes the ResourceSlices of all drivers, at about the
// time at which it confirms their registration; the helper would notice after 30
// seconds (resourceslice.DefaultSyncDelay). So the slices are looked at every
// lookSlices for as long as that takes.
const (
	lookSlices = time.Second
	wipeTime   = 15 * time.Second
)

// registered sees the kubelet's calls, for the one that confirms a registration.
func (d *driver) registered(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if info.FullMethod == registerapi.Registration_NotifyRegistrationStatus_FullMethodName {
		watch.Poke(d.kubelets)
	}
	return handle(ctx, request)
}

// publish has ResourceSlices written: if something of them has changed, and as
// long as a kubelet that has just started may remove them. The helper compares
// them with those that the API server has, and writes only what differs.
func (d *driver) publish(ctx context.Context, to publisher) {
	var devices []resourceapi.Device
	var until time.Time
	published := false
	for {
		var again <-chan time.Time
		if time.Now().Before(until) {
			again = time.After(lookSlices)
		}
		select {
		case <-ctx.Done():
			return
		case <-d.kubelets:
			until = time.Now().Add(wipeTime)
			continue
		case <-again:
			if !published {
				continue
			}
		case now := <-d.offers:
			if published && reflect.DeepEqual(devices, now) {
				continue
			}
			devices = now
		}
		// The first time it waits for the API server, if need be.
		err := to.PublishResources(ctx, resourceslice.DriverResources{Pools: map[string]resourceslice.Pool{
			d.options.NodeName: {Slices: slicesOf(devices)},
		}})
		if err != nil {
			if ctx.Err() == nil {
				d.HandleError(ctx, err, "publish the ResourceSlices")
			}
			return
		}
		published = true
	}
}
