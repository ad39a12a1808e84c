package deviceplugin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tags.cncf.io/container-device-interface/pkg/cdi"
	specs "tags.cncf.io/container-device-interface/specs-go"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
)

// The kind of our CDI devices is of a vendor of our own, so that no file of
// another product can be taken for ours.
const (
	cdiVendor = "roce-k8s.io"
	cdiClass  = "hca"
)

// cdiName names a device within our kind.
func cdiName(d inventory.Device) string {
	if d.Soft || d.Address == "" {
		return d.Name
	}
	return d.Address
}

func cdiQualifiedName(name string) string { return cdiVendor + "/" + cdiClass + "=" + name }

// A cdiFile is our CDI spec on the node: one file with the devices of all
// resources. It stays when the plugin ends: containers that have its devices
// may start again before the plugin does.
type cdiFile struct {
	dir string
}

func (c cdiFile) path() string {
	return filepath.Join(c.dir, cdi.GenerateSpecName(cdiVendor, cdiClass)+".json")
}

// write makes the file say what the resources' devices are now. It writes in
// one step, and only if the file says anything else.
func (c cdiFile) write(resources []config.Resource, chosen map[string][]inventory.Device, connectionManager bool) error {
	spec := cdiSpec(resources, chosen, connectionManager)
	if len(spec.Devices) == 0 {
		// A spec without devices is not valid.
		if err := os.Remove(c.path()); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("remove the CDI spec: %w", err)
		}
		return nil
	}
	want, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("write the CDI spec: %w", err)
	}
	if has, err := os.ReadFile(c.path()); err == nil && bytes.Equal(has, want) {
		return nil
	}
	cache, err := cdi.NewCache(cdi.WithSpecDirs(c.dir), cdi.WithAutoRefresh(false))
	if err != nil {
		return fmt.Errorf("write the CDI spec: %w", err)
	}
	if err := cache.WriteSpec(spec, filepath.Base(c.path())); err != nil {
		return fmt.Errorf("write the CDI spec: %w", err)
	}
	return nil
}

// cdiSpec has a CDI device for each RDMA device that gives anything, and one
// for rdma_cm.
func cdiSpec(resources []config.Resource, chosen map[string][]inventory.Device, connectionManager bool) *specs.Spec {
	spec := &specs.Spec{Kind: cdiVendor + "/" + cdiClass}
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
