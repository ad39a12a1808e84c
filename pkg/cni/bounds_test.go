package cni

import (
	"strings"
	"testing"
)

func TestWhatIsJustWithinItsBoundsIsTakenAndWhatIsNotIsNot(t *testing.T) {
	long := strings.Repeat("a", 63)
	for config, want := range map[string]string{ // "" is taken
		`"mtu": 68`: "", `"mtu": 65535`: "", `"mtu": 0`: "", `"mtu": 67`: `"mtu" is 67; use 68 to 65535 bytes`, `"mtu": 65536`: `"mtu" is 65536`, `"mtu": -1`: `"mtu" is -1`,
		`"rdma": "required"`: "", `"rdma": "optional"`: "", `"rdma": "none"`: "", `"rdma": "some"`: `"rdma" is "some"; use "required", "optional" or "none"`,
		`"rdmaMode": "shared"`: "", `"rdmaMode": "exclusive"`: "", `"rdmaMode": ""`: "", `"rdmaMode": "both"`: `"rdmaMode" is "both"`,
		`"sourceRouting": true`: "", `"sourceRouting": false`: "", `"sourceRouting": {}`: "", `"sourceRouting": "yes"`: `"sourceRouting" is "yes"; use true, false or`, `"sourceRouting": {"tabel": 7}`: `"sourceRouting" is `,
		`"sourceRouting": {"table": 252}`: "", `"sourceRouting": {"table": 253}`: "has table 253, which the kernel reserves", `"sourceRouting": {"table": 256}`: "",
		`"sourceRouting": {"priority": 32765}`: "", `"sourceRouting": {"priority": 32766}`: "has priority 32766, after the main table's rule",
		`"rdmaDeviceName": "` + long + `"`: "", `"rdmaDeviceName": "` + long + `b"`: "use a name of at most 63 characters", `"rdmaDeviceName": "a/b"`: "without slashes", `"rdmaDeviceName": "a%d"`: "without slashes", `"rdmaDeviceName": "a b"`: "without slashes",
		`"rdmaDeviceName": "a", "rdma": "none"`: `"rdmaDeviceName" "a" with "rdma": "none"`, `"rdmaDeviceName": "a", "rdma": "optional"`: "",
		`"keepAddresses": true`: "", `"keepAddresses": true, "ipam": {"type": "static"}`: `"keepAddresses" is set, and "ipam" is "static"`, `"keepAddresses": false, "ipam": {"type": "static"}`: "",
		`"runtimeConfig": {"mac": "02:00:00:00:00:01"}`: "", `"runtimeConfig": {"mac": "03:00:00:00:00:01"}`: "use a unicast Ethernet address", `"runtimeConfig": {"mac": "00:00:00:00:00:00"}`: "use a unicast", `"runtimeConfig": {"mac": "02:00:00:00:00:00:00:01"}`: "use a unicast", `"runtimeConfig": {"mac": "x"}`: "use a unicast", `"runtimeConfig": {"mac": ""}`: "",
		`"cniVersion": "0.2.0"`: `"cniVersion" is "0.2.0", whose results need an address`, `"cniVersion": ""`: `"cniVersion" is "0.1.0", whose results need an address`, `"cniVersion": "0.3.0"`: "", `"cniVersion": "0.2.0", "ipam": {"type": "static"}`: "", `"cniVersion": "0.2.0", "keepAddresses": true`: "",
		`"sysctls": {"net.ipv4.conf.IFNAME.arp_notify": "1"}`: "", `"sysctls": {"kernel.x": "1"}`: `sysctl "kernel.x" is not one of the interface's own`,
		`"args": {}, "ipMasq": false, "cniVersions": [], "disableCheck": true, "disableGC": true, "loadOnlyInlinedPlugins": true, "cni.dev/x": 1`: "",
	} {
		text := `{"name": "n", "type": "roce-host-device", "device": "x", ` + config
		if !strings.Contains(config, `"cniVersion"`) {
			text += `, "cniVersion": "1.1.0"`
		}
		c, err := parseConfig([]byte(text + "}"))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
		if want == "" && !strings.Contains(config, `"rdma":`) && c.RDMA != rdmaRequired {
			t.Errorf("%s: RDMA is %q", config, c.RDMA)
		}
	}
}
