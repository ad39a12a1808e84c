package cni_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/mounts"
)

func TestADDGivesTheNICAndDELReturnsItAsItWas(t *testing.T) {
	for _, version := range []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		t.Run(version, func(t *testing.T) {
			r := newRig(t, 1)
			before, p := hostState(t), r.pod()
			config := r.config(rails[0], map[string]any{"cniVersion": version, "mtu": 4200})
			result := p.add("net1", config)

			nic := result.Interfaces[0]
			if nic.Name != "net1" || nic.Sandbox != p.netns || nic.Mac == "" {
				t.Errorf("the result's interface is %+v", nic)
			}
			if version == "1.1.0" && (nic.Mtu != 4200 || inLab() && !strings.HasPrefix(nic.PciID, "0000:")) {
				t.Errorf("the result's interface lacks MTU or PCI address: %+v", nic)
			}
			if got := result.IPs[0].Address.String(); got != "172.31.1.2/24" || *result.IPs[0].Interface != 0 {
				t.Errorf("the result's address is %s of interface %v", got, result.IPs[0].Interface)
			}
			for _, want := range []string{"mtu 4200", "UP", "inet 172.31.1.2/24 brd 172.31.1.255"} {
				if out := p.exec("ip", "addr", "show", "net1"); !strings.Contains(out, want) {
					t.Errorf("no %q in the pod:\n%s", want, out)
				}
			}
			if version != "0.3.1" {
				must(t, p.check("net1", config))
			}
			p.del("net1", config)
			r.expectHost(before)
			r.expectClean()
			p.del("net1", config) // the specification allows any number
			r.expectHost(before)
		})
	}
}

func TestAddressesAndRoutesComeBackAsTheHostSetThem(t *testing.T) {
	nic := rails[0]
	kept := []string{
		"addr add 192.168.100.1/24 dev " + nic, // without a broadcast address
		"addr add 192.168.101.1/24 brd + label " + nic + ":1 dev " + nic,
		"addr add 192.168.102.1 peer 192.168.102.2/32 dev " + nic,
		// As NetworkManager does it.
		"addr add 192.168.103.1/24 noprefixroute dev " + nic,
		"route add 192.168.103.0/24 proto kernel scope link src 192.168.103.1 metric 101 dev " + nic,
		"addr add 192.168.104.1/24 metric 102 dev " + nic,
		"addr add 192.168.105.1/24 preferred_lft 0 dev " + nic,
		"-6 addr add fd00:100::1/64 nodad dev " + nic,
		"-6 addr add fd00:102::1/64 nodad preferred_lft 0 dev " + nic,
		"-6 addr add fd00:103::1/64 nodad home mngtmpaddr dev " + nic,
		"-6 addr add fd00:101::1/64 nodad noprefixroute dev " + nic,
		"-6 route add fd00:101::/64 proto kernel metric 101 dev " + nic,
		"route add 10.100.0.0/16 via 192.168.102.2 src 192.168.103.1 mtu 1400 metric 7 dev " + nic,
		"route add 10.101.0.0/16 via 172.16.0.9 onlink dev " + nic,
		"route add 172.20.0.0/16 dev " + nic, // the way to the next one's gateway
		"route add 10.102.0.0/16 via 172.20.0.9 dev " + nic,
		"-6 route add fd00:200::/48 via fe80::9 dev " + nic,
		"route add 10.122.0.0/16 via inet6 fe80::9 dev " + nic, // as BGP without numbers
		"route add 10.123.0.0/16 via 192.168.102.2 initcwnd 20 quickack 1 rto_min 5ms realm 4 dev " + nic,
		"route add 10.123.0.0/16 tos 0x10 via 192.168.102.2 dev " + nic,
		"route add multicast 239.1.0.0/16 dev " + nic,
		"-6 route add fd00:201::/48 via fe80::9 mtu lock 1400 pref high dev " + nic,
	}
	// A DHCP client sets all of them again, and a router's advertisement the last.
	leased := []string{
		"addr add 192.168.110.5/24 valid_lft 600 preferred_lft 600 dev " + nic,
		"route add 10.110.0.0/16 via 192.168.110.1 proto dhcp dev " + nic,
		"route add 10.111.0.0/16 src 192.168.110.5 proto dhcp dev " + nic,
		"-6 route add fd00:202::/48 via fe80::9 proto ra dev " + nic,
	}
	for name, config := range map[string]map[string]any{
		"beside IPAM":        {},
		"when they are kept": {"ipam": nil, "keepAddresses": true, "sourceRouting": true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1)
			t.Cleanup(func() {
				run(t, "bash", "-ec", "ip addr flush scope global dev "+nic+"; ip -6 route flush root fd00::/16")
			})
			ip := func(commands []string) {
				for _, c := range commands {
					run(t, append([]string{"ip"}, strings.Fields(c)...)...)
				}
			}
			state := func() string {
				var lines []string
				out := run(t, "ip", "addr", "show", "dev", nic) + run(t, "ip", "route", "show", "dev", nic) + run(t, "ip", "-6", "route", "show", "dev", nic)
				for line := range strings.Lines(out) {
					own := strings.Contains(line, "fe80::") && !strings.Contains(line, "via") // the kernel's own, in its own time
					if strings.Contains(line, "inet 192.168.104.1/24") {
						// The metric is the route's afterwards: see netdev.Address.
						line = strings.NewReplacer(" metric 102", "", " noprefixroute", "").Replace(line)
					}
					if !own && (strings.Contains(line, "inet") || !strings.HasPrefix(line, " ") && !strings.Contains(line, nic)) {
						lines = append(lines, strings.TrimSpace(line))
					}
				}
				return strings.Join(lines, "\n")
			}
			ip(kept)
			// Only this NIC has it on; a move resets it.
			must(t, os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0))
			t.Cleanup(func() {
				must(t, os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("0"), 0))
			})
			before, p := state(), r.pod()
			ip(leased)
			c := r.config(nic, config)
			p.add("net1", c)
			must(t, p.check("net1", c))
			if out := p.exec("ip", "route", "show", "192.168.103.0/24"); c["ipam"] == nil && !strings.Contains(out, "dev net1") {
				t.Errorf("in the pod the kernel adds the route that somebody added on the host; there is %q", out)
			}
			p.del("net1", c)
			if after := state(); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			r.expectClean()
		})
	}
}

