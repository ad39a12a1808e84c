package dra

import (
	"cmp"
	"math"
	"slices"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/dynamic-resource-allocation/deviceattribute"
	"k8s.io/dynamic-resource-allocation/resourceslice"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// DriverName is ours in ResourceSlices and claims, and the domain of what has no
// other.
const DriverName = "roce-k8s.io"

// A device is an RDMA NIC as it is offered.
type device struct {
	inventory.Device
	name     string // in the ResourceSlice
	resource config.Resource
	rail     int
	ill      ailment
	taken    bool // by a pod that has no claim for it
}

// An ailment is what is wrong with a device, and the key of the taint that says
// so. Both are empty if nothing is.
type ailment struct{ taint, why string }

// String is the ailment in one, for who asks whether it is still the same.
func (a ailment) String() string {
	if a.why == "" {
		return ""
	}
	return a.taint + " " + a.why
}

// parseAilment reads what String says.
func parseAilment(s string) (a ailment) {
	a.taint, a.why, _ = strings.Cut(s, " ")
	return a
}

// The keys of taints.
const (
	// taintLink: the port has no link; only with the health policy "link".
	taintLink = DriverName + "/link-down"
	// taintUnusable: hardware, driver or character device is missing.
	taintUnusable = DriverName + "/unusable"
	// taintTaken: a pod has it that did not get it by a claim.
	taintTaken = DriverName + "/taken"
)

// diagnose says what is wrong with a device at the moment.
func diagnose(d inventory.Device, policy config.HealthPolicy) ailment {
	if policy == config.HealthIgnore {
		return ailment{}
	}
	if why := offer.Ailment(d, config.HealthPresent); why != "" {
		return ailment{taintUnusable, why}
	}
	if why := offer.Ailment(d, policy); why != "" {
		return ailment{taintLink, why}
	}
	return ailment{}
}

// unfit says why a device cannot be allocated by itself, "" if it can: the CNI
// plugin knows a NIC by its function, and moves its netdev. What it refuses unless
// it is forced is offered: a claim's parameters can say so.
func unfit(d inventory.Device) string {
	switch {
	case d.Address == "":
		return "it is on no bus"
	case d.Beside, d.Guest:
		return "its function has another RDMA device"
	case len(d.Netdevs) == 0:
		return "it has no netdev"
	}
	return ""
}

// deviceName is the bus address of a device as a DNS label.
func deviceName(d inventory.Device) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(d.Address)), "-")
}

// The domains of attributes that others have defined.
const domainCNI = "k8s.cni.cncf.io/"

// attributes are what a claim can choose a device by. What the node does not
// say is left out, as the API wants it.
func (d device) attributes(n rdma.Node) map[resourceapi.QualifiedName]resourceapi.DeviceAttribute {
	all := map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{}
	text := func(name resourceapi.QualifiedName, value string) {
		if value != "" && len(value) <= resourceapi.DeviceAttributeMaxValueLength {
			all[name] = resourceapi.DeviceAttribute{StringValue: &value}
		}
	}
	number := func(name resourceapi.QualifiedName, value int64) {
		all[name] = resourceapi.DeviceAttribute{IntValue: &value}
	}
	standard := func(a deviceattribute.DeviceAttribute, err error) {
		if err == nil {
			all[a.Name] = a.Value
		}
	}
	standard(deviceattribute.GetPCIeRootAttributeByPCIBusID(n.PhysicalFunctionOf(d.Device.Device), deviceattribute.WithFSFromRoot(n.Sys)))
	standard(deviceattribute.GetNUMANodeAttribute(d.NUMANode, deviceattribute.ScalarAttribute))
	if d.Bus == rdma.BusPCI {
		standard(deviceattribute.GetPCIBusIDAttribute(d.Address))
	}
	text(domainCNI+"deviceID", d.Address)
	text(domainCNI+"resourceName", d.resource.Name)
	number("rail", int64(d.rail))
	if len(d.Netdevs) > 0 {
		text("ifName", d.Netdevs[0])
	}
	text("rdmaDevice", d.Name)
	text("driver", d.Driver)
	text("linkType", d.LinkType)
	if d.MTU > 0 {
		number("mtu", int64(d.MTU))
	}
	if d.Rate > 0 {
		number("linkGbps", int64(math.Round(d.Rate/1e9)))
	}
	return all
}

// capacity is what the API has for quantities.
func (d device) capacity() map[resourceapi.QualifiedName]resourceapi.DeviceCapacity {
	if d.Rate <= 0 {
		return nil
	}
	return map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{"bandwidth": {Value: *resource.NewQuantity(int64(d.Rate), resource.DecimalSI)}}
}

// inSlice is the device for the API.
func (d device) inSlice(n rdma.Node, more extras) resourceapi.Device {
	offered := resourceapi.Device{Name: d.name, Attributes: d.attributes(n), Capacity: d.capacity()}
	more.add(d.Device, offered.Attributes)
	for _, key := range d.taints() {
		offered.Taints = append(offered.Taints, resourceapi.DeviceTaint{Key: key, Effect: resourceapi.DeviceTaintEffectNoSchedule})
	}
	return offered
}

// taints are the keys of what keeps a device from being allocated.
func (d device) taints() (keys []string) {
	if d.ill.taint != "" {
		keys = append(keys, d.ill.taint)
	}
	if d.taken {
		keys = append(keys, taintTaken)
	}
	return keys
}

// slicesOf puts devices into as many slices as the API wants. One that may have
// to carry a taint is never larger than one that does: a link that goes down
// shall change one slice.
func slicesOf(devices []resourceapi.Device) []resourceslice.Slice {
	if len(devices) == 0 {
		return []resourceslice.Slice{{}} // the driver is there and has nothing
	}
	var all []resourceslice.Slice
	for chunk := range slices.Chunk(devices, resourceapi.ResourceSliceMaxDevicesWithAdvancedFeatures) {
		all = append(all, resourceslice.Slice{Devices: chunk})
	}
	return all
}

// inOrder sorts devices by their rails, and those on one by their names.
func inOrder(devices []device) {
	slices.SortFunc(devices, func(a, b device) int {
		return cmp.Or(cmp.Compare(a.rail, b.rail), rdma.ComparePCI(a.Address, b.Address), cmp.Compare(a.name, b.name))
	})
}
