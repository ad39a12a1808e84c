package offer

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
)

// A Candidate is a device that is in a resource, with what an offer needs to
// know about it.
type Candidate struct {
	inventory.Device
	Healthy bool
	// Root is that of its PCIe hierarchy, "" outside of perDevice mode.
	Root string
	// GIDIndex is that of the first RoCE v2 GID of an IPv4 address; -1 if there
	// is none, or the resource has no Env.
	GIDIndex int
}

// An Offer is a snapshot of what a resource has to give. It does not change.
type Offer struct {
	list   []*pluginapi.Device // in the order of their IDs
	grants map[string]*grant   // by device ID
	env    bool
}

// A grant is what comes with a unit. It does not change either.
type grant struct {
	charDevices []string // paths, the same in host and container
	cdi         []string // names of CDI devices, instead of charDevices
	devices     []Candidate
	nothing     string // why it has nothing that a container could use, "" if it has
	rank        int    // among the units of one device
	// response is the answer to Allocate, made when it is first asked for and
	// not to be changed: with many devices it is large, and most looks at the
	// node are not followed by an Allocate.
	response func() *pluginapi.ContainerAllocateResponse
}

// New makes the offer of a resource. connectionManager is whether the node has
// rdma_cm; names are those of the CDI devices to give, nil to give character
// devices.
func New(r config.Resource, devices []Candidate, connectionManager bool, names CDINames) Offer {
	if r.Mode == config.PerDevice {
		return perDeviceOffer(r, devices, connectionManager, names)
	}
	return sharedOffer(r, devices, connectionManager, names)
}

// sharedOffer is a pool: any unit gives all devices. IDs are "0" and up, as
// with k8s-rdma-shared-dev-plugin, so that the kubelet's checkpoint stays
// true when this plugin takes over.
//
// Without a device the pool is empty and the node shows the resource with 0. A
// pool in which no device works keeps its units, all unhealthy: the kubelet
// refuses new pods either way, but remembers who had which unit.
func sharedOffer(r config.Resource, devices []Candidate, connectionManager bool, names CDINames) Offer {
	o := Offer{grants: map[string]*grant{}, env: r.Env}
	if len(devices) == 0 {
		return o
	}
	works := slices.ContainsFunc(devices, func(c Candidate) bool { return c.Healthy })
	g := newGrant(r, devices, connectionManager, names)
	for n := range r.Units {
		o.add(strconv.Itoa(n), works, nil, g)
	}
	return o
}

// perDeviceOffer has a unit, or several, for each device. The first unit's ID
// is the device's bus address, which Multus hands to roce-host-device.
func perDeviceOffer(r config.Resource, devices []Candidate, connectionManager bool, names CDINames) Offer {
	o := Offer{grants: map[string]*grant{}, env: r.Env}
	for _, c := range hardwareFirst(devices, func(c Candidate) bool { return c.Soft }) {
		id := o.unitID(c, r.Units)
		var topology *pluginapi.TopologyInfo
		if c.NUMANode >= 0 {
			topology = &pluginapi.TopologyInfo{Nodes: []*pluginapi.NUMANode{{ID: int64(c.NUMANode)}}}
		}
		g := newGrant(r, []Candidate{c}, connectionManager, names)
		for n := range r.Units {
			unit := *g
			unit.rank = n
			if n == 0 {
				o.add(id, c.Healthy, topology, &unit)
			} else {
				o.add(id+"-"+strconv.Itoa(n), c.Healthy, topology, &unit)
			}
		}
	}
	slices.SortStableFunc(o.list, func(a, b *pluginapi.Device) int { return strings.Compare(a.ID, b.ID) })
	return o
}

// hardwareFirst has software devices last: whoever makes one chooses its name.
func hardwareFirst[D any](devices []D, isSoft func(D) bool) []D {
	return slices.SortedStableFunc(slices.Values(devices), func(a, b D) int { return compareBool(isSoft(a), isSoft(b)) })
}

// unitID is the ID of a device's first unit. An address is for what sits there:
// by it Multus and the CNI plugin know the NIC that goes with the unit.
func (o Offer) unitID(c Candidate, units int) string {
	free := func(id string) bool {
		for n := range units {
			if o.grants[id] != nil || n > 0 && o.grants[id+"-"+strconv.Itoa(n)] != nil {
				return false
			}
		}
		return true
	}
	if c.Address != "" && !c.Beside && !c.Guest && free(c.Address) {
		return c.Address
	}
	// The kernel takes any bytes for a name. An ID that the kubelet cannot be sent
	// would cost the whole resource.
	if isOwnName(c.Name) && free(c.Name) {
		return c.Name
	}
	return strings.Map(cdiCharacter, c.Key())
}

// Units are what the kubelet is told of, in the order of their IDs. They are
// not to be changed.
func (o Offer) Units() []*pluginapi.Device { return o.list }

// Devices are those behind the units of a shared offer.
func (o Offer) Devices() []Candidate {
	if len(o.list) == 0 {
		return nil
	}
	return o.grants[o.list[0].ID].devices
}

// Behind are the devices that a unit gives.
func (o Offer) Behind(unit string) []Candidate {
	if g := o.grants[unit]; g != nil {
		return g.devices
	}
	return nil
}