func TestTheNICCanBeNamedInEveryWayThatHostDeviceKnows(t *testing.T) {
	r := newRig(t, 1)
	nic := rails[0]
	selectors := map[string]map[string]any{
		"device":   {},
		"hwaddr":   {"device": nil, "hwaddr": strings.TrimSpace(read(t, "/sys/class/net/"+nic+"/address", nic))},
		"both IDs": {"pciBusID": "3", "deviceID": "3"}, // what Multus adds for a shared resource
	}
	if inLab() {
		// virtio NICs: ens12np0/device is virtioN, its parent the PCI function
		virtio, err := filepath.EvalSymlinks("/sys/class/net/" + nic + "/device")
		must(t, err)
		pci := filepath.Base(filepath.Dir(virtio))
		selectors["pciBusID"] = map[string]any{"device": nil, "pciBusID": pci}
		selectors["deviceID"] = map[string]any{"device": nil, "deviceID": pci, "pciBusID": pci}
		selectors["runtimeConfig"] = map[string]any{"device": nil, "runtimeConfig": map[string]any{"deviceID": pci}}
		selectors["kernelpath"] = map[string]any{"device": nil, "kernelpath": virtio}
	} else {
		selectors["alternative name"] = map[string]any{"device": "alt-" + nic}
	}
	for name, change := range selectors {
		r.run(name, func(r *rig) {
			before, p := hostState(r), r.pod()
			config := r.config(nic, change)
			p.add("net1", config)
			p.exec("ip", "link", "show", "net1")
			p.del("net1", config)
			r.expectHost(before)
		})
	}
	r.expectClean()
}

// read reads a sysfs file of the thread's namespace, which may not be the one
// that /sys shows: then `ip` knows.
func read(t *testing.T, path, nic string) string {
	if b, err := os.ReadFile(path); err == nil && inLab() {
		return string(b)
	}
	return strings.Fields(strings.SplitAfter(run(t, "ip", "-br", "link", "show", nic), "UP")[1])[0]
}

func TestEightNICsGoToOnePodAndBack(t *testing.T) {
	r := newRig(t, 8)
	before, p := hostState(t), r.pod()
	for i, nic := range rails {
		p.add(fmt.Sprintf("net%d", i+1), r.config(nic))
	}
	for i := range rails {
		if out := p.exec("ip", "addr", "show", fmt.Sprintf("net%d", i+1)); !strings.Contains(out, fmt.Sprintf("inet 172.31.%d.2/24", i+1)) || !strings.Contains(out, "mtu 9000") {
			t.Errorf("net%d:\n%s", i+1, out)
		}
	}
	for i := len(rails) - 1; i >= 0; i-- { // Multus deletes in reverse
		p.del(fmt.Sprintf("net%d", i+1), r.config(rails[i]))
	}
	r.expectHost(before)
	r.expectClean()
}

