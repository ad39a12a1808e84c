package cni

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"reflect"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/pkg/suggest"
)

// What "rdma" in the configuration may say.
const (
	rdmaRequired = "required" // the default: no RDMA device, no attachment
	rdmaOptional = "optional" // take the RDMA device along if there is one
	rdmaNone     = "none"     // leave RDMA alone
)

// A netConf is the plugin's network configuration. The NIC is named by one of
// Device, HWAddr, KernelPath, PCIBusID and RuntimeConfig.DeviceID; the first
// that is set, in this order, counts, as with host-device. Or Devices names
// several.
type netConf struct {
	types.PluginConf

	// Device is the netdev's name, or an alternative name, on the host.
	Device string `json:"device,omitempty"`
	// HWAddr is the netdev's MAC address.
	HWAddr string `json:"hwaddr,omitempty"`
	// KernelPath is the device's folder below /sys/devices.
	KernelPath string `json:"kernelpath,omitempty"`
	// PCIBusID is the PCI address, "0000:08:00.0". Multus sets it, and
	// DeviceID, to the ID of the allocated device.
	PCIBusID string `json:"pciBusID,omitempty"`
	DeviceID string `json:"deviceID,omitempty"`
	// Devices are NICs that one call attaches: names, bus addresses, or patterns
	// of names. All else that the network says is for each of them.
	Devices []string `json:"devices,omitempty"`
	// Claims makes it the last plugin of the cluster's own network, which attaches
	// what the pod's claims allot.
	Claims bool `json:"claims,omitempty"`

	// RDMA is "required" (the default), "optional" or "none".
	RDMA string `json:"rdma,omitempty"`
	// RDMAMode, "shared" or "exclusive", refuses to attach while the node is
	// in the other mode. Empty: either will do.
	RDMAMode rdma.Mode `json:"rdmaMode,omitempty"`
	// MTU in bytes while the NIC is in the pod; 0 keeps the host's.
	MTU int `json:"mtu,omitempty"`
	// KeepAddresses takes the host's addresses and routes on the NIC along into
	// the pod, instead of an IPAM plugin's.
	KeepAddresses bool `json:"keepAddresses,omitempty"`
	// SourceRouting gives the NIC a routing table of its own.
	SourceRouting sourceRouting `json:"sourceRouting,omitzero"`
	// Sysctls are set before the netdev comes up: "net.ipv4.conf.IFNAME.<name>".
	Sysctls map[string]string `json:"sysctls,omitempty"`
	// RDMADeviceName renames the RDMA device while it is in the pod:
	// exclusive mode only.
	RDMADeviceName string `json:"rdmaDeviceName,omitempty"`
	// Force moves a NIC that the host needs.
	Force bool `json:"force,omitempty"`
	// StateDir is ignored: the node's administrator names the folder of journal
	// and locks. Two networks with two journals would fight over one NIC.
	StateDir string `json:"stateDir,omitempty"`

	RuntimeConfig struct {
		DeviceID       string `json:"deviceID,omitempty"`
		DeviceInfoFile string `json:"CNIDeviceInfoFile,omitempty"`
		// MAC is the address that the pod asks for. Whatever else a runtime
		// passes is for other plugins.
		MAC string `json:"mac,omitempty"`
	} `json:"runtimeConfig,omitzero"`

	// raw is the configuration as it came, which is what an IPAM plugin gets.
	raw []byte
	// previous is PrevResult in the current version's type, nil without one.
	previous *current.Result
}

