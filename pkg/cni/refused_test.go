package cni

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/roce-k8s/roce-k8s/pkg/claim"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// refusal is what an error says, with what to do; "" is none.
func refusal(err error) string {
	if err == nil {
		return ""
	}
	var e *types.Error
	if !errors.As(err, &e) {
		return "no error of CNI: " + err.Error()
	}
	return strings.TrimPrefix(e.Msg, "network configuration: ") + "; " + e.Details
}

func TestEachKeyOfANetworkHasItsBounds(t *testing.T) {
	long := strings.Repeat("r", 63)
	const device = `"device": "a", `
	for config, want := range map[string]string{
		device + `"rdma": "required"`: "",
		device + `"rdma": "optional"`: "",
		device + `"rdma": "none"`:     "",
		device + `"rdma": "maybe"`:    `"rdma" is "maybe"; use "required", "optional" or "none"`,

		device + `"rdmaMode": "shared"`:    "",
		device + `"rdmaMode": "exclusive"`: "",
		device + `"rdmaMode": "both"`:      `"rdmaMode" is "both"; use "shared" or "exclusive", or leave it out`,

		device + `"mtu": 0`:     "",
		device + `"mtu": 67`:    `"mtu" is 67; use 68 to 65535 bytes, or leave it out`,
		device + `"mtu": 68`:    "",
		device + `"mtu": 65535`: "",
		device + `"mtu": 65536`: `"mtu" is 65536; use 68 to 65535 bytes, or leave it out`,
		device + `"mtu": -1`:    `"mtu" is -1; use 68 to 65535 bytes, or leave it out`,

		device + `"keepAddresses": true`:                             "",
		device + `"keepAddresses": true, "ipam": {}`:                 "",
		device + `"keepAddresses": true, "ipam": {"type": "static"}`: `"keepAddresses" is set, and "ipam" is "static"; use one of them: the NIC keeps the host's addresses, or it gets others`,

		device + `"sourceRouting": false`:                    "",
		device + `"sourceRouting": "yes"`:                    `"sourceRouting" is "yes"; use true, false or {"table": N, "priority": P}`,
		device + `"sourceRouting": {"table": 252}`:           "",
		device + `"sourceRouting": {"table": 253}`:           `"sourceRouting" has table 253, which the kernel reserves; use another, or leave it out`,
		device + `"sourceRouting": {"table": 255}`:           `"sourceRouting" has table 255, which the kernel reserves; use another, or leave it out`,
		device + `"sourceRouting": {"table": 256}`:           "",
		device + `"sourceRouting": {"priority": 32765}`:      "",
		device + `"sourceRouting": {"priority": 32766}`:      `"sourceRouting" has priority 32766, after the main table's rule; use one below 32766, or leave it out`,
		device + `"rdmaDeviceName": "` + long + `"`:          "",
		device + `"rdmaDeviceName": "` + long + `r"`:         `"rdmaDeviceName" is "` + long + `r"; use a name of at most 63 characters, without slashes, percent signs and spaces`,
		device + `"rdmaDeviceName": "a/b"`:                   `"rdmaDeviceName" is "a/b"; use a name of at most 63 characters, without slashes, percent signs and spaces`,
		device + `"rdmaDeviceName": "a%d"`:                   `"rdmaDeviceName" is "a%d"; use a name of at most 63 characters, without slashes, percent signs and spaces`,
		device + `"rdmaDeviceName": "a b"`:                   `"rdmaDeviceName" is "a b"; use a name of at most 63 characters, without slashes, percent signs and spaces`,
		device + `"rdmaDeviceName": "a\nb"`:                  `"rdmaDeviceName" is "a\nb"; use a name of at most 63 characters, without slashes, percent signs and spaces`,
		device + `"rdmaDeviceName": "a\tb"`:                  `"rdmaDeviceName" is "a\tb"; use a name of at most 63 characters, without slashes, percent signs and spaces`,
		device + `"rdmaDeviceName": "a", "rdma": "none"`:     `"rdmaDeviceName" "a" with "rdma": "none"; leave one of them out`,
		device + `"rdmaDeviceName": "a", "rdma": "optional"`: "",

		device + `"runtimeConfig": {"mac": "02:00:00:00:00:01"}`:       "",
		device + `"runtimeConfig": {"mac": "03:00:00:00:00:01"}`:       `"runtimeConfig.mac" is "03:00:00:00:00:01"; use a unicast Ethernet address, such as "02:00:00:00:00:01"`,
		device + `"runtimeConfig": {"mac": "00:00:00:00:00:00"}`:       `"runtimeConfig.mac" is "00:00:00:00:00:00"; use a unicast Ethernet address, such as "02:00:00:00:00:01"`,
		device + `"runtimeConfig": {"mac": "02:00:00:00:00:00:00:01"}`: `"runtimeConfig.mac" is "02:00:00:00:00:00:00:01"; use a unicast Ethernet address, such as "02:00:00:00:00:01"`,
		device + `"runtimeConfig": {"mac": "any"}`:                     `"runtimeConfig.mac" is "any"; use a unicast Ethernet address, such as "02:00:00:00:00:01"`,

		device + `"cniVersion": "0.3.0"`:                           "",
		device + `"cniVersion": "0.2.0"`:                           `"cniVersion" is "0.2.0", whose results need an address, but there is no "ipam"; use "cniVersion": "0.3.1" or later, or an IPAM plugin`,
		device + `"cniVersion": ""`:                                `"cniVersion" is "0.1.0", whose results need an address, but there is no "ipam"; use "cniVersion": "0.3.1" or later, or an IPAM plugin`,
		device + `"cniVersion": "0.2.0", "keepAddresses": true`:    "",
		device + `"cniVersion": "0.2.0", "ipam": {"type": "dhcp"}`: "",

		device + `"sysctls": {"net.ipv4.conf.IFNAME.arp_notify": "1"}`: "",
		device + `"sysctls": {"net/ipv4/conf/IFNAME/arp_notify": "1"}`: "",
		device + `"sysctls": {"net.ipv4.conf.all.arp_notify": "1"}`:    `sysctl "net.ipv4.conf.all.arp_notify" is not one of the interface's own; use a key such as "net.ipv4.conf.IFNAME.arp_notify"; IFNAME stands for the interface`,
		device + `"sysctls": {"kernel.a.b.IFNAME.c": "1"}`:             `sysctl "kernel.a.b.IFNAME.c" is not one of the interface's own; use a key such as "net.ipv4.conf.IFNAME.arp_notify"; IFNAME stands for the interface`,
		device + `"sysctls": {"net.ipv4..IFNAME.c": "1"}`:              `sysctl "net.ipv4..IFNAME.c" is not one of the interface's own; use a key such as "net.ipv4.conf.IFNAME.arp_notify"; IFNAME stands for the interface`,
		device + `"sysctls": {"net.ipv4.conf.IFNAME.a.b": "1"}`:        `sysctl "net.ipv4.conf.IFNAME.a.b" is not one of the interface's own; use a key such as "net.ipv4.conf.IFNAME.arp_notify"; IFNAME stands for the interface`,

		device + `"args": {}, "ipMasq": false, "cniVersions": [], "disableCheck": true, "disableGC": true, "loadOnlyInlinedPlugins": true, "io.cri/x": 1`: "",
		device + `"args": {}, "zzzzzzzz": 1`: `unknown key "zzzzzzzz"; take it out; README.md lists the keys`,
	} {
		if !strings.Contains(config, "cniVersion\"") {
			config = `"cniVersion": "1.1.0", ` + config
		}
		if _, err := parseConfig([]byte("{" + config + "}")); refusal(err) != want {
			t.Errorf("%s: %q\nwant %q", config, refusal(err), want)
		}
	}
}