func TestAResultOfAnEarlierPluginInTheChainIsKept(t *testing.T) {
	r := newRig(t, 1)
	p := r.pod()
	config := r.config(rails[0], map[string]any{"prevResult": map[string]any{"cniVersion": "1.1.0",
		"interfaces": []any{map[string]any{"name": "eth0", "sandbox": p.netns}},
		"ips":        []any{map[string]any{"address": "10.1.1.1/24", "interface": 0}}}})
	result := p.addDirect("net1", config)
	if len(result.Interfaces) != 2 || result.Interfaces[0].Name != "eth0" || result.Interfaces[1].Name != "net1" {
		t.Errorf("interfaces: %+v", result.Interfaces)
	}
	if len(result.IPs) != 2 || *result.IPs[0].Interface != 0 || *result.IPs[1].Interface != 1 {
		t.Errorf("addresses: %+v", result.IPs)
	}
	p.del("net1", r.config(rails[0]))
}

func TestAFailedADDChangesNothing(t *testing.T) {
	r := newRig(t, 1)
	before, p, other := hostState(t), r.pod(), r.pod()
	p.exec("ip", "link", "add", "taken", "type", "veth", "peer", "name", "taken-peer")
	nic := rails[0]
	tests := []struct {
		name   string
		ifName string
		change map[string]any
		code   uint
		say    string
	}{
		{"no such NIC", "net1", map[string]any{"device": "ens99np0"}, 100, `no NIC with device "ens99np0" on this node`},
		{"the interface name is taken in the pod", "taken", nil, 102, "the pod already has an interface taken (veth)"},
		{"an interface name that the kernel would number", "net%d", nil, 4, "CNI_IFNAME is net%d"},
		{"one that means all interfaces", "all", nil, 4, "CNI_IFNAME is all"},
		{"a pattern for a path", "net1", map[string]any{"device": nil, "kernelpath": "/sys/devices/*/net"}, 7, "is a pattern; use the path of one device"},
		{"a MAC address of many", "net1", map[string]any{"runtimeConfig": map[string]any{"mac": "01:00:5e:00:00:01"}}, 7, `"runtimeConfig.mac" is "01:00:5e:00:00:01"`},
		{"an unknown key", "net1", map[string]any{"mtuu": 9000}, 7, `unknown key "mtuu"; did you mean "mtu"?`},
		{"one inside", "net1", map[string]any{"sourceRouting": map[string]any{"tabel": 7}}, 7, `"sourceRouting" is {"tabel":7}; use true, false or {"table": N, "priority": P}`},
		{"a value of the wrong kind", "net1", map[string]any{"mtu": "9000"}, 7, `"mtu" is a string; it must be a number`},
		{"an MTU out of range", "net1", map[string]any{"mtu": 20}, 7, `"mtu" is 20; use 68 to 65535 bytes`},
		{"a word that rdma does not know", "net1", map[string]any{"rdma": "yes"}, 7, `"rdma" is "yes"; use "required", "optional" or "none"`},
		{"nothing that names the NIC", "net1", map[string]any{"device": nil}, 7, "nothing names the NIC"},
		{"a shared resource's device ID and no name", "net1", map[string]any{"device": nil, "pciBusID": "3", "deviceID": "3"}, 7, "neither a PCI nor an auxiliary address"},
		{"an IPAM plugin that is not there", "net1", map[string]any{"ipam": map[string]any{"type": "no-such-ipam"}}, 108, "find IPAM plugin no-such-ipam"},
		{"an IPAM plugin that fails", "net1", map[string]any{"ipam": map[string]any{"type": "host-local", "subnet": "not a subnet"}}, 108, "get an address from host-local"},
		{"an IPAM answer that cannot be configured", "net1", map[string]any{"ipam": with(r.hostLocal(1), "routes",
			[]any{map[string]any{"dst": "10.0.0.0/8", "gw": "192.0.2.1"}})}, 109, "add route 10.0.0.0/8 via 192.0.2.1"},
		{"an MTU too small for IPv6", "net1", map[string]any{"mtu": 1000, "ipam": map[string]any{"type": "static",
			"addresses": []any{map[string]any{"address": "fd00:1::5/64"}}}}, 109, `IPv6 needs an MTU of 1280 bytes, but it has 1000; set "mtu"`},
	}
	if inLab() {
		type test = struct {
			name   string
			ifName string
			change map[string]any
			code   uint
			say    string
		}
		// The kernel has moved the netdev by the time the driver refuses.
		tests = append(tests, test{"an MTU that the driver refuses", "net1", map[string]any{"mtu": 9600}, 105, "move it into the pod as net1"})
		if lab.rxe == "patched" {
			wrong := map[string]string{"shared": "exclusive", "exclusive": "shared"}[lab.mode]
			tests = append(tests, test{"a mode that the node is not in", "net1", map[string]any{"rdmaMode": wrong}, 104, "the configuration wants RDMA mode " + wrong + ", but the node is in " + lab.mode + " mode"})
		}
	}
	for _, tt := range tests {
		r.run(tt.name, func(r *rig) {
			_, err := p.in(r).tryAdd(tt.ifName, r.config(nic, tt.change))
			if code(err) != tt.code || !strings.Contains(err.Error(), tt.say) || strings.Contains(err.Error(), "\n") {
				r.Errorf("code %d: %v\nwant code %d and, in one line: %s", code(err), err, tt.code, tt.say)
			}
			r.expectHost(before)
			r.expectClean()
		})
	}
	r.run("a NIC that another pod holds", func(r *rig) {
		other.in(r).add("net1", r.config(nic))
		_, err := p.in(r).tryAdd("net1", r.config(nic))
		if want := nic + ": held by pod default/" + other.name; code(err) != 101 || !strings.Contains(err.Error(), want) {
			r.Errorf("code %d: %v, want 101: %s", code(err), err, want)
		}
		other.in(r).exec("ip", "link", "show", "net1")
		other.in(r).del("net1", r.config(nic))
		r.expectHost(before)
	})
	r.run("DEL of a name that ADD refuses", func(r *rig) {
		p.in(r).del("net%d", r.config(nic))
	})
	r.run("malformed JSON", func(r *rig) {
		_, err := p.direct("ADD", "net1", []byte(`{"cniVersion": "1.1.0", "name": "x", "device": `))
		if code(err) != 6 || strings.Contains(err.Error(), "\n") {
			r.Errorf("code %d: %v", code(err), err)
		}
		r.expectHost(before)
	})
	r.run("the host's own namespace", func(r *rig) {
		here := *p.in(r)
		here.netns = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), gettid())
		if _, err := here.tryAdd("net1", r.config(nic)); code(err) != 8 {
			r.Errorf("code %d: %v", code(err), err)
		}
		r.expectHost(before)
	})
}

