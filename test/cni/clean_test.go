package cni_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/containernetworking/plugins/pkg/ns"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/test/fixtures/bpf"
)

// A change is what a pod does to its NIC: a row of the table in
// docs/what-comes-back.md.
type change struct {
	row string
	// commands run in the pod as root; $MATE is a namespace that outlives it.
	commands string
	// do is for what no command can do.
	do func(p *pod)
	// needs are what the machine must have.
	needs []string
}

func changes() []change {
	return []change{
		{row: "name and alias", commands: "ip link set net1 down; ip link set net1 name mine; ip link set mine alias foreign"},
		{row: "alternative names", commands: `for i in {1000..1520}; do echo "link property add dev net1 altname $(printf 'x%.0s' {1..122})$i"; done | ip -force -batch - 2>/dev/null || true`},
		{row: "MTU", commands: "ip link set net1 mtu 1400"},
		{row: "MAC address", commands: "ip link set net1 down; ip link set net1 address 02:00:00:00:00:99; ip link set net1 up", needs: []string{"hardware"}},
		{row: "state: down", commands: "ip link set net1 down"},
		{row: "promiscuous and allmulticast", commands: "ip link set net1 promisc on allmulticast on"},
		{row: "ARP and multicast flags", commands: "ip link set net1 arp off multicast off"},
		{row: "link mode", commands: "ip link set net1 mode dormant"},
		{row: "link-layer broadcast address", commands: "ip link set net1 broadcast 02:00:00:00:00:66"},
		{row: "group and transmit queue length", commands: "ip link set net1 group 9 txqueuelen 7"},
		{row: "offload sizes (`gso_max_size`, `gro_max_size` and their like)", commands: "ip link set net1 gso_max_size 2000 gso_max_segs 2 gro_max_size 2000"},
		{row: "XDP in the driver", do: func(p *pod) { p.attachXDP(nl.XDP_FLAGS_DRV_MODE) }, needs: []string{"veth"}},
		{row: "generic XDP", do: func(p *pod) { p.attachXDP(nl.XDP_FLAGS_SKB_MODE) }},
		{row: "XDP held by a BPF link", do: func(p *pod) { p.linkProgram(unix.BPF_PROG_TYPE_XDP, unix.BPF_XDP, nl.XDP_FLAGS_SKB_MODE) }},
		{row: "tcx", do: func(p *pod) {
			p.linkProgram(unix.BPF_PROG_TYPE_SCHED_CLS, unix.BPF_TCX_INGRESS, 0)
			p.attachProgram(unix.BPF_PROG_TYPE_SCHED_CLS, unix.BPF_TCX_EGRESS)
		}, needs: []string{"tcx"}},
		{row: "addresses, routes and neighbours", commands: "ip addr add 10.99.0.1/24 dev net1; ip -6 addr add fd99::1/64 nodad dev net1; ip route add 10.98.0.0/16 via 10.99.0.7 table 99; ip neigh add 10.99.0.7 lladdr 02:00:00:00:00:07 dev net1 nud permanent"},
		{row: "address filter (`bridge fdb … self`, `ip maddr`)", commands: "bridge fdb add 02:00:00:00:00:77 dev net1 self; ip maddr add 33:33:00:00:77:77 dev net1"},
		{row: "a port of a bridge", commands: "ip link add br0 type bridge; ip link set net1 master br0"},
		{row: "macvlans on it", commands: "ip link add link net1 m1 up type macvlan mode bridge"},
		{row: "macvlans on it, moved elsewhere", commands: "ip link add link net1 m1 type macvlan mode bridge; ip link set m1 netns $MATE; ip -n $MATE link set m1 up; ip link add link net1 m2 netns $MATE type macvlan mode bridge"},
		{row: "VLANs and ipvlans on it, moved elsewhere", commands: "ip link add link net1 v1 type vlan id 7; ip link set v1 netns $MATE; ip link add link net1 i1 type ipvlan mode l2; ip link set i1 netns $MATE", needs: []string{"hardware"}},
		{row: "sysctls of the interface", commands: "for f in ipv4/conf/net1/{arp_ignore,rp_filter,promote_secondaries} ipv6/conf/net1/{accept_ra,forwarding} ipv6/neigh/net1/app_solicit; do echo 1 >/proc/sys/net/$f; done"},
		{row: "traffic control", commands: "tc qdisc replace dev net1 root tbf rate 1mbit burst 32kbit latency 400ms; tc qdisc add dev net1 clsact || true"},
		{row: "ethtool features", commands: "ethtool -K net1 gro on tx off", needs: []string{"ethtool"}},
		{row: "ethtool channels", commands: "ethtool -L net1 rx 1 tx 1", needs: []string{"ethtool", "veth", "channels"}},
		{row: "ethtool rings and coalescing", commands: "ethtool -G net1 rx 128 tx 128; ethtool -C net1 rx-frames 0 tx-frames 0 || true", needs: []string{"ethtool", "hardware", "rings"}},
	}
}

