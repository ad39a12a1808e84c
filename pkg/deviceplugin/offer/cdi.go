package offer

import (
	"cmp"
	"slices"
	"strings"

	"tags.cncf.io/container-device-interface/pkg/parser"
	specs "tags.cncf.io/container-device-interface/specs-go"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
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
	var all []inventory.Device
	for _, r := range resources {
		all = append(all, chosen[r.Name]...)
	}
	for _, d := range hardwareFirst(all, func(d inventory.Device) bool { return d.Soft }) { // as for units
		name := cdiName(d)
		if taken[name] || parser.ValidateDeviceName(name) != nil || name == d.Name && !isOwnName(name) {
			// Two namespaces may have a device of one name, and a Soft-RoCE
			// device may be called anything.
			name = strings.Map(cdiCharacter, d.Key())
		}
		taken[name] = true
		names[d.Key()] = name
	}
	return names
}

// isOwnName tells whether CDI and the kubelet accept a device's name, and nobody
// could take it for a bus address.
func isOwnName(name string) bool {
	return parser.ValidateDeviceName(name) == nil && !rdma.IsPCIAddress(name) && !rdma.IsAuxiliaryAddress(name)
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
	StampCDI(spec)
	return spec
}

func cdiDevice(name string, paths []string) specs.Device {
	d := specs.Device{Name: name}
	for _, path := range paths {
		d.ContainerEdits.DeviceNodes = append(d.ContainerEdits.DeviceNodes, &specs.DeviceNode{Path: path, Permissions: "rw"})
	}
	return d
}

// ClaimCDI has a CDI device for each of the devices that are given to one claim,
// by what names it there, and what every container of the claim gets besides: a
// description of the devices, if a resource asks for it. The names begin with
// the claim's, so that no two claims share one. nothing says which device has
// nothing to give, and why; "" if each has.
func ClaimCDI(claim string, given []Given, connectionManager bool) (spec *specs.Spec, nothing string) {
	spec = &specs.Spec{Kind: CDIVendor + "/" + CDIClass}
	var described []Candidate
	for _, g := range given {
		grant := newGrant(g.Resource, []Candidate{g.Candidate}, connectionManager, nil)
		if len(grant.charDevices) == 0 {
			grant.nothing = cmp.Or(grant.nothing, "it has none of the character devices that the resource gives")
		}
		if grant.nothing != "" {
			return nil, g.String() + ": " + grant.nothing
		}
		spec.Devices = append(spec.Devices, cdiDevice(ClaimCDIName(claim, g.Name), grant.charDevices))
		if g.Resource.Env {
			described = append(described, g.Candidate)
		}
	}
	if len(described) > 0 {
		for name, value := range environment(described) {
			spec.ContainerEdits.Env = append(spec.ContainerEdits.Env, name+"="+value)
		}
		slices.Sort(spec.ContainerEdits.Env)
	}
	return spec, ""
}

// A Given device is one that a claim gets by itself.
type Given struct {
	Candidate
	Name     string // in the claim
	Resource config.Resource
}

// ClaimCDIName is the name within our kind of what a claim gets.
func ClaimCDIName(claim, device string) string { return claim + "-" + device }

// QualifiedCDIName is a name within our kind as runtimes know it.
func QualifiedCDIName(name string) string { return CDIVendor + "/" + CDIClass + "=" + name }

// StampCDI gives a spec the oldest version that has all it uses: most runtimes
// read that one.
func StampCDI(spec *specs.Spec) {
	spec.Version = specs.CurrentVersion
	if v, err := specs.MinimumRequiredVersion(spec); err == nil {
		spec.Version = v
	}
}