func TestANetworkOfSeveralNICsHasNothingThatIsForOne(t *testing.T) {
	const several = `"cniVersion": "1.1.0", "devices": ["a", "b?"]`
	for config, want := range map[string]string{
		several: "",
		several + `, "sourceRouting": true, "mtu": 9000, "deviceID": "0000:08:00.0", "pciBusID": "0000:08:00.0"`: "",
		`"cniVersion": "1.1.0", "devices": []`:                                          `"devices" is an empty list; name the NICs, or take it out`,
		`"cniVersion": "1.1.0", "devices": ["a", ""]`:                                   `"devices" has an empty entry; take it out`,
		`"cniVersion": "1.1.0", "devices": ["a", "a"]`:                                  `"devices" has "a" twice; keep one`,
		`"cniVersion": "1.1.0", "devices": ["a", "b["]`:                                 `"devices" has the pattern "b[", which is malformed; use * for any characters, ? for one, [0-9] for one of several`,
		several + `, "device": "c"`:                                                     `"devices" is set, and so is "device", "hwaddr" or "kernelpath"; name all NICs in one of them`,
		several + `, "hwaddr": "c"`:                                                     `"devices" is set, and so is "device", "hwaddr" or "kernelpath"; name all NICs in one of them`,
		several + `, "kernelpath": "c"`:                                                 `"devices" is set, and so is "device", "hwaddr" or "kernelpath"; name all NICs in one of them`,
		several + `, "sourceRouting": {"table": 7}`:                                     `"sourceRouting" has table 7 for several NICs; leave it out: each gets a table of its own`,
		several + `, "rdmaDeviceName": "r"`:                                             `"rdmaDeviceName" is "r" for several NICs; leave it out`,
		several + `, "runtimeConfig": {"mac": "02:00:00:00:00:01"}`:                     `"runtimeConfig.mac" is "02:00:00:00:00:01" for several NICs; take the capability out of the network`,
		`"cniVersion": "0.2.0", "ipam": {"type": "dhcp"}, "devices": ["a"]`:             `"cniVersion" is "0.2.0", whose results have one interface, but "devices" is set; use "cniVersion": "0.3.1" or later`,
		`"cniVersion": "", "keepAddresses": true, "devices": ["a"]`:                     `"cniVersion" is "0.1.0", whose results have one interface, but "devices" is set; use "cniVersion": "0.3.1" or later`,
		`"cniVersion": "0.3.0", "devices": ["a"], "sysctls": {"net.ipv4.conf.a.b": ""}`: `sysctl "net.ipv4.conf.a.b" is not one of the interface's own; use a key such as "net.ipv4.conf.IFNAME.arp_notify"; IFNAME stands for the interface`,
	} {
		if _, err := parseConfig([]byte("{" + config + "}")); refusal(err) != want {
			t.Errorf("%s: %q\nwant %q", config, refusal(err), want)
		}
	}
}