// hostsOwn is what the host has set on the NIC, where it can be set.
func hostsOwn(nic string) string {
	return strings.ReplaceAll(`
ip link set NIC txqueuelen 500 group 3
ip link set NIC gso_max_segs 40000
echo 2 >/proc/sys/net/ipv4/conf/NIC/arp_announce
echo 0 >/proc/sys/net/ipv6/conf/NIC/accept_ra
echo 5 >/proc/sys/net/ipv6/conf/NIC/router_solicitation_interval
echo 4 >/proc/sys/net/ipv4/neigh/NIC/app_solicit
ip neigh add 192.168.7.9 lladdr 02:00:00:00:07:09 dev NIC nud permanent
ip neigh add fd00:7::9 lladdr 02:00:00:00:07:09 dev NIC nud permanent
ip neigh add proxy 192.168.7.8 dev NIC
tc qdisc replace dev NIC root tbf rate 10gbit burst 1mb latency 40ms
ethtool -K NIC tx-gso-list off 2>/dev/null || true
ethtool -L NIC rx 2 tx 2 2>/dev/null || true`, "NIC", nic)
}

// hostsUndo is the undo of hostsOwn, for the lab, whose NICs outlive the test.
func hostsUndo(nic string) string {
	return strings.ReplaceAll(`
ip link set NIC txqueuelen 1000 group 0 gso_max_segs 65535
for f in ipv4/conf/NIC/arp_announce ipv6/conf/NIC/accept_ra ipv6/conf/NIC/router_solicitation_interval ipv4/neigh/NIC/app_solicit; do
  cat /proc/sys/net/${f/NIC/default} >/proc/sys/net/$f
done
tc qdisc del dev NIC root
ip neigh del 192.168.7.9 dev NIC
ip neigh del fd00:7::9 dev NIC
ip neigh del proxy 192.168.7.8 dev NIC
ethtool -K NIC tx-gso-list on 2>/dev/null || true`, "NIC", nic)
}

func TestANICChangesHandsClean(t *testing.T) {
	r := newRig(t, 1)
	nic := rails[0]
	config := r.config(nic, map[string]any{"ipam": map[string]any{"type": "static", "addresses": []any{map[string]any{"address": "172.31.1.2/24"}}}})
	if !inLab() {
		run(t, "ip", "link", "del", nic) // one with queues
		run(t, "ip", "link", "add", nic, "mtu", "3000", "numtxqueues", "4", "numrxqueues", "4", "type", "veth", "peer", "name", "sw-"+nic, "mtu", "3000", "numtxqueues", "2", "numrxqueues", "2")
		run(t, "ip", "link", "set", "sw-"+nic, "up")
		run(t, "ip", "link", "set", nic, "up")
	}
	run(t, "ip", "link", "property", "add", "dev", nic, "altname", "rail-of-"+nic)
	run(t, "ip", "addr", "add", "192.168.7.1/24", "dev", nic)
	run(t, "bash", "-ec", hostsOwn(nic))
	t.Cleanup(func() {
		if inLab() {
			run(t, "bash", "-ec", hostsUndo(nic)+"\nip link property del dev "+nic+" altname rail-of-"+nic+"\nip addr del 192.168.7.1/24 dev "+nic)
		}
	})
	before := settled(t, func() string { return everything(t, "", nic) })
	first := r.pod()
	first.add("net1", config)
	handed := settled(t, func() string { return everything(t, first.name, "net1") })
	first.del("net1", config)
	r.expect("the host after an untouched pod", before, func() string { return everything(t, "", nic) })
	for _, c := range changes() {
		r.run(c.row, func(r *rig) {
			for _, need := range c.needs {
				needs(r, need)
			}
			p, mate := r.pod(), r.pod()
			p.add("net1", config)
			if c.do != nil {
				c.do(p)
			}
			run(r, "ip", "netns", "exec", p.name, "bash", "-ec", "MATE="+mate.name+"\n"+c.commands)
			p.del("net1", config)
			r.expect("the host", before, func() string { return everything(r, "", nic) })
			if left := run(r, "ip", "-n", mate.name, "-br", "link", "show"); strings.Count(left, "\n") > 1 {
				r.Errorf("still on the NIC:\n%s", left)
			}
			next := r.pod()
			next.add("net1", config)
			r.expect("the next pod", handed, func() string { return everything(r, next.name, "net1") })
			next.del("net1", config)
			r.expectClean()
		})
	}
}

