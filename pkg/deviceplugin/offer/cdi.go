package offer

import (
	"slices"
	"strings"

	"tags.cncf.io/container-device-interface/pkg/parser"
	specs "tags.cncf.io/container-device-interface/specs-go"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
)

// The kind of our CDI devices has a vendor of its own, so that no file of
// another product can be taken for ours.
const (
	CDIVendor = "roce-k8s.io"
	CDIClass  = "hca"
)

// CDINames are the names of devices within our kind, by their keys. No two are
// the same, and CDI accepts each: one that it rejects would invalidate the
// whole spec.
type CDINames map[string]string

// NameCDI names the devices chosen for resources.
func NameCDI(resources []config.Resource, chosen map[string][]inventory.Device) CDINames {
	names, taken := CDINames{}, map[string]bool{string(config.RDMACM): true}
	for _, r := range resources {
		for _, d := range chosen[r.Name] {
			name := cdiName(d)
			if taken[name] || parser.ValidateDeviceName(name) != nil {
				// Two namespaces may have a device of one name, and a Soft-RoCE
				// device may be called anything.
				name = strings.Map(cdiCharacter, d.Key())
			}
			taken[name] = true
			names[d.Key()] = name
		}
	}
	return names
}

// cdiName is what a device is called if that name is free and valid.
func cdiName(d inventory.Device) string {
	if d.Soft || d.Address == "" || d.Beside {
		return d.Name
	}
	return d.Address
}

// cdiCharacter turns a character into one that CDI accepts in a name.
func cdiCharacter(r rune) rune {
	if r == '/' || parser.ValidateDeviceName("a"+string(r)+"a") != nil {
		return '-'
	}
	return r
}

func cdiQualifiedName(name string) string { return CDIVendor + "/" + CDIClass + "=" + name }

// CDISpec has a CDI device for each RDMA device that has anything to give, and
// one for rdma_cm.
func CDISpec(resources []config.Resource, chosen map[string][]inventory.Device, names CDINames, connectionManager bool) *specs.Spec {
	spec := &specs.Spec{Kind: CDIVendor + "/" + CDIClass}
	for _, r := range resources {
		for _, d := range chosen[r.Name] {
			if paths := charDevicePaths(r, d); len(paths) > 0 && d.Place != inventory.Gone {
				spec.Devices = append(spec.Devices, cdiDevice(names[d.Key()], paths))
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