func TestTheClustersNetworkSaysNothingOfNICs(t *testing.T) {
	const frame = `"name": "n", "type": "roce-host-device", "claims": true`
	for config, want := range map[string]string{
		`"cniVersion": "1.1.0", ` + frame + `, "capabilities": {"a": true}, "prevResult": {"cniVersion": "1.1.0"}, "runtimeConfig": {}, "args": {}, "disableGC": true`: "",
		`"cniVersion": "0.3.0", ` + frame: "",
		`"cniVersion": "0.2.0", ` + frame: `"cniVersion" is "0.2.0", whose results have one interface, but "claims" is set; use "cniVersion": "0.3.1" or later`,
		frame:                             `"cniVersion" is "0.1.0", whose results have one interface, but "claims" is set; use "cniVersion": "0.3.1" or later`,
	} {
		if _, err := parseConfig([]byte("{" + config + "}")); refusal(err) != want {
			t.Errorf("%s: %q\nwant %q", config, refusal(err), want)
		}
	}
	for key, value := range map[string]string{
		"ipam": `{}`, "dns": `{}`, "device": `""`, "hwaddr": `""`, "kernelpath": `""`, "pciBusID": `""`, "deviceID": `""`, "devices": `["a"]`, "rdma": `"none"`, "rdmaMode": `""`,
		"mtu": `0`, "keepAddresses": `false`, "sourceRouting": `false`, "sysctls": `{}`, "rdmaDeviceName": `""`, "force": `false`, "stateDir": `""`,
	} {
		_, err := parseConfig([]byte(`{"cniVersion": "1.1.0", ` + frame + `, "` + key + `": ` + value + `}`))
		if want := `"claims" is set, and so is "` + key + `"; take it out: a claim says what its NICs get`; refusal(err) != want {
			t.Errorf("%s: %q\nwant %q", key, refusal(err), want)
		}
	}
}