// What a kind of netdev has of its own, whoever has one may change.
func TestALinkOfAKindChangesHandsClean(t *testing.T) {
	nic := rails[0]
	for name, c := range map[string]struct{ how, pod string }{
		"macvlan":                   {"type macvlan mode bridge", "ip link set net1 type macvlan mode private bcqueuelen 7"},
		"macvlan, down by protocol": {"type macvlan mode vepa", "ip link set net1 protodown on; ip link set net1 protodown_reason 3 on; ip link set net1 txqueuelen 7"},
		"VLAN":                      {"type vlan id 7", "ip link set net1 type vlan reorder_hdr off loose_binding on"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "VLAN" {
				needLab(t, "")
			}
			r := newRig(t, 1)
			run(t, append([]string{"ip", "link", "add", "up0", "link", nic}, strings.Fields(c.how)...)...)
			t.Cleanup(func() { run(t, "ip", "link", "del", "up0") })
			run(t, "ip", "link", "set", "up0", "up")
			before := settled(t, func() string { return everything(t, "", "up0") })
			p, config := r.pod(), r.config("up0", map[string]any{"name": "up0", "rdma": "none", "ipam": nil})
			p.add("net1", config)
			p.exec("bash", "-ec", c.pod)
			p.del("net1", config)
			r.expect("the host", before, func() string { return everything(r, "", "up0") })
			r.expectClean()
		})
	}
}

// The table for operators and the test have the same rows.
func TestTheTableOfWhatComesBackHasATestForEachRow(t *testing.T) {
	page, err := os.ReadFile("../../docs/what-comes-back.md")
	if err != nil {
		t.Skip("not in the source tree: ", err)
	}
	_, table, _ := strings.Cut(string(page), "## Item by item")
	table, _, _ = strings.Cut(table, "\n##")
	var rows, tested []string
	for _, line := range regexp.MustCompile(`(?m)^\| (.+?) \| .+ \|$`).FindAllStringSubmatch(table, -1) {
		rows = append(rows, line[1])
	}
	for _, c := range changes() {
		tested = append(tested, c.row)
	}
	if rows = rows[1:]; !slices.Equal(rows, tested) {
		t.Errorf("docs/what-comes-back.md has the rows\n%s\nthe test has\n%s", strings.Join(rows, "\n"), strings.Join(tested, "\n"))
	}
}

// everything is what the tools show of a NIC, without what says when or where:
// numbers of interfaces and namespaces, ages, and what the kernel adds in its
// own time.
func everything(t testing.TB, netns, nic string) string {
	t.Helper()
	script := ""
	for _, command := range []string{
		"ip -d -j link show dev NIC", "ip -j addr show dev NIC", "ip -j route show table all dev NIC", "ip -6 -j route show table all dev NIC",
		"ip neigh show nud permanent dev NIC", "ip neigh show proxy dev NIC", "tc qdisc show dev NIC", "tc class show dev NIC", "tc filter show dev NIC", "tc filter show dev NIC ingress",
		"bridge -j link show dev NIC", "bridge fdb show dev NIC", "ip maddr show dev NIC",
		"ethtool NIC", "ethtool -k NIC", "ethtool -l NIC", "ethtool -g NIC", "ethtool -c NIC", "ethtool -a NIC", "ethtool --show-priv-flags NIC", "ethtool -x NIC",
		"grep -s . /proc/sys/net/ipv4/conf/NIC/* /proc/sys/net/ipv6/conf/NIC/* /proc/sys/net/ipv4/neigh/NIC/* /proc/sys/net/ipv6/neigh/NIC/*",
	} {
		script += "echo '" + mark + command + "'\n" + command + "\n"
	}
	command := []string{"bash", "-c", strings.ReplaceAll(script, "NIC", nic)}
	if netns != "" {
		command = append([]string{"ip", "netns", "exec", netns}, command...)
	}
	out, _ := exec.Command(command[0], command[1:]...).CombinedOutput()
	var all []string
	for part := range strings.SplitSeq(string(out), mark) {
		name, shown, _ := strings.Cut(part, "\n")
		lines := strings.Split(stable(shown), "\n")
		slices.Sort(lines)
		all = append(all, mark+name)
		all = append(all, slices.DeleteFunc(lines, func(line string) bool { return strings.TrimSpace(line) == "" })...)
	}
	return strings.Join(all, "\n")
}

