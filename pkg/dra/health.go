package dra

import (
	"context"
	"time"

	"k8s.io/dynamic-resource-allocation/kubeletplugin"
)

// reportAgain is the pause between two reports on health. The kubelet takes a
// device of which it has heard nothing for 30 s for one in unknown health.
const reportAgain = 10 * time.Second

// WatchHealthStatus tells the kubelet how the devices are, until ctx ends. While
// a look at the node does not return it says nothing: nobody knows.
func (d *driver) WatchHealthStatus(ctx context.Context, reports chan<- kubeletplugin.DeviceHealthReport) error {
	again := time.NewTicker(reportAgain)
	defer again.Stop()
	for {
		v, changed := d.current()
		if v != nil && d.looking() < longLook {
			select {
			case <-ctx.Done():
				return nil
			case reports <- v.health(d.options.NodeName):
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-again.C:
		}
	}
}

// ills are the ailments of the devices, by their names.
func (v *view) ills() map[string]ailment {
	all := map[string]ailment{}
	for _, d := range v.devices {
		all[d.name] = d.ill
	}
	return all
}

func (v *view) health(pool string) (report kubeletplugin.DeviceHealthReport) {
	for _, d := range v.devices {
		h := kubeletplugin.DeviceHealth{PoolName: pool, DeviceName: d.name, Health: kubeletplugin.HealthStatusHealthy, LastUpdated: v.at}
		if d.ill.why != "" {
			h.Health, h.Message = kubeletplugin.HealthStatusUnhealthy, d.ill.why
		}
		report.Devices = append(report.Devices, h)
	}
	return report
}
