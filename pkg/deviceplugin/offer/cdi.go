package offer

import (
	"slices"
	"strings"

	specs "tags.cncf.io/container-device-interface/specs-go"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
)

// The kind of our CDI devices is of a vendor of our own, so that no file of
// another product can be taken for ours.
const (
	CDIVendor = "roce-k8s.io"
	CDIClass  = "hca"
)

// cdiName names a device within our kind.
func cdiName(d inventory.Device) string {
	if d.Soft || d.Address == "" {
		return d.Name
	}
	return d.Address
}

func cdiQualifiedName(name string) string { return CDIVendor + "/" + CDIClass + "=" + name }

// CDISpec has a CDI device for each RDMA device that gives anything, and one
// for rdma_cm.
func CDISpec(resources []config.Resource, chosen map[string][]inventory.Device, connectionManager bool) *specs.Spec {
	spec := &specs.Spec{Kind: CDIVendor + "/" + CDIClass}
	for _, r := range resources {
		for _, d := range chosen[r.Name] {
			if paths := charDevicePaths(r, d); len(paths) > 0 && d.Place != inventory.Gone {
				spec.Devices = append(spec.Devices, cdiDevice(cdiName(d), paths))
			}
		}
	}
	if connectionManager && len(spec.Devices) > 0 {
		spec.Devices = append(spec.Devices, cdiDevice(string(config.RDMACM), []string{hostPath(string(config.RDMACM))}))
	}
	slices.SortFunc(spec.Devices, func(a, b specs.Device) int { return strings.Compare(a.Name, b.Name) })
	// The oldest version that has all we use is the one that most runtimes read.
	spec.Version = specs.CurrentVersion
	if v, err := specs.MinimumRequiredVersion(spec); err == nil {
		spec.Version = v
	}
	return spec
}

func cdiDevice(name string, paths []string) specs.Device {
	d := specs.Device{Name: name}
	for _, path := range paths {
		d.ContainerEdits.DeviceNodes = append(d.ContainerEdits.DeviceNodes, &specs.DeviceNode{Path: path, Permissions: "rw"})
	}
	return d
}
