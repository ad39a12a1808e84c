package cni_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/policy"
	"github.com/roce-k8s/roce-k8s/test/fixtures/mounts"
)

func TestWithSourceRoutingRepliesLeaveByTheirOwnNIC(t *testing.T) {
	r := newRig(t, 2)
	before, p := hostState(t), r.pod()
	// Both NICs in one subnet: the hard case.
	config := func(i int, more map[string]any) map[string]any {
		return r.config(rails[i], map[string]any{"sourceRouting": true, "ipam": map[string]any{"type": "static", "addresses": []any{
			map[string]any{"address": fmt.Sprintf("172.31.9.%d/24", 10+i), "gateway": "172.31.9.1"}},
			"routes": []any{map[string]any{"dst": "10.0.0.0/8", "mtu": 4000, "advmss": 1400}}}}, more)
	}
	first, second := config(0, nil), config(1, map[string]any{"sourceRouting": map[string]any{"table": 777, "priority": 55}})
	p.add("net1", first)
	p.add("net2", second)
	for i, name := range []string{"net1", "net2"} {
		for _, to := range []string{"172.31.9.200", "10.1.2.3", "8.8.8.8"} {
			out := p.exec("ip", "route", "get", to, "from", fmt.Sprintf("172.31.9.%d", 10+i))
			if !strings.Contains(out, "dev "+name+" ") {
				t.Errorf("to %s from %s's address: %s", to, name, out)
			}
		}
		for key, want := range map[string]string{"arp_ignore": "1", "arp_announce": "2", "rp_filter": "2"} {
			if have := strings.TrimSpace(p.exec("cat", "/proc/sys/net/ipv4/conf/"+name+"/"+key)); have != want {
				t.Errorf("%s %s is %s", name, key, have)
			}
		}
	}
	if out := p.exec("ip", "route", "show", "table", "777"); !strings.Contains(out, "10.0.0.0/8 via 172.31.9.1 dev net2 mtu 4000 advmss 1400") {
		t.Errorf("table 777:\n%s", out)
	}
	if out := p.exec("ip", "rule"); !strings.Contains(out, "55:\tfrom 172.31.9.11 lookup 777") {
		t.Errorf("rules:\n%s", out)
	}
	if out := p.exec("ip", "route"); strings.Contains(out, "10.0.0.0/8") || strings.Contains(out, "default") {
		t.Errorf("the main table:\n%s", out)
	}
	must(t, p.check("net2", second))
	p.exec("ip", "rule", "del", "priority", "55")
	if err := p.check("net2", second); code(err) != 111 || !strings.Contains(err.Error(), "no rule from 172.31.9.11 lookup 777") {
		t.Errorf("code %d: %v", code(err), err)
	}
	p.del("net2", second)
	p.del("net1", first)
	if out := p.exec("ip", "rule"); strings.Contains(out, "172.31.9.") {
		t.Errorf("rules left in the pod:\n%s", out)
	}
	r.expectHost(before)
}

func TestKeptAddressesGoToThePodAndBack(t *testing.T) {
	r := newRig(t, 1)
	if inLab() {
		run(t, "ip", "addr", "add", "192.168.0.1/24", "dev", rails[0])
		run(t, "ip", "route", "add", "10.0.0.0/16", "via", "192.168.0.9")
		t.Cleanup(func() { run(t, "ip", "addr", "del", "192.168.0.1/24", "dev", rails[0]) })
	}
	before, p := hostState(t), r.pod()
	config := r.config(rails[0], map[string]any{"ipam": nil, "keepAddresses": true})
	result := p.add("net1", config)
	if got := result.IPs[0].Address.String(); got != "192.168.0.1/24" || len(result.Routes) != 1 {
		t.Errorf("the result has %s and the routes %v", got, result.Routes)
	}
	if out := p.exec("ip", "addr", "show", "net1") + p.exec("ip", "route"); !strings.Contains(out, "192.168.0.1/24") || !strings.Contains(out, "10.0.0.0/16 via 192.168.0.9") {
		t.Errorf("in the pod:\n%s", out)
	}
	must(t, p.check("net1", config))
	p.exec("ip", "route", "del", "10.0.0.0/16")
	if err := p.check("net1", config); code(err) != 111 || !strings.Contains(err.Error(), "no route 10.0.0.0/16 via 192.168.0.9") {
		t.Errorf("code %d: %v", code(err), err)
	}
	p.del("net1", config)
	r.expectHost(before)
	if _, err := p.tryAdd("net1", r.config(rails[0], map[string]any{"keepAddresses": true})); code(err) != 7 {
		t.Errorf("with IPAM as well: code %d: %v", code(err), err)
	}
	r.expectClean()
}

