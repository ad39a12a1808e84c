package cni

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// validateDevices checks a network of several NICs for what cannot be each one's.
func (c *netConf) validateDevices() error {
	seen := map[string]bool{}
	for _, device := range c.Devices {
		switch _, err := path.Match(device, ""); {
		case device == "":
			return invalid(`"devices" has an empty entry`, "take it out")
		case err != nil:
			return invalid(`"devices" has the pattern %q, which is malformed`, "use * for any characters, ? for one, [0-9] for one of several", device)
		case seen[device]:
			return invalid(`"devices" has %q twice`, "keep one", device)
		}
		seen[device] = true
	}
	switch {
	case len(c.Devices) == 0:
		return invalid(`"devices" is an empty list`, "name the NICs, or take it out")
	case cmp.Or(c.Device, c.HWAddr, c.KernelPath) != "":
		return invalid(`"devices" is set, and so is "device", "hwaddr" or "kernelpath"`, "name all NICs in one of them")
	case c.SourceRouting.Table != 0:
		return invalid(`"sourceRouting" has table %d for several NICs`, "leave it out: each gets a table of its own", c.SourceRouting.Table)
	case c.RDMADeviceName != "":
		return invalid(`"rdmaDeviceName" is %q for several NICs`, "leave it out", c.RDMADeviceName)
	case c.RuntimeConfig.MAC != "":
		return invalid(`"runtimeConfig.mac" is %q for several NICs`, "take the capability out of the network", c.RuntimeConfig.MAC)
	case c.addressIsDue():
		return invalid(`"cniVersion" is %q, whose results have one interface, but "devices" is set`, `use "cniVersion": "0.3.1" or later`, cmp.Or(c.CNIVersion, oldestVersion))
	}
	return nil
}

// listed are the operations on the NICs of a network that lists several. The first
// has the interface name that the runtime asks for, the others that name with
// their number.
func (o *operation) listed() (nics []*operation, err error) {
	devices, err := o.expand(o.config.Devices)
	if err != nil {
		return nil, err
	}
	if len(devices) > mostNICs {
		return nil, invalid(`"devices" means %d NICs of this node`, fmt.Sprintf("name at most %d; nothing was changed", mostNICs), len(devices))
	}
	for i, device := range devices {
		ifName := numbered(o.args.IfName, i)
		if len(ifName) > longestIfName {
			return nil, fail(types.ErrInvalidEnvironmentVariables, "", fmt.Sprintf("NIC %d of %d would be %s in the pod, which is longer than the %d characters that the kernel takes", i+1, len(devices), ifName, longestIfName), nil,
				"give the network a shorter interface name; nothing was changed")
		}
		c, err := o.config.alone(device, i == 0)
		if err != nil {
			return nil, err
		}
		nics = append(nics, o.forNIC(ifName, c))
	}
	return nics, nil
}

// mostNICs is more than any node has for its pods. A pattern may match each pod's
// link on the host, and all that match are looked at at the same time.
const mostNICs = 64

// numbered is the interface name of a call's NIC, counted from 0: net1, net1-2,
// net1-3. Runtimes and Multus give no such names themselves.
func numbered(call string, i int) string {
	if i == 0 {
		return call
	}
	return fmt.Sprintf("%s-%d", call, i+1)
}

// longestIfName is IFNAMSIZ less the terminating zero.
const longestIfName = 15

// alone is the configuration for one NIC of several. Whatever the runtime says of
// one device is about the first.
func (c *netConf) alone(device string, isFirst bool) (*netConf, error) {
	key := "device"
	if rdma.IsPCIAddress(device) || rdma.IsAuxiliaryAddress(device) {
		key = "deviceID"
	}
	one := *c
	var err error
	if one.raw, err = c.with(key, device, "devices"); err != nil {
		return nil, fail(types.ErrDecodingFailure, device, "write its configuration", err, "correct the JSON of the network's configuration")
	}
	one.Devices, one.RuntimeConfig.DeviceID, one.PCIBusID, one.DeviceID = nil, "", "", ""
	if key == "device" {
		one.Device = device
	} else {
		one.DeviceID = device
	}
	if !isFirst {
		one.RuntimeConfig.DeviceInfoFile = ""
	}
	return &one, nil
}

