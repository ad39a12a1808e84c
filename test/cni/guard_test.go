package cni_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func TestANICThatTheHostNeedsIsRefusedUnlessForced(t *testing.T) {
	nic, other := rails[0], fmt.Sprint("other-", os.Getpid())
	tests := []struct {
		name       string
		need, free []string // commands that make the host need the NIC, and their undo
		say        string
	}{
		{"default route", []string{"ip route add default via 192.168.0.254 dev " + nic}, []string{"ip route del default via 192.168.0.254"}, "the host's default route goes through it"},
		{"multipath default route", []string{"ip route add default nexthop via 192.168.0.254 dev " + nic + " nexthop via 192.168.1.254 dev " + rails[1]},
			[]string{"ip route del default"}, "the host's default route goes through it"},
		{"multipath route", []string{"ip route add 198.51.100.0/24 nexthop via 192.168.0.254 dev " + nic + " nexthop via 192.168.1.254 dev " + rails[1]},
			[]string{"ip route del 198.51.100.0/24"}, "the host's route to 198.51.100.0/24 goes through it and others"},
		{"multipath route in another table", []string{"ip route add 198.51.100.0/24 table 111 nexthop via 192.168.0.254 dev " + nic + " nexthop via 192.168.1.254 dev " + rails[1]},
			[]string{"ip route del 198.51.100.0/24 table 111"}, "the host's route to 198.51.100.0/24 goes through it and others"},
		{"default route of a table that all packets come to", []string{"ip route add default dev " + nic + " table 111", "ip rule add priority 1111 lookup 111"},
			[]string{"ip rule del priority 1111", "ip route del default table 111"}, "the host's default route goes through it"},
		{"one that all but some come to", []string{"ip route add default dev " + nic + " table 111", "ip rule add priority 1111 not fwmark 7 lookup 111"},
			[]string{"ip rule del priority 1111", "ip route del default table 111"}, "the host's default route goes through it"},
		{"one that all that the host itself sends comes to", []string{"ip route add default dev " + nic + " table 111", "ip rule add priority 1111 iif lo lookup 111"},
			[]string{"ip rule del priority 1111", "ip route del default table 111"}, "the host's default route goes through it"},
		{"all of IPv6", []string{"ip -6 route add 2000::/3 dev " + nic}, []string{"ip -6 route del 2000::/3"}, "the host's default route goes through it"},
		{"the way to the default gateway", []string{"ip route add 198.51.100.1 dev " + nic, "ip route add default via 198.51.100.1 dev " + rails[1] + " onlink"},
			[]string{"ip route del default", "ip route del 198.51.100.1"}, "the host reaches its default gateway 198.51.100.1 through it"},
		{"port of a bridge", []string{"ip link add br0 type bridge", "ip link set " + nic + " master br0"}, []string{"ip link del br0"}, "it is a port of bridge br0"},
		{"macvlan in a pod", []string{"ip netns add " + other, "ip link add mv1 link " + nic + " type macvlan mode bridge", "ip link set mv1 address 02:00:00:00:00:07 netns " + other, "ip -n " + other + " link set mv1 up"},
			[]string{"ip -n " + other + " link del mv1", "ip netns del " + other}, "a macvlan in another namespace is on top of it (with the address 02:00:00:00:00:07)"},
		{"VXLAN over it", []string{"ip link add vx0 type vxlan id 7 remote 192.0.2.1 dstport 4789 dev " + nic}, []string{"ip link del vx0"}, "vxlan vx0 is on top of it"},
		{"half a default route", []string{"ip route add 128.0.0.0/1 dev " + nic}, []string{"ip route del 128.0.0.0/1"}, "the host's default route goes through it"},
		{"macvlan on top", []string{"ip link add mv0 link " + nic + " type macvlan"}, []string{"ip link del mv0"}, "macvlan mv0 is on top of it"},
	}
	type test = struct {
		name       string
		need, free []string
		say        string
	}
	if !inLab() {
		tests = append(tests,
			test{"the host's end of a pod's interface", []string{"ip netns add cni-" + other, "ip link set sw-" + nic + " netns cni-" + other},
				[]string{"ip -n cni-" + other + " link set sw-" + nic + " netns $$", "ip link set sw-" + nic + " up", "ip netns del cni-" + other},
				"it is the host's end of an interface of the pod in /run/netns/cni-" + other},
			test{"the host's end of a routed pod's interface", []string{"ip netns add " + other, "ip link set sw-" + nic + " netns " + other, "ip route add 198.51.100.7 dev " + nic},
				[]string{"ip route del 198.51.100.7", "ip -n " + other + " link set sw-" + nic + " netns $$", "ip link set sw-" + nic + " up", "ip netns del " + other},
				"it is the host's end of an interface of the pod with the address 198.51.100.7"},
			// What sysfs would say of NICs that no test has.
			test{"representor of a virtual function", []string{"mount -t tmpfs class /sys/class/net", "mkdir /sys/class/net/" + nic, "echo c1pf0vf3 >/sys/class/net/" + nic + "/phys_port_name"},
				[]string{"umount /sys/class/net"}, "it is the representor of a virtual function, port c1pf0vf3"},
			test{"physical function", []string{"mount -t tmpfs class /sys/class/net", "mkdir -p /sys/class/net/" + nic + "/device", "echo 1 >/sys/class/net/" + nic + "/device/sriov_numvfs"},
				[]string{"umount /sys/class/net"}, "it is a physical function with 1 virtual functions"})
	}
	if inLab() {
		tests[0].need = append([]string{"ip addr add 192.168.0.1/24 dev " + nic}, tests[0].need...)
		tests[0].free = append(tests[0].free, "ip addr del 192.168.0.1/24 dev "+nic)
		for i := 1; i <= 3; i++ {
			tests[i].need = append([]string{"ip addr add 192.168.0.1/24 dev " + nic, "ip addr add 192.168.1.1/24 dev " + rails[1]}, tests[i].need...)
			tests[i].free = append(tests[i].free, "ip addr del 192.168.0.1/24 dev "+nic, "ip addr del 192.168.1.1/24 dev "+rails[1])
		}
		tests = append(tests,
			test{"VLAN on top", []string{"ip link add v7 link " + nic + " type vlan id 7"}, []string{"ip link del v7"}, "vlan v7 is on top of it"},
			test{"VLAN in a pod", []string{"ip netns add " + other, "ip link add v7 link " + nic + " type vlan id 7", "ip link set v7 netns " + other, "ip -n " + other + " link set v7 up"},
				[]string{"ip -n " + other + " link del v7", "ip netns del " + other}, "vlan v7 in another namespace is on top of it"},
			test{"port of a bond", []string{"modprobe bonding max_bonds=0", "ip link add bond7 type bond", "ip link set " + nic + " down", "ip link set " + nic + " master bond7"},
				[]string{"ip link del bond7", "ip link set " + nic + " mtu 9000 up", "rmmod bonding"}, "it is a port of bond bond7"},
			// The lab has no switchdev HCA: what one would say of a representor.
			test{"representor of a virtual function", []string{"echo c1pf0vf3 >/run/port", "mount --bind /run/port /sys/class/net/" + nic + "/phys_port_name"},
				[]string{"umount /sys/class/net/" + nic + "/phys_port_name"}, "it is the representor of a virtual function, port c1pf0vf3"})
	}
	r := newRig(t, 2)
	for _, tt := range tests {
		r.run(tt.name, func(r *rig) {
			p := r.pod()
			run(r, "bash", "-ec", strings.Join(tt.need, "\n"))
			defer run(r, "bash", "-c", strings.Join(tt.free, "\n"))
			needed := hostState(r)
			if _, err := p.tryAdd("net1", r.config(nic)); code(err) != 112 || !strings.Contains(err.Error(), nic+": "+tt.say) {
				r.Errorf("code %d: %v, want 112: %s", code(err), err, tt.say)
			}
			r.expectHost(needed)
			r.expectClean()
			if tt.name == "default route" {
				p.add("net1", r.config(nic, map[string]any{"force": true}))
				p.del("net1", r.config(nic))
				r.expectHost(needed) // the default route is back, too
			}
		})
	}
}