func TestSysctlsAreSetForTheInterfaceOnly(t *testing.T) {
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	config := r.config(rails[0], map[string]any{"sysctls": map[string]any{"net.ipv4.conf.IFNAME.arp_notify": "1", "net/ipv6/conf/IFNAME/accept_ra": "0"}})
	p.add("net1", config)
	if out := p.exec("cat", "/proc/sys/net/ipv4/conf/net1/arp_notify", "/proc/sys/net/ipv6/conf/net1/accept_ra"); out != "1\n0\n" {
		t.Errorf("set: %q", out)
	}
	p.del("net1", config)
	p.add("net1.100", config) // a name with a dot
	if out := p.exec("cat", "/proc/sys/net/ipv4/conf/net1.100/arp_notify"); out != "1\n" {
		t.Errorf("set: %q", out)
	}
	p.del("net1.100", config)
	for _, key := range []string{"net.ipv4.ip_forward", "kernel.panic", "net.ipv4.conf.all.forwarding", "net.ipv4.conf.IFNAME...x", "net.ipv4.conf.eth0.forwarding"} {
		if _, err := p.tryAdd("net1", r.config(rails[0], map[string]any{"sysctls": map[string]any{key: "1"}})); code(err) != 7 {
			t.Errorf("%s: code %d: %v", key, code(err), err)
		}
	}
	r.expectHost(before)
}

func TestTheNeighboursLearnOfAnAddress(t *testing.T) {
	r := newRig(t, 1)
	if inLab() {
		t.Skip("listens at the other end of a veth")
	}
	link, err := netlink.LinkByName("sw-" + rails[0])
	must(t, err)
	all := uint16(unix.ETH_P_ALL)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, int(all>>8|all<<8))
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all>>8 | all<<8, Ifindex: link.Attrs().Index}))
	must(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}))
	p := r.pod()
	config := r.config(rails[0], map[string]any{"ipam": map[string]any{"type": "static", "addresses": []any{
		map[string]any{"address": "172.31.1.7/24"}, map[string]any{"address": "fd00:1::7/64"}}}})
	result := p.add("net1", config)
	mac, err := net.ParseMAC(result.Interfaces[0].Mac)
	must(t, err)
	arp := append(append([]byte{0, 1, 8, 0, 6, 4, 0, 1}, mac...), 172, 31, 1, 7, 0, 0, 0, 0, 0, 0, 172, 31, 1, 7)
	target := netip.MustParseAddr("fd00:1::7").As16()
	advertisement := append([]byte{0x20, 0, 0, 0}, append(target[:], append([]byte{2, 1}, mac...)...)...)
	seen := map[string]bool{}
	for frame := make([]byte, 2000); !seen["ARP"] || !seen["NA"]; {
		n, err := unix.Read(fd, frame)
		if err != nil {
			t.Fatalf("seen %v: %v", seen, err)
		}
		seen["ARP"] = seen["ARP"] || bytes.Contains(frame[:n], arp)
		seen["NA"] = seen["NA"] || bytes.Contains(frame[:n], advertisement)
	}
	p.del("net1", config)
}

func TestMultusIsToldOfTheDevice(t *testing.T) {
	needLab(t, "")
	r := newRig(t, 1)
	p := r.pod()
	file := filepath.Join(policy.DefaultDeviceInfoDir, "roce-test", "default-net1-device.json")
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(file)) })
	config := r.config(rails[0], map[string]any{"runtimeConfig": map[string]any{"CNIDeviceInfoFile": file}})
	result := p.addDirect("net1", config)
	var info struct {
		Type, Version string
		PCI           map[string]string
	}
	must(t, json.Unmarshal(readFile(t, file), &info))
	if info.Type != "pci" || info.Version != "1.1.0" || info.PCI["rdma-device"] != "rxe0" || info.PCI["pci-address"] != result.Interfaces[0].PciID {
		t.Errorf("%+v", info)
	}
	p.del("net1", config)
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("after DEL: %v", err)
	}
}

func TestTheRDMADeviceMayHaveAnotherNameInThePod(t *testing.T) {
	needLab(t, "")
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	config := r.config(rails[0], map[string]any{"rdmaDeviceName": "rail0"})
	if lab.mode == "shared" {
		if _, err := p.tryAdd("net1", config); code(err) != 104 || !strings.Contains(err.Error(), "the node is in shared RDMA mode") {
			t.Errorf("code %d: %v", code(err), err)
		}
		r.expectHost(before)
		r.expectClean()
		return
	}
	p.add("net1", config)
	if out := p.exec("rdma", "link"); !strings.Contains(out, "link rail0/1 state ACTIVE") {
		t.Errorf("in the pod:\n%s", out)
	}
	must(t, p.check("net1", config))
	p.del("net1", config)
	r.expectHost(before)
}