// with is the configuration as it came, but for a key's value and without some keys.
func (c *netConf) with(key string, value any, without ...string) (raw []byte, err error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(c.raw, &keys); err != nil {
		return nil, err
	}
	for _, key := range without {
		delete(keys, key)
	}
	if keys[key], err = json.Marshal(value); err != nil {
		return nil, err
	}
	return json.Marshal(keys)
}

// isPattern tells whether an entry of "devices" stands for more than one name.
func isPattern(device string) bool { return strings.ContainsAny(device, `*?[\`) }

// expand puts the names of NICs in the place of patterns. NICs that pods have
// match, too: to leave them out would give the pod fewer than it was promised.
func (o *operation) expand(devices []string) (names []string, err error) {
	if !slices.ContainsFunc(devices, isPattern) {
		return devices, nil
	}
	known, err := o.knownNICs()
	if err != nil {
		return nil, err
	}
	for _, device := range devices {
		if !isPattern(device) {
			names = append(names, device)
			continue
		}
		matching := slices.DeleteFunc(slices.Clone(known), func(nic knownNIC) bool { return !nic.match(device) })
		if len(matching) == 0 {
			return nil, fail(codeNICNotFound, "", fmt.Sprintf("no NIC of this node matches %q", device), nil, "compare with `ip link` on the host; nothing was changed")
		}
		for _, nic := range matching {
			names = append(names, nic.names[0])
		}
	}
	return names, nil
}

// A knownNIC is a NIC on the host, or one that a pod has, as the host knows it.
type knownNIC struct {
	names   []string // the alternative ones, too
	address string
}

func (n knownNIC) match(pattern string) bool {
	return slices.ContainsFunc(n.names, func(name string) bool {
		is, _ := path.Match(pattern, name)
		return is
	})
}

// knownNICs lists them in the order of rails: that of their PCI addresses.
//
// One that is on its way between the two looks at the host is in the journal.
func (o *operation) knownNICs() ([]knownNIC, error) {
	byName := map[string]knownNIC{}
	onHost := func() error {
		links, err := o.host.Links(o.ctx)
		if err != nil {
			return fail(codeNICNotFound, "", "list the NICs of the host", err, "try again")
		}
		for _, link := range links {
			a := link.Attrs()
			_, address := o.Node.NetdevAddress(a.Name)
			byName[a.Name] = knownNIC{append([]string{a.Name}, a.AltNames...), address}
		}
		return nil
	}
	if err := onHost(); err != nil {
		return nil, err
	}
	records, err := o.records()
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		if o.journal.Current(r) && r.Step != attachment.Returned {
			byName[r.Host.Name] = knownNIC{append([]string{r.Host.Name}, r.Host.AltNames...), r.NIC.Address}
		}
	}
	if err := onHost(); err != nil {
		return nil, err
	}
	known := slices.Collect(maps.Values(byName))
	slices.SortFunc(known, func(a, b knownNIC) int {
		return cmp.Or(rdma.ComparePCI(a.address, b.address), cmp.Compare(a.names[0], b.names[0]))
	})
	return known, nil
}

// refuseTwice refuses a NIC that two entries of a network name.
func refuseTwice(nics []*operation, targets []target) error {
	for i := range targets {
		for j := range targets[:i] {
			if targets[i].same(targets[j]) {
				one, _ := nics[j].config.selector()
				other, _ := nics[i].config.selector()
				return invalid("%s and %s are the same NIC", "keep one; nothing was changed", one, other)
			}
		}
	}
	return nil
}
