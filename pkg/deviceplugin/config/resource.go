package config

import (
	"fmt"
	"path"
	"reflect"
	"strings"
)

// maxUnits bounds the units. The kubelet takes all of them in one gRPC message
// of at most 4 MiB, about 20 bytes a unit; this leaves half of it free.
const maxUnits = 100_000

// maxUnitsPerDevice leaves room for 500 devices.
const maxUnitsPerDevice = 200

// resource reads a resource; ok is whether it can be served.
func (d *decoder) resource(v value) (r Resource, ok bool) {
	before := len(d.errs.LeftOut())
	defer func(cost Cost) {
		ok = len(d.errs.LeftOut()) == before
		d.cost = cost
	}(d.cost)
	d.cost, d.unmatched = LeftOut, Ignored
	r = Resource{At: v.at, Mode: Shared, HealthPolicy: HealthPresent}
	name, prefix := "", defaultResourcePrefix
	var devices []string
	at := map[string]Position{} // of the members
	keys := keys{
		"resourceName": func(m member) {
			if s, ok := d.text(m.value, `"resourceName"`); ok && d.name(s, m.value.at) {
				name = s
			}
		},
		"resourcePrefix": func(m member) {
			// k8s-rdma-shared-dev-plugin reads an empty one as the default.
			if m.value.kind == text && m.value.literal == "" {
				return
			}
			if s, ok := d.text(m.value, `"resourcePrefix"`); ok && d.prefix(s, m.value.at) {
				prefix = s
			}
		},
		"mode":           func(m member) { r.Mode = d.mode(m.value) },
		"rdmaHcaMax":     func(m member) { r.Units = d.between(m, 0, maxUnits) },
		"unitsPerDevice": func(m member) { r.Units = d.between(m, 1, maxUnitsPerDevice) },
		"selectors":      func(m member) { r.Selectors, r.Exclude = d.selectors(m.value) },
		"devices":        func(m member) { devices = d.texts(m, anything) },
		"charDevices":    func(m member) { r.CharDevices, r.Named = d.charDevices(m), true },
		"env":            func(m member) { r.Env = d.boolean(m.value, `"env"`) },
		"healthPolicy": func(m member) {
			r.HealthPolicy = word(d, m.value, `"healthPolicy"`, HealthPresent, HealthLink, HealthIgnore)
		},
	}
	for key, read := range keys {
		keys[key] = func(m member) { at[key] = m.at; read(m) }
	}
	seen := d.object(v, "a resource", keys)
	if name != "" {
		r.Name = prefix + "/" + name
	}
	if len(d.errs.LeftOut()) > before {
		return r, false // what seems to be missing may be there under a wrong name
	}
	d.required(v, seen, "resourceName", `it names the resource, such as "hca_gpu"`)
	d.units(v, &r, seen, at)
	switch {
	case len(devices) > 0 && !r.Selectors.Empty():
		d.errorf(at["devices"], `"selectors" and "devices" are both set; move the names into "ifNames" of the selectors and drop "devices"`)
	case len(devices) == 0 && r.Selectors.Empty():
		d.errorf(v.at, `nothing selects a device; set "selectors", for example {"ifNames": ["ens12np0"]}`)
	case len(devices) > 0:
		r.Selectors.IfNames = devices
	}
	if len(r.CharDevices) == 0 {
		r.CharDevices = defaultCharDevices(r.Mode)
	}
	return r, true
}

// mode reads a mode. Files of 2019 say "hca" for what is shared now, and
// k8s-rdma-shared-dev-plugin ignores it.
func (d *decoder) mode(v value) Mode {
	if v.kind == text && strings.EqualFold(v.literal, "hca") {
		d.notef(v.at, `"mode" %q comes from an older plugin and is read as %q`, v.literal, Shared)
		return Shared
	}
	return word(d, v, `"mode"`, Shared, PerDevice)
}