// The number of a link is one of its namespace.
func TestANICIsFreeThoughSomethingIsOnALinkElsewhereWithItsNumber(t *testing.T) {
	r := newRig(t, 1)
	link, err := netlink.LinkByName(rails[0])
	must(t, err)
	other, p := r.pod(), r.pod()
	other.exec("bash", "-ec", fmt.Sprintf("ip link add x0 index %d type veth peer name x1; ip link add mv0 link x0 type macvlan; ip link set mv0 netns %d", link.Attrs().Index, gettid()))
	p.add("net1", r.config(rails[0]))
	p.del("net1", r.config(rails[0]))
	run(t, "ip", "link", "show", "mv0")
	run(t, "ip", "link", "del", "mv0")
}

// A route through a gateway leads to no pod behind the link.
func TestANICWithARouteToOneAddressThroughAGatewayIsFree(t *testing.T) {
	if inLab() {
		t.Skip("for the end of a wire")
	}
	r := newRig(t, 1)
	other, p := r.pod(), r.pod()
	run(t, "ip", "link", "set", "sw-"+rails[0], "netns", other.name)
	other.exec("ip", "link", "set", "sw-"+rails[0], "up")
	run(t, "ip", "route", "add", "198.51.100.7", "via", "192.168.0.9")
	before := hostState(t)
	p.add("net1", r.config(rails[0]))
	p.del("net1", r.config(rails[0]))
	r.expectHost(before)
}