// mark comes before each command in what everything returns.
const mark = "$$ "

// stable removes from an output what changes by itself.
func stable(out string) string {
	var objects []map[string]any
	if json.Unmarshal([]byte(out), &objects) != nil {
		return regexp.MustCompile(`(?m)^\d+:\t|refcnt \d+|^.*users \d+$|lastuse.*$`).ReplaceAllString(out, "")
	}
	var lines []string
	for _, o := range objects {
		for _, key := range []string{"ifindex", "link_index", "link", "link_netnsid", "link_netns", "txqlen_stats", "valid_life_time"} {
			delete(o, key)
		}
		if list, ok := o["addr_info"].([]any); ok {
			o["addr_info"] = slices.DeleteFunc(list, func(a any) bool { return a.(map[string]any)["scope"] == "link" })
		}
		if list, ok := o["altnames"].([]any); ok {
			slices.SortFunc(list, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
		}
		line, _ := json.Marshal(o)
		// The kernel's own IPv6 routes come and go with the link-local address.
		if dst, ok := o["dst"].(string); ok && (strings.HasPrefix(dst, "fe80:") || strings.HasPrefix(dst, "ff00:")) {
			continue
		}
		lines = append(lines, string(line))
	}
	return strings.Join(lines, "\n")
}

// settled waits until an output has been the same for longer than a link's state
// takes: the kernel looks at those once a second (linkwatch_schedule_work in
// net/core/link_watch.c).
func settled(t testing.TB, what func() string) (now string) {
	t.Helper()
	since := time.Now()
	if !within(time.Minute, func() bool {
		last := now
		if now = what(); now != last {
			since = time.Now()
		}
		return time.Since(since) > 2*time.Second
	}) {
		t.Fatalf("it keeps changing:\n%s", now)
	}
	return now
}

// expect waits until an output is as it was.
func (r *rig) expect(what, want string, now func() string) {
	r.Helper()
	var have string
	if within(30*time.Second, func() bool { have = now(); return have == want }) {
		return
	}
	r.Errorf("%s is not as it was:\n%s", what, difference(want, have))
}

// difference is the lines of two texts that the other does not have.
func difference(before, after string) string {
	var b strings.Builder
	for _, side := range []struct{ sign, lines, others string }{{"-", before, after}, {"+", after, before}} {
		others := strings.Split(side.others, "\n")
		for line := range strings.SplitSeq(side.lines, "\n") {
			if !slices.Contains(others, line) {
				fmt.Fprintln(&b, side.sign+line)
			}
		}
	}
	return b.String()
}

// inside runs f on a thread in the pod's namespace with the index of net1.
func (p *pod) inside(f func(index int) error) {
	p.Helper()
	must(p, ns.WithNetNSPath(p.netns, func(ns.NetNS) error {
		link, err := netlink.LinkByName("net1")
		if err != nil {
			return err
		}
		return f(link.Attrs().Index)
	}))
}

// attachXDP gives net1 a program that drops all packets.
func (p *pod) attachXDP(mode int) {
	p.Helper()
	program := p.loadProgram(unix.BPF_PROG_TYPE_XDP, 0)
	p.inside(func(index int) error {
		return netlink.LinkSetXdpFdWithFlags(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}, program, mode)
	})
}

// linkProgram does so through a BPF link, which this process holds.
func (p *pod) linkProgram(kind, hook, flags uint32) {
	p.Helper()
	program := p.loadProgram(kind, hook)
	p.inside(func(index int) error {
		link := struct{ program, target, attach, flags uint32 }{uint32(program), uint32(index), hook, flags}
		fd, err := bpf.Call(unix.BPF_LINK_CREATE, unsafe.Pointer(&link), unsafe.Sizeof(link))
		p.Cleanup(func() { _ = unix.Close(fd) })
		return err
	})
}

// attachProgram leaves a program on a hook without a link.
func (p *pod) attachProgram(kind, hook uint32) {
	p.Helper()
	program := p.loadProgram(kind, hook)
	p.inside(func(index int) error {
		attach := struct{ target, program, attach, flags uint32 }{uint32(index), uint32(program), hook, 0}
		_, err := bpf.Call(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attach), unsafe.Sizeof(attach))
		return err
	})
}

// loadProgram loads one that drops whatever it is.
func (p *pod) loadProgram(kind, hook uint32) int {
	p.Helper()
	fd, err := bpf.Load(p, kind, hook)
	must(p, err)
	return fd
}