// units checks that the mode has the number that belongs to it.
func (d *decoder) units(v value, r *Resource, seen map[string]bool, at map[string]Position) {
	switch r.Mode {
	case Shared:
		if seen["unitsPerDevice"] {
			d.errorf(at["unitsPerDevice"], `"unitsPerDevice" is for "mode": "perDevice"; in mode "shared" use "rdmaHcaMax"`)
			return
		}
		switch {
		case !seen["rdmaHcaMax"]:
			d.notef(v.at, `"rdmaHcaMax" is missing: the resource has no units; it says how many containers may use the devices at the same time`)
		case r.Units == 0:
			d.notef(at["rdmaHcaMax"], `"rdmaHcaMax" is 0: the resource has no units`)
		}
	case PerDevice:
		if seen["rdmaHcaMax"] {
			d.errorf(at["rdmaHcaMax"], `"rdmaHcaMax" is for "mode": "shared"; in mode "perDevice" each device is one unit, or "unitsPerDevice"`)
		}
		if !seen["unitsPerDevice"] {
			r.Units = 1
		}
	}
}

// Single is the resource where each device is given by itself, whatever the mode
// says: what the file leaves out is as in mode PerDevice.
func (r Resource) Single() Resource {
	r.Mode, r.Units = PerDevice, 1
	if !r.Named {
		r.CharDevices = defaultCharDevices(r.Mode)
	}
	return r
}

// defaultCharDevices are those of k8s-rdma-shared-dev-plugin in shared mode. A
// container that has a device to itself needs neither umad nor issm for RoCE.
func defaultCharDevices(m Mode) []CharDevice {
	if m == Shared {
		return []CharDevice{Uverbs, Umad, Issm, RDMACM}
	}
	return []CharDevice{Uverbs, RDMACM}
}

func (d *decoder) charDevices(m member) []CharDevice {
	var kinds []CharDevice
	d.list(m, func(v value) {
		kinds = append(kinds, word(d, v, `an entry of "charDevices"`, Uverbs, Umad, Issm, RDMACM))
	})
	if len(kinds) == 0 && m.value.kind == list {
		d.errorf(m.value.at, `"charDevices" is empty; leave it out for %q`, defaultCharDevices(Shared))
	}
	return kinds
}

func (d *decoder) required(v value, seen map[string]bool, key, what string) {
	if !seen[key] {
		d.errorf(v.at, "%q is missing; %s", key, what)
	}
}

// name and prefix check what the kubelet would refuse at registration.
// Source: IsExtendedResourceName in k8s.io/kubernetes/pkg/apis/core/v1/helper,
// and IsQualifiedName in k8s.io/apimachinery/pkg/util/validation.
func (d *decoder) name(s string, at Position) bool {
	if len(s) > 63 || strings.Trim(s, alphanumeric+"-_.") != "" || !bounded(s, alphanumeric) {
		d.errorf(at, `"resourceName" is %q; use at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends`, s)
		return false
	}
	return true
}

func (d *decoder) prefix(s string, at Position) bool {
	switch {
	case s == "kubernetes.io" || strings.HasSuffix(s, ".kubernetes.io") || strings.HasPrefix(s, "requests."):
		d.errorf(at, `"resourcePrefix" is %q, which Kubernetes reserves; use a domain of your own, or leave it out for %q`, s, defaultResourcePrefix)
		return false
	// The API server checks "requests." + name as well.
	case len("requests.")+len(s) > 253:
		d.errorf(at, `"resourcePrefix" is too long; use at most 244 characters`)
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if len(label) > 63 || strings.Trim(label, lowerAlphanumeric+"-") != "" || !bounded(label, lowerAlphanumeric) {
			d.errorf(at, `"resourcePrefix" is %q; it must be a DNS name in lower case, such as "rdma" or "example.com"`, s)
			return false
		}
	}
	return true
}