func TestWhatTheHostHasOnANICStaysThoughThatIsForcedIntoAPod(t *testing.T) {
	r := newRig(t, 1)
	run(t, "ip", "link", "add", "mv0", "link", rails[0], "type", "macvlan")
	before, p := hostState(t), r.pod()
	config := r.config(rails[0], map[string]any{"force": true})
	p.add("net1", config)
	p.exec("ip", "link", "add", "mv1", "link", "net1", "type", "macvlan")
	p.exec("ip", "link", "set", "mv1", "netns", fmt.Sprint(gettid()))
	p.del("net1", config)
	r.expectHost(before) // with the one, without the other
	run(t, "ip", "link", "del", "mv0")
}

func TestTheOtherEndOfAPodsOwnInterfaceIsRefusedEvenIfForced(t *testing.T) {
	r := newRig(t, 1)
	p := r.pod()
	run(t, "ip", "link", "add", "v1", "type", "veth", "peer", "name", "e1", "netns", p.name)
	before := hostState(t)
	for _, force := range []bool{false, true} {
		if _, err := p.tryAdd("net1", r.config("v1", map[string]any{"name": "wire", "rdma": "none", "ipam": nil, "force": force})); code(err) != 112 || !strings.Contains(err.Error(), "v1: it is the peer of an interface of this pod") {
			t.Errorf("code %d: %v", code(err), err)
		}
		r.expectHost(before)
		r.expectClean()
	}
	run(t, "ip", "link", "del", "v1")
}

