package offer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
)

// modules are the kernel modules that make those character devices which a node
// may well lack, to somebody's surprise.
func modules(kind config.CharDevice) string {
	if kind == config.RDMACM {
		return "rdma_ucm"
	}
	return "ib_umad"
}

// Missing says which character devices containers of a resource will lack,
// though the resource is to give them. It disqualifies nothing: not every
// device has each kind, and so umad and issm count only if the file names them.
func Missing(r config.Resource, devices []inventory.Device, connectionManager bool) []string {
	var missing []string
	present := slices.DeleteFunc(slices.Clone(devices), func(d inventory.Device) bool { return d.Place == inventory.Gone })
	for _, kind := range r.CharDevices {
		var without []string
		switch {
		case kind == config.RDMACM && !connectionManager && len(present) > 0:
			without = []string{"the node"}
		case r.Named && (kind == config.Umad || kind == config.Issm):
			for _, d := range present {
				if !slices.ContainsFunc(d.CharDevices, func(path string) bool { return kindOf(path) == kind }) {
					without = append(without, d.String())
				}
			}
		}
		if len(without) > 0 {
			missing = append(missing, fmt.Sprintf("%s: %s has none; is the module %s loaded?", kind, strings.Join(without, ", "), modules(kind)))
		}
	}
	return missing
}