func TestAPodThatWasRefusedStaysRefusedForThisBoot(t *testing.T) {
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	config, err := json.Marshal(r.config(rails[0]))
	must(t, err)
	must(t, os.Mkdir(filepath.Join(r.stateDir, "refused"), 0o755))
	for boot, want := range map[string]uint{string(readFile(t, "/proc/sys/kernel/random/boot_id")): 106, "earlier\n": 0} {
		must(t, os.WriteFile(filepath.Join(r.stateDir, "refused", "1111-aaaa"), []byte(boot+"the number has become another"), 0o600))
		_, err := p.direct("ADD", "net1", config, "CNI_ARGS=IgnoreUnknown=1;K8S_POD_UID=1111-aaaa")
		if code(err) != want || want != 0 && !strings.Contains(err.Error(), "the number has become another") {
			t.Errorf("code %d: %v, want %d", code(err), err, want)
		}
	}
	p.del("net1", r.config(rails[0]))
	r.expectHost(before)
	r.expectClean()
}

func TestTheKeysOfTheSpecificationAreNoUnknownKeys(t *testing.T) {
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	config := r.config(rails[0], map[string]any{"cniVersions": []any{"1.0.0", "1.1.0"}, "disableCheck": false, "disableGC": false, "loadOnlyInlinedPlugins": true,
		"ipMasq": false, "dns": map[string]any{"nameservers": []any{"192.0.2.1"}}, "args": map[string]any{"cni": map[string]any{"debug": true}},
		"cni.dev/something": 1, "capabilities": map[string]any{"portMappings": true, "ips": true, "mac": true},
		"runtimeConfig": map[string]any{"portMappings": []any{}, "bandwidth": map[string]any{"ingressRate": 1}, "aliases": map[string]any{}, "infinibandGUID": "", "cgroupPath": "/x"}})
	p.addDirect("net1", config)
	p.del("net1", config)
	r.expectHost(before)
}