func TestANICByWhoseAddressTheHostTalksWithOthersIsRefused(t *testing.T) {
	if inLab() {
		t.Skip("the rails of the lab have no addresses")
	}
	r := newRig(t, 1)
	run(t, "ip", "link", "set", "lo", "up")
	before, p := hostState(t), r.pod()
	l, err := net.Listen("tcp", "192.168.0.1:0")
	must(t, err)
	refused := func(say string) {
		t.Helper()
		if _, err := p.tryAdd("net1", r.config(rails[0])); code(err) != 112 || !strings.Contains(err.Error(), rails[0]+": the host uses its address 192.168.0.1: "+say) {
			t.Errorf("code %d: %v", code(err), err)
		}
		r.expectHost(before)
		r.expectClean()
	}
	refused("a program listens on it, port ")
	c, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	accepted, err := l.Accept()
	must(t, err)
	must(t, l.Close())
	refused("with 192.168.0.1:")
	must(t, accepted.Close())
	must(t, c.Close())
	// One socket for IPv6 and IPv4, as Go's own and those of most servers.
	l, err = net.Listen("tcp", ":0")
	must(t, err)
	c, err = net.Dial("tcp", fmt.Sprintf("192.168.0.1:%d", l.Addr().(*net.TCPAddr).Port))
	must(t, err)
	accepted, err = l.Accept()
	must(t, err)
	refused("with 192.168.0.1:")
	must(t, l.Close())
	must(t, accepted.Close())
	must(t, c.Close())
	run(t, "ip", "link", "add", "vx0", "type", "vxlan", "id", "7", "local", "192.168.0.1", "dstport", "4789")
	if _, err := p.tryAdd("net1", r.config(rails[0])); code(err) != 112 || !strings.Contains(err.Error(), rails[0]+": vxlan vx0 sends from its address 192.168.0.1") {
		t.Errorf("code %d: %v", code(err), err)
	}
	run(t, "ip", "link", "del", "vx0")
	p.add("net1", r.config(rails[0], map[string]any{"force": true}))
	p.del("net1", r.config(rails[0]))
	r.expectHost(before)
}

func TestANICWithAProgramOfTheHostsIsRefusedUnlessForced(t *testing.T) {
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	link, err := netlink.LinkByName(rails[0])
	must(t, err)
	must(t, netlink.LinkSetXdpFdWithFlags(link, p.loadProgram(unix.BPF_PROG_TYPE_XDP, 0), nl.XDP_FLAGS_SKB_MODE))
	if _, err := p.tryAdd("net1", r.config(rails[0])); code(err) != 112 || !strings.Contains(err.Error(), "it has the XDP program ") {
		t.Errorf("code %d: %v", code(err), err)
	}
	p.add("net1", r.config(rails[0], map[string]any{"force": true}))
	if out := p.exec("ip", "link", "show", "net1"); strings.Contains(out, "xdp") {
		t.Errorf("in the pod:\n%s", out)
	}
	p.del("net1", r.config(rails[0]))
	r.expectHost(before)
}

func TestARDMADeviceOfABondIsLeftWithThePortsThatItServes(t *testing.T) {
	needLab(t, "")
	r := newRig(t, 2)
	before, p := hostState(t), r.pod()
	undo := []string{"rdma link del rxebond", "ip link del bond7"}
	run(t, "bash", "-ec", "modprobe bonding max_bonds=0\nip link add bond7 mtu 9000 type bond")
	for i, nic := range rails[:2] {
		run(t, "bash", "-ec", fmt.Sprintf("rdma link del rxe%d\nip link set %s down\nip link set %[2]s master bond7", i, nic))
		undo = append(undo, "ip link set "+nic+" mtu 9000 up", fmt.Sprintf("rdma link add rxe%d type rxe netdev %s", i, nic))
	}
	run(t, "bash", "-ec", "ip link set bond7 up\nrdma link add rxebond type rxe netdev bond7")
	t.Cleanup(func() {
		run(t, "bash", "-c", strings.Join(append(undo, "rmmod bonding"), "\n"))
		r.expectHost(before)
	})
	bonded := hostState(t)
	for nic, say := range map[string]string{
		rails[0]: "it is a port of bond bond7",
		"bond7":  "it is a bond, which cannot change namespaces",
	} {
		if _, err := p.tryAdd("net1", r.config(rails[0], map[string]any{"device": nic})); code(err) != 112 || !strings.Contains(err.Error(), nic+": "+say) {
			t.Errorf("code %d: %v, want 112: %s", code(err), err, say)
		}
		r.expectHost(bonded)
		r.expectClean()
	}
}