func TestAClaimSaysOfItsNICsWhatANetworkSaysAndNotWhichTheyAre(t *testing.T) {
	for keys, want := range map[string]string{
		"":   "",
		`{}`: "",
		`{"ifName": "storage", "mtu": 4200, "sourceRouting": true, "ipam": {"type": "dhcp"}}`: "",
		`null`:                          "they are null, and no object; correct the parameters of the claim or its DeviceClass",
		`[]`:                            "json: cannot unmarshal array into Go value of type map[string]json.RawMessage; correct the parameters of the claim or its DeviceClass",
		`{"mtu": 1}`:                    `"mtu" is 1; use 68 to 65535 bytes, or leave it out`,
		`{"mtuu": 1}`:                   `unknown key "mtuu"; did you mean "mtu"?`,
		`{"ifName": ""}`:                `"ifName" is ""; use what the name begins with, such as "rail"`,
		`{"ifName": 7}`:                 `"ifName" is 7; use what the name begins with, such as "rail"`,
		`{"ifName": "fourteenletters"}`: `fourteenletters1 would be its name in the pod, which is longer than the 15 characters that the kernel takes; use a shorter "ifName"`,
		`{"ifName": "fourteenletter"}`:  "",
		`{"ifName": "a/b"}`:             `a/b1 cannot be its name in the pod: interface name contains / or : or whitespace characters; use another "ifName"`,
		`{"ifName": "a%"}`:              "CNI_IFNAME is a%1, which cannot name a single interface; give the network another interface name; nothing was changed",
	} {
		if got := refusal(CheckNetwork(json.RawMessage(keys))); got != want {
			t.Errorf("%s: %q\nwant %q", keys, got, want)
		}
	}
	for _, key := range []string{"name", "type", "cniVersion", "prevResult", "runtimeConfig", "capabilities", "device", "devices", "hwaddr", "kernelpath", "pciBusID", "deviceID", "claims"} {
		want := `"` + key + `" is set; take it out: the NIC and the network are given`
		if got := refusal(CheckNetwork(json.RawMessage(`{"` + key + `": "a"}`))); got != want {
			t.Errorf("%s: %q\nwant %q", key, got, want)
		}
	}
}

func TestTheNetworkOfAClaimedNICIsTheClaimsInTheFrameOfTheClusters(t *testing.T) {
	cluster := &netConf{PluginConf: types.PluginConf{CNIVersion: "1.0.0", Name: "pods", Type: "roce-host-device"}}
	for keys, want := range map[string]struct{ ifName, raw string }{
		"":                                   {"rail3", `{"cniVersion":"1.0.0","deviceID":"0000:43:00.0","name":"pods","type":"roce-host-device"}`},
		`{"ifName": "storage", "mtu": 4200}`: {"storage3", `{"cniVersion":"1.0.0","deviceID":"0000:43:00.0","mtu":4200,"name":"pods","type":"roce-host-device"}`},
	} {
		c, ifName, err := cluster.forDevice(claim.Device{Bus: "pci", Address: "0000:43:00.0", Rail: 2, Network: json.RawMessage(keys)})
		if err != nil || ifName != want.ifName || string(c.raw) != want.raw || c.DeviceID != "0000:43:00.0" {
			t.Errorf("%s: %s, %s, %v", keys, ifName, c.raw, err)
		}
	}
}