func TestTheInterfaceMayHaveAnotherNameThatTheHostGaveTheNIC(t *testing.T) {
	r := newRig(t, 1)
	nic := rails[0]
	if inLab() {
		run(t, "ip", "link", "property", "add", "dev", nic, "altname", "alt-"+nic)
		t.Cleanup(func() { run(t, "ip", "link", "property", "del", "dev", nic, "altname", "alt-"+nic) })
	}
	before, p := hostState(t), r.pod()
	p.add("alt-"+nic, r.config(nic))
	must(t, p.check("alt-"+nic, r.config(nic)))
	p.del("alt-"+nic, r.config(nic))
	r.expectHost(before)
	// When the ADD fails after the name's change, that is undone like the rest.
	if _, err := p.tryAdd("alt-"+nic, r.config(nic, map[string]any{"sysctls": map[string]any{"net.ipv4.conf.IFNAME.no_such_key": "1"}})); code(err) != 109 {
		t.Errorf("code %d: %v", code(err), err)
	}
	r.expectHost(before)
	r.expectClean()
}

func TestThePolicyKnowsANICByItsAlternativeNames(t *testing.T) {
	r := newRig(t, 2)
	if inLab() {
		t.Skip("its NICs have none")
	}
	before, p := hostState(t), r.pod()
	mounts.Policy(t, `{"nics": [{"names": ["alt-`+rails[0]+`"]}]}`)
	p.add("net1", r.config(rails[0]))
	if _, err := p.tryAdd("net2", r.config(rails[1])); code(err) != 7 || !strings.Contains(err.Error(), "the node's policy does not allow NIC") {
		t.Errorf("code %d: %v", code(err), err)
	}
	p.del("net1", r.config(rails[0]))
	r.expectHost(before)
}

func TestTwoNICsInOneListAreRefused(t *testing.T) {
	r := newRig(t, 2)
	before, p := hostState(t), r.pod()
	for _, version := range []string{"0.3.1", "1.1.0"} {
		l := chain(t, r.config(rails[0], map[string]any{"cniVersion": version}), r.config(rails[1]))
		_, err := r.cni.AddNetworkList(t.Context(), l, p.runtimeConf("net1"))
		if code(err) != 102 || !strings.Contains(err.Error(), "the pod already has an interface net1") {
			t.Errorf("code %d: %v", code(err), err)
		}
		p.exec("ip", "link", "show", "net1") // the first has not been taken away
		must(t, r.cni.DelNetworkList(t.Context(), l, p.runtimeConf("net1")))
		r.expectHost(before)
		r.expectClean()
	}
}

func TestAMACAddressIsTheSameInAnyForm(t *testing.T) {
	r := newRig(t, 1)
	nic := rails[0]
	p, other := r.pod(), r.pod()
	mac := strings.TrimSpace(read(t, "/sys/class/net/"+nic+"/address", nic))
	config := r.config(nic, map[string]any{"device": nil, "hwaddr": strings.ToUpper(strings.ReplaceAll(mac, ":", "-"))})
	p.add("net1", config)
	if _, err := other.tryAdd("net1", config); code(err) != 101 {
		t.Errorf("code %d: %v", code(err), err)
	}
	b, err := json.Marshal(config)
	must(t, err)
	_, err = p.direct("STATUS", "", b)
	must(t, err)
	p.del("net1", config)
}

func TestThePodsMACAddressIsSetOrRefused(t *testing.T) {
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	config := r.config(rails[0], map[string]any{"capabilities": map[string]any{"mac": true}, "runtimeConfig": map[string]any{"mac": "02-00-00-00-00-77"}})
	if result := p.add("net1", config); result.Interfaces[0].Mac != "02:00:00:00:00:77" {
		t.Errorf("the result's interface is %+v", result.Interfaces[0])
	}
	if out := p.exec("ip", "link", "show", "net1"); !strings.Contains(out, "link/ether 02:00:00:00:00:77") {
		t.Errorf("in the pod:\n%s", out)
	}
	must(t, p.check("net1", config))
	p.del("net1", config)
	r.expectHost(before)
	r.expectClean()
}

func TestAMACAddressForAMacvlanIsRefused(t *testing.T) {
	r := newRig(t, 1)
	run(t, "ip", "link", "add", "mv0", "link", rails[0], "type", "macvlan")
	t.Cleanup(func() { run(t, "ip", "link", "del", "mv0") })
	before, p := hostState(t), r.pod()
	config := r.config("mv0", map[string]any{"rdma": "none", "runtimeConfig": map[string]any{"mac": "02:00:00:00:00:77"}})
	if _, err := p.tryAdd("net1", config); code(err) != 7 || !strings.Contains(err.Error(), "mv0 is a macvlan") {
		t.Errorf("code %d: %v", code(err), err)
	}
	r.expectHost(before)
	r.expectClean()
}

func with(m map[string]any, key string, value any) map[string]any {
	m[key] = value
	return m
}