const (
	lowerAlphanumeric = "abcdefghijklmnopqrstuvwxyz0123456789"
	alphanumeric      = lowerAlphanumeric + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// bounded tells whether s begins and ends with one of the characters.
func bounded(s, chars string) bool {
	return s != "" && strings.IndexByte(chars, s[0]) >= 0 && strings.IndexByte(chars, s[len(s)-1]) >= 0
}

// selectors reads "selectors", with "exclude" in it.
func (d *decoder) selectors(v value) (chosen, excluded Selectors) {
	keys := d.selectorKeys(&chosen)
	keys["exclude"] = func(m member) {
		// An entry that matches nothing leaves in a device that was to be out.
		d.unmatched = LeftOut
		d.object(m.value, `"exclude"`, d.selectorKeys(&excluded))
		d.unmatched = Ignored
	}
	d.object(v, "selectors", keys)
	return chosen, excluded
}

func (d *decoder) selectorKeys(s *Selectors) keys {
	return keys{
		"vendors":      func(m member) { s.Vendors = d.ids(m) },
		"deviceIDs":    func(m member) { s.DeviceIDs = d.ids(m) },
		"drivers":      func(m member) { s.Drivers = d.texts(m, anything) },
		"ifNames":      func(m member) { s.IfNames = d.patterns(m) },
		"linkTypes":    func(m member) { s.LinkTypes = d.linkTypes(m) },
		"pciAddresses": func(m member) { s.PCIAddresses = d.addresses(m) },
		"rdmaDevices":  func(m member) { s.RDMADevices = d.patterns(m) },
		"numaNodes":    func(m member) { s.NUMANodes = d.numaNodes(m) },
		"isRoCE": func(m member) {
			is := d.boolean(m.value, `"isRoCE"`)
			s.IsRoCE = &is
		},
	}
}

// Empty tells whether there is nothing that could match.
func (s Selectors) Empty() bool { return reflect.ValueOf(s).IsZero() }

// ids reads PCI IDs: four hexadecimal digits.
func (d *decoder) ids(m member) []string {
	return d.texts(m, func(s string) (string, error) {
		id := strings.TrimPrefix(strings.ToLower(s), "0x")
		if len(id) != 4 || strings.Trim(id, "0123456789abcdef") != "" {
			return "", fmt.Errorf(`%q has %q; a PCI ID has four hexadecimal digits, such as "15b3" (see lspci -nn)`, m.key, s)
		}
		return id, nil
	})
}

// patterns reads shell patterns as path.Match has them.
func (d *decoder) patterns(m member) []string {
	return d.texts(m, func(s string) (string, error) {
		if _, err := path.Match(s, ""); err != nil {
			return "", fmt.Errorf("%q has %q, which is not a shell pattern; use *, ? and [a-z]", m.key, s)
		}
		return s, nil
	})
}

func (d *decoder) linkTypes(m member) []string {
	return d.texts(m, func(s string) (string, error) {
		return match(s, fmt.Sprintf("an entry of %q", m.key), "ether", "infiniband")
	})
}

// addresses reads patterns for PCI addresses, also in the short form of lspci,
// and for the names of auxiliary devices.
func (d *decoder) addresses(m member) []string {
	patterns := d.patterns(m)
	for i, p := range patterns {
		p = strings.ToLower(p)
		if strings.Count(p, ":") == 1 {
			p = "0000:" + p
		}
		patterns[i] = p
	}
	return patterns
}

func (d *decoder) numaNodes(m member) []int {
	var nodes []int
	d.list(m, func(v value) {
		if n, ok := d.integer(v, fmt.Sprintf("an entry of %q", m.key)); ok {
			nodes = append(nodes, n)
		}
	})
	return nodes
}

// word reads one of a set of words, whatever the case; "" if it is none of
// them.
func word[W ~string](d *decoder, v value, what string, valid ...W) W {
	s, ok := d.text(v, what)
	if !ok {
		return ""
	}
	w, err := match(s, what, valid...)
	if err != nil {
		d.errorf(v.at, "%v", err)
	}
	return w
}

// match finds a word among the valid ones.
func match[W ~string](s, what string, valid ...W) (W, error) {
	names := make([]string, len(valid))
	for i, w := range valid {
		if strings.EqualFold(s, string(w)) {
			return w, nil
		}
		names[i] = string(w)
	}
	return "", fmt.Errorf("%s is %q: %s", what, s, suggestion(s, names))
}