func TestTheNetworkOfOneOfSeveralNICsNamesItAlone(t *testing.T) {
	const config = `{"cniVersion":"1.1.0","name":"n","type":"roce-host-device","devices":["a","b"],"mtu":9000,"deviceID":"0000:09:00.0","pciBusID":"0000:09:00.0",` +
		`"runtimeConfig":{"deviceID":"0000:09:00.0","CNIDeviceInfoFile":"/info"}}`
	c, err := parseConfig([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct{ key, info string }{
		"a": {"device", "/info"}, "b": {"device", ""}, "0000:08:00.0": {"deviceID", "/info"}, "mlx5_core.sf.4": {"deviceID", ""},
	} {
		one, err := c.alone(name, want.info != "")
		if err != nil {
			t.Fatal(err)
		}
		selected, err := one.selector()
		var keys map[string]json.RawMessage
		if err := errors.Join(err, json.Unmarshal(one.raw, &keys)); err != nil {
			t.Fatal(err)
		}
		if selected != (selector{want.key, name}) || one.RuntimeConfig.DeviceInfoFile != want.info || one.MTU != 9000 || one.Devices != nil {
			t.Errorf("%s: %+v, %q", name, selected, one.RuntimeConfig.DeviceInfoFile)
		}
		if string(keys[want.key]) != `"`+name+`"` || keys["devices"] != nil || string(keys["mtu"]) != "9000" {
			t.Errorf("%s: an IPAM plugin gets %s", name, one.raw)
		}
	}
	if len(c.Devices) != 2 || c.RuntimeConfig.DeviceInfoFile != "/info" || string(c.raw) != config {
		t.Errorf("the whole network has become %+v", c)
	}
}

func TestTheNICsOfACallAreNumbered(t *testing.T) {
	for i, want := range []string{"net1", "net1-2", "net1-3"} {
		if got := numbered("net1", i); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestOfSeveralFailuresTheFirstIsToldAndTheOthersAreCounted(t *testing.T) {
	one, two, other := types.NewError(101, "held", "wait"), types.NewError(102, "taken", "rename"), errors.New("no CNI error")
	for _, tt := range []struct {
		failed []error
		want   error
	}{
		{nil, nil}, {[]error{one}, one}, {[]error{other, one}, other},
		{[]error{one, two}, types.NewError(101, "held (and 1 more)", "wait")},
		{[]error{two, other, one}, types.NewError(102, "taken (and 2 more)", "rename")},
	} {
		if got := first(tt.failed); refusal(got) != refusal(tt.want) {
			t.Errorf("%v: %v", tt.failed, got)
		}
	}
}

func TestNICsAreDoneTogetherOrInTurn(t *testing.T) {
	fails := func(n int) error {
		if n%2 == 0 {
			return nil
		}
		return errors.New(strings.Repeat("x", n))
	}
	texts := func(errs []error) (s string) {
		for _, err := range errs {
			s += err.Error() + " "
		}
		return s
	}
	if got := texts(together([]int{3, 2, 1}, fails)); got != "xxx x " {
		t.Errorf("together: %s", got)
	}
	if got := texts(together([]int{3}, fails)); got != "xxx " {
		t.Errorf("one: %s", got)
	}
	done := 0
	if got := texts(inTurn([]int{2, 1, 3}, func(n int) error { done++; return fails(n) })); got != "x " || done != 2 {
		t.Errorf("in turn: %s, %d done", got, done)
	}
}

// "force" takes what the host needs, and not what another pod has.
func TestANICThatAnotherPodsNICIsOnIsRefusedAlsoWithForce(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	s.sh("ip link add mv0 link " + h.Netdev + " type macvlan; ip link add mv1 link " + h.Netdev + " type macvlan")
	p, b := s.pod("c1"), s.pod("c2")
	b.add("net1", network("mv0", ""))
	_, err := p.tryAdd("net1", network(h.Netdev, `, "force": true`))
	if want := "112 " + h.Netdev + ": the macvlan mv0 is on top of it, held by pod default/c2 (container c2, interface net1); "; !strings.HasPrefix(told(err), want) {
		t.Errorf("%s, want %s", told(err), want)
	}
	s.Must(b.del("net1", network("mv0", "")))
	p.add("net1", network(h.Netdev, `, "force": true`)) // the host's own go without it meanwhile
	if host := s.record("c1", "net1").Host; len(host.Uppers) != 2 || len(host.Stacked) != 2 || host.Stacked[0].Netns != s.host.ID {
		t.Errorf("%+v", host)
	}
	s.sh("ip link set mv1 name storage0")
	s.Must(p.del("net1", network(h.Netdev, "")))
	if left := s.onHost(); left != h.Netdev+" mv0 storage0" {
		t.Error(left)
	}
}