func TestSTATUSTellsWhyAnADDWouldFail(t *testing.T) {
	r := newRig(t, 1)
	p := r.pod()
	type test struct {
		name   string
		change map[string]any
		code   uint
		say    string
	}
	tests := []test{
		{"all well", nil, 0, ""},
		{"no such NIC", map[string]any{"device": "ens99np0"}, 50, "no NIC"},
		{"IPAM not there", map[string]any{"ipam": map[string]any{"type": "no-such-ipam"}}, 50, "no-such-ipam"},
		{"a NIC of the device plugin's choice", map[string]any{"device": nil, "capabilities": map[string]any{"deviceID": true}}, 0, ""},
		{"a NIC that nothing names", map[string]any{"device": nil}, 7, "nothing names the NIC"},
	}
	if inLab() {
		wrong := map[string]string{"shared": "exclusive", "exclusive": "shared"}[lab.mode]
		tests = append(tests, test{"wrong mode", map[string]any{"rdmaMode": wrong}, 50, "the node is in " + lab.mode + " mode"})
	} else {
		tests = append(tests, test{"no RDMA", map[string]any{"rdma": "required"}, 50, "find its RDMA device: "})
	}
	for _, tt := range tests {
		b, err := json.Marshal(r.config(rails[0], tt.change))
		must(t, err)
		_, err = p.direct("STATUS", "net1", b)
		if code(err) != tt.code || err != nil && !strings.Contains(err.Error(), tt.say) {
			t.Errorf("%s: code %d: %v", tt.name, code(err), err)
		}
	}
}

func TestSTATUSTellsOfAPolicyThatCannotBeUsed(t *testing.T) {
	r := newRig(t, 1)
	status, err := json.Marshal(r.config(rails[0]))
	must(t, err)
	mounts.Policy(t, `{"virtaul": false}`)
	if _, err := r.pod().direct("STATUS", "", status); code(err) != 50 || !strings.Contains(err.Error(), "virtaul") {
		t.Errorf("code %d: %v", code(err), err)
	}
}

func TestSTATUSTellsOfAStateFolderThatCannotBeUsed(t *testing.T) {
	r := newRig(t, 1)
	status, err := json.Marshal(r.config(rails[0]))
	must(t, err)
	readOnly := t.TempDir()
	run(t, "mount", "-t", "tmpfs", "-o", "ro", "tmpfs", readOnly)
	t.Cleanup(func() { run(t, "umount", readOnly) })
	for dir, say := range map[string]string{"/dev/null/state": "/dev/null/state", readOnly + "/state": "use the state folder " + readOnly} {
		t.Run(dir, func(t *testing.T) {
			r.enter()
			mounts.Policy(t, `{"stateDir": "`+dir+`"}`)
			if _, err := r.pod().direct("STATUS", "", status); code(err) != 107 && code(err) != 50 || !strings.Contains(err.Error(), say) {
				t.Errorf("code %d: %v", code(err), err)
			}
		})
	}
}

func TestCHECKFindsWhatHasChangedInThePod(t *testing.T) {
	tests := map[string]string{
		"ip link set net1 down":                             "net1 is down",
		"ip link set net1 mtu 1400":                         "net1 has an MTU of 1400, not 9000",
		"ip addr flush dev net1":                            "net1 has no address 172.31.1.2/24",
		"ip link set net1 down; ip link set net1 name mine": "the netdev is called mine, not net1",
		"ip route del 10.0.0.0/8":                           "no route 10.0.0.0/8 via 172.31.1.1 through net1",
		"ip link set net1 netns " + fmt.Sprint(1):           "the netdev is not in the pod",
	}
	r := newRig(t, 1)
	if !inLab() {
		delete(tests, "ip link set net1 netns 1") // this is not the host of the rig
	} else { // a virtual NIC has nothing but its MAC to be known by
		tests["ip link set net1 down address 02:00:00:00:00:99; ip link set net1 up"] = "net1 has the MAC address 02:00:00:00:00:99, not 52:54:00:0c:e0:00"
	}
	before := hostState(t)
	ipam := with(r.hostLocal(1), "routes", []any{map[string]any{"dst": "10.0.0.0/8"}})
	for command, say := range tests {
		p := r.pod()
		config := r.config(rails[0], map[string]any{"ipam": ipam, "mtu": 9000})
		ipam["subnet"] = "172.31.1.0/24"
		p.add("net1", config)
		must(t, p.check("net1", config))
		say = strings.ReplaceAll(say, "172.31.1.2/24", strings.Fields(strings.SplitAfter(p.exec("ip", "-4", "addr", "show", "net1"), "inet ")[1])[0])
		p.exec("bash", "-ec", command)
		if err := p.check("net1", config); code(err) != 111 || !strings.Contains(err.Error(), say) {
			t.Errorf("%s: code %d: %v", command, code(err), err)
		}
		p.del("net1", config)
		r.expectHost(before)
	}
}