// parseConfig reads and checks the configuration of an ADD, CHECK or STATUS. It
// does not check that the configuration names a NIC: see selector.
func parseConfig(stdin []byte) (*netConf, error) {
	c, err := readConfig(stdin)
	if err != nil {
		return nil, err
	}
	given, err := checkKeys(stdin)
	if err != nil {
		return nil, err
	}
	if ipam := map[string]any{}; c.IPAM.Type == "" && json.Unmarshal(given["ipam"], &ipam) == nil && len(ipam) > 0 {
		return nil, invalid(`"ipam" has no "type"`, "name the IPAM plugin, or take it out")
	}
	if c.Claims {
		if err := c.validateClaims(given); err != nil {
			return nil, err
		}
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	return c, nil
}

// readConfig reads a configuration without asking whether an ADD would accept
// it: an attachment must end even if an ADD would not accept it today. With an
// error it still returns what could be read, which may be nothing.
func readConfig(stdin []byte) (*netConf, error) {
	c := &netConf{raw: stdin}
	err := json.Unmarshal(stdin, c)
	if c.RDMA == "" {
		c.RDMA = rdmaRequired
	}
	if mismatch := (*json.UnmarshalTypeError)(nil); errors.As(err, &mismatch) {
		return c, mistyped(mismatch)
	}
	if err != nil {
		return c, fail(types.ErrDecodingFailure, "", "read the network configuration", err,
			"correct the JSON of the network's configuration")
	}
	err = version.ParsePrevResult(&c.PluginConf)
	if err == nil && c.PrevResult != nil {
		c.previous, err = converted(c.PrevResult)
	}
	if err != nil {
		return c, fail(types.ErrDecodingFailure, "", "read prevResult", err,
			"the plugin before this one in the chain printed it: look there")
	}
	return c, nil
}

// mistyped says in JSON's words which value is of the wrong type.
func mistyped(e *json.UnmarshalTypeError) error {
	got := map[string]string{
		"string": "a string", "array": "a list", "object": "an object", "bool": "true or false",
	}[e.Value]
	if got == "" {
		got = "a number" // "number", or "number 1.5"
	}
	want := "a number"
	switch e.Type.Kind() {
	case reflect.String:
		want = "a string"
	case reflect.Bool:
		want = "true or false"
	case reflect.Slice, reflect.Array:
		want = "a list"
	case reflect.Struct, reflect.Map, reflect.Pointer:
		want = "an object"
	default:
		if got == want {
			want = "a whole number in range"
		}
	}
	where := strings.TrimPrefix(e.Field, "PluginConf.")
	if where == "" {
		return invalid("it is %s", "it must be "+want, got)
	}
	return invalid("%q is %s", "it must be "+want, where, got)
}

func (c *netConf) validate() error {
	switch {
	case !slices.Contains([]string{rdmaRequired, rdmaOptional, rdmaNone}, c.RDMA):
		return invalid(`"rdma" is %q`, `use "required", "optional" or "none"`, c.RDMA)
	case !slices.Contains([]rdma.Mode{"", rdma.Shared, rdma.Exclusive}, c.RDMAMode):
		return invalid(`"rdmaMode" is %q`, `use "shared" or "exclusive", or leave it out`, c.RDMAMode)
	case c.MTU != 0 && (c.MTU < minMTU || c.MTU > maxMTU):
		return invalid(`"mtu" is %d`, fmt.Sprintf("use %d to %d bytes, or leave it out", minMTU, maxMTU), c.MTU)
	case c.KeepAddresses && c.IPAM.Type != "":
		return invalid(`"keepAddresses" is set, and "ipam" is %q`, "use one of them: the NIC keeps the host's addresses, or it gets others", c.IPAM.Type)
	case c.SourceRouting.unknown != "":
		return invalid(`"sourceRouting" is %s`, `use true, false or {"table": N, "priority": P}`, c.SourceRouting.unknown)
	case reserved(c.SourceRouting.Table):
		return invalid(`"sourceRouting" has table %d, which the kernel reserves`, "use another, or leave it out", c.SourceRouting.Table)
	case c.SourceRouting.Priority >= mainPriority:
		return invalid(`"sourceRouting" has priority %d, after the main table's rule`, fmt.Sprintf("use one below %d, or leave it out", mainPriority), c.SourceRouting.Priority)
	case c.RDMADeviceName != "" && c.RDMA == rdmaNone:
		return invalid(`"rdmaDeviceName" %q with "rdma": "none"`, "leave one of them out", c.RDMADeviceName)
	case len(c.RDMADeviceName) > maxRDMAName || strings.ContainsAny(c.RDMADeviceName, "/% \t\n"):
		return invalid(`"rdmaDeviceName" is %q`, fmt.Sprintf("use a name of at most %d characters, without slashes, percent signs and spaces", maxRDMAName), c.RDMADeviceName)
	case c.RuntimeConfig.MAC != "" && c.mac() == nil:
		return invalid(`"runtimeConfig.mac" is %q`, `use a unicast Ethernet address, such as "02:00:00:00:00:01"`, c.RuntimeConfig.MAC)
	case c.addressIsDue() && c.IPAM.Type == "" && !c.KeepAddresses:
		return invalid(`"cniVersion" is %q, whose results need an address, but there is no "ipam"`, `use "cniVersion": "0.3.1" or later, or an IPAM plugin`, cmp.Or(c.CNIVersion, oldestVersion))
	}
	if c.Devices != nil {
		if err := c.validateDevices(); err != nil {
			return err
		}
	}
	_, err := c.sysctls(interfaceWord)
	return err
}

// mac is the MAC address that the pod asks for, by the capability "mac". It is
// nil where it asks for none, or for one that no NIC can have.
func (c *netConf) mac() net.HardwareAddr {
	const group = 1 // the bit of the first byte that marks a multicast address
	mac, err := net.ParseMAC(c.RuntimeConfig.MAC)
	if err != nil || len(mac) != 6 || mac[0]&group != 0 || bytes.Equal(mac, make([]byte, 6)) {
		return nil
	}
	return mac
}

// oldestVersion is that of a configuration without "cniVersion".
const oldestVersion = "0.1.0"

// addressIsDue tells whether the configuration is of a version whose results
// consist of an IPv4 and an IPv6 address, without interfaces: 0.1.0 and 0.2.0.
func (c *netConf) addressIsDue() bool {
	later, err := version.GreaterThanOrEqualTo(c.CNIVersion, "0.3.0")
	return err == nil && !later
}

// maxRDMAName is IB_DEVICE_NAME_MAX less the terminating zero.
const maxRDMAName = 63

// Bounds of an Ethernet MTU: IPv4 needs 68 (RFC 791), the kernel's limit is
// 65535 (ETH_MAX_MTU). The NIC's own bounds are narrower; the kernel checks them.
const (
	minMTU = 68
	maxMTU = 65535
)

// minMTU6 is IPV6_MIN_MTU of <net/ipv6.h>: on a link with less, the kernel
// disables IPv6 (RFC 8200, section 5).
const minMTU6 = 1280

// checkKeys refuses unknown keys: a misspelt "mtu" must not go unnoticed until
// traffic fails.
//
// Nor may a key be there twice. What then counts is not the same for all who read
// it, and an address is only freed by those who understand what its ADD said.
func checkKeys(stdin []byte) (given map[string]json.RawMessage, err error) {
	if err := json.Unmarshal(stdin, &given); err != nil {
		return nil, err // readConfig has read it before
	}
	if key := twice(json.NewDecoder(bytes.NewReader(stdin))); key != "" {
		return nil, invalid("%q is there twice", "keep one", key)
	}
	// Those that the specification names but nothing here reads: a plugin's,
	// and a list's, which runtimes and people merge when there is one plugin.
	// Keys with a slash are namespaced extensions.
	// Source: CNI specification 1.1.0, section 1.
	known := append(keysOf(reflect.TypeFor[netConf]()),
		"args", "ipMasq", "cniVersions", "disableCheck", "disableGC", "loadOnlyInlinedPlugins")
	for _, key := range slices.Sorted(maps.Keys(given)) {
		if slices.Contains(known, key) || strings.Contains(key, "/") {
			continue
		}
		advice := "take it out; README.md lists the keys"
		if near, ok := suggest.Nearest(key, known); ok {
			advice = fmt.Sprintf("did you mean %q?", near)
		}
		return nil, invalid("unknown key %q", advice, key)
	}
	return given, nil
}

// twice finds a key that an object of a JSON value has twice, "" for none.
func twice(d *json.Decoder) string {
	open, err := d.Token()
	if delim, ok := open.(json.Delim); err != nil || !ok || delim != '{' && delim != '[' {
		return ""
	}
	seen := map[string]bool{}
	for d.More() {
		if open == json.Delim('{') {
			token, err := d.Token()
			key, _ := token.(string)
			if err != nil || seen[key] {
				return key
			}
			seen[key] = true
		}
		if key := twice(d); key != "" {
			return key
		}
	}
	_, _ = d.Token() // the end
	return ""
}

// keysOf lists the JSON keys of a struct.
func keysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			keys = append(keys, keysOf(f.Type)...)
			continue
		}
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			keys = append(keys, name)
		}
	}
	return keys
}