func (o *Offer) add(id string, healthy bool, topology *pluginapi.TopologyInfo, g *grant) {
	health := pluginapi.Unhealthy
	if healthy {
		health = pluginapi.Healthy
	}
	o.list = append(o.list, &pluginapi.Device{ID: id, Health: health, Topology: topology})
	o.grants[id] = g
}

// newGrant collects what devices give. A device that is gone gives nothing: a
// path that does not exist keeps the container from starting.
func newGrant(r config.Resource, devices []Candidate, connectionManager bool, names CDINames) *grant {
	g := &grant{}
	for _, c := range devices {
		if c.Place == inventory.Gone {
			continue
		}
		g.devices = append(g.devices, c)
		paths := charDevicePaths(r, c.Device)
		g.charDevices = append(g.charDevices, paths...)
		if len(paths) > 0 {
			g.cdi = append(g.cdi, QualifiedCDIName(names[c.Key()]))
		}
	}
	g.nothing = lack(r, g)
	if connectionManager && slices.Contains(r.CharDevices, config.RDMACM) {
		g.charDevices = append(g.charDevices, hostPath(string(config.RDMACM)))
		g.cdi = append(g.cdi, QualifiedCDIName(string(config.RDMACM)))
	}
	if names == nil {
		g.cdi = nil
	} else {
		g.charDevices = nil
	}
	g.finish(r.Env)
	return g
}

// lack says why a container could do nothing with what devices give: none of
// them is left, or none has what RDMA programs open. rdma_cm alone is not
// enough.
func lack(r config.Resource, g *grant) string {
	verbs := slices.ContainsFunc(g.charDevices, func(path string) bool { return kindOf(path) == config.Uverbs })
	switch {
	case len(g.devices) == 0:
		return "the hardware behind it or its driver is gone"
	case slices.Contains(r.CharDevices, config.Uverbs) && !verbs:
		return "no device behind it has a uverbs character device"
	}
	return ""
}

// charDevicePaths are the paths of those character devices of a device that a
// resource gives.
func charDevicePaths(r config.Resource, d inventory.Device) []string {
	var paths []string
	for _, path := range d.CharDevices {
		if slices.Contains(r.CharDevices, kindOf(path)) {
			paths = append(paths, hostPath(path))
		}
	}
	return paths
}

// kindOf is the kind of a character device by its path.
func kindOf(path string) config.CharDevice {
	return config.CharDevice(strings.TrimRight(filepath.Base(path), "0123456789"))
}

// hostPath is where the host has a character device. The plugin may see the
// host's /dev somewhere else.
func hostPath(path string) string { return filepath.Join("/dev/infiniband", filepath.Base(path)) }

// allocate joins the grants of the units of one container.
func (o Offer) allocate(ids []string) (*pluginapi.ContainerAllocateResponse, error) {
	var grants []*grant
	for _, id := range ids {
		g := o.grants[id]
		if g == nil {
			return nil, fmt.Errorf("no device has the ID %q", id)
		}
		// A container that starts without its NIC stays without; one that is
		// refused is created again elsewhere.
		if g.nothing != "" {
			return nil, fmt.Errorf("nothing can be given for %q: %s", id, g.nothing)
		}
		// All units of a pool share one grant; no need to join it with itself.
		if !slices.Contains(grants, g) {
			grants = append(grants, g)
		}
	}
	return o.join(grants).response(), nil
}

// answer makes the answer to Allocate for a grant.
func (g *grant) answer(env bool) *pluginapi.ContainerAllocateResponse {
	response := &pluginapi.ContainerAllocateResponse{}
	for _, path := range g.charDevices {
		response.Devices = append(response.Devices, &pluginapi.DeviceSpec{ContainerPath: path, HostPath: path, Permissions: "rw"})
	}
	for _, name := range g.cdi {
		response.CdiDevices = append(response.CdiDevices, &pluginapi.CDIDevice{Name: name})
	}
	if env {
		response.Envs = environment(g.devices)
	}
	return response
}

// join is the grant of several units: each thing once, sorted.
func (o Offer) join(grants []*grant) *grant {
	if len(grants) == 1 {
		return grants[0]
	}
	all := &grant{}
	for _, g := range grants {
		all.charDevices = append(all.charDevices, g.charDevices...)
		all.cdi = append(all.cdi, g.cdi...)
		all.devices = append(all.devices, g.devices...)
	}
	all.finish(o.env)
	return all
}

// finish sorts what was collected, drops duplicates, and makes the grant ready
// to answer.
func (g *grant) finish(env bool) {
	slices.Sort(g.charDevices)
	g.charDevices = slices.Compact(g.charDevices)
	slices.Sort(g.cdi)
	g.cdi = slices.Compact(g.cdi)
	slices.SortFunc(g.devices, func(a, b Candidate) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Key(), b.Key()))
	})
	g.devices = slices.CompactFunc(g.devices, func(a, b Candidate) bool { return a.Key() == b.Key() })
	g.response = sync.OnceValue(func() *pluginapi.ContainerAllocateResponse { return g.answer(env) })
}