// hasQueuePairs tells whether the kernel has queue pairs of a process.
func hasQueuePairs(t testing.TB, process int) bool {
	t.Helper()
	return strings.Contains(run(t, "rdma", "resource", "show", "qp"), fmt.Sprintf("pid %d ", process))
}

func TestANICWhoseRDMADeviceIsInUseIsRefused(t *testing.T) {
	needLab(t, "")
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	run(t, "ip", "addr", "add", "192.168.7.1/24", "dev", rails[0])
	r.eventually("the GID of 192.168.7.1", func() bool {
		return strings.HasSuffix(string(readFile(t, "/sys/class/infiniband/rxe0/ports/1/gids/"+gidIndex(0))), ":c0a8:0701\n")
	})
	user := exec.Command("ibv_rc_pingpong", "-d", "rxe0", "-g", gidIndex(0))
	must(t, user.Start())
	stop := sync.OnceFunc(func() { _ = user.Process.Kill(); _ = user.Wait() })
	defer stop()
	inUse := func() bool { return hasQueuePairs(t, user.Process.Pid) }
	r.eventually("the queue pair of ibv_rc_pingpong", inUse)
	_, err := p.tryAdd("net1", r.config(rails[0]))
	if code(err) != 112 || !strings.Contains(err.Error(), "its RDMA device rxe0 is in use on the host by process ") {
		t.Errorf("code %d: %v", code(err), err)
	}
	stop()
	r.eventually("the end of that queue pair", func() bool { return !inUse() })
	run(t, "ip", "addr", "del", "192.168.7.1/24", "dev", rails[0])
	p.add("net1", r.config(rails[0]))
	p.del("net1", r.config(rails[0]))
	r.expectHost(before)
}

func TestAnRDMADeviceThatAPodOpensWithoutTheNICIsNotTheHosts(t *testing.T) {
	needLab(t, "shared")
	r := newRig(t, 1)
	before, p, other := hostState(t), r.pod(), r.pod()
	user := exec.Command("ip", "netns", "exec", other.name, "ibv_rc_pingpong", "-d", "rxe0")
	must(t, user.Start())
	defer func() { _ = user.Process.Kill(); _ = user.Wait() }()
	r.eventually("the queue pair of ibv_rc_pingpong", func() bool { return hasQueuePairs(t, user.Process.Pid) })
	p.add("net1", r.config(rails[0]))
	p.del("net1", r.config(rails[0]))
	r.expectHost(before)
	r.expectClean()
}

func TestTheGatewaysAddressIsAnErrorOnlyWhereARouteGoesThroughIt(t *testing.T) {
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	// As Whereabouts does with the guide's range: the gateway comes first.
	ipam := func(routes ...any) map[string]any {
		return map[string]any{"ipam": map[string]any{"type": "static", "addresses": []any{
			map[string]any{"address": "172.31.1.1/24", "gateway": "172.31.1.1"}}, "routes": routes}}
	}
	p.add("net1", r.config(rails[0], ipam()))
	p.del("net1", r.config(rails[0], ipam()))
	for name, config := range map[string]map[string]any{
		"an IPAM route":  r.config(rails[0], ipam(map[string]any{"dst": "10.0.0.0/8"})),
		"source routing": r.config(rails[0], ipam(), map[string]any{"sourceRouting": true}),
	} {
		_, err := p.tryAdd("net1", config)
		if code(err) != 113 || !strings.Contains(err.Error(), `"exclude": ["172.31.1.1/32"]`) {
			t.Errorf("%s: code %d: %v", name, code(err), err)
		}
		r.expectHost(before)
		r.expectClean()
	}
}
