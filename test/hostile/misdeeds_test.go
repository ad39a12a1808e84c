package hostile_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A misdeed is what a pod does with its NIC.
type misdeed struct {
	name string
	does []string // run in the pod; see prelude
	// needs is a kind of link that not every kernel makes, or rdma: RDMA devices
	// that go with their netdevs.
	needs string
	// hard: for a NIC that is hardware the outcome may differ.
	hard bool
	// slows: the kernel may take longer to end the namespace than a DEL waits. It
	// says so then, and the runtime tries again. The DEL may take longer, too.
	slows bool
	// ends: a virtual NIC does not survive it.
	ends bool
	// stays: the NIC is another pod's now, and no longer ours.
	stays bool
	// then is what only the node's administrator can undo. The next pod's ADD
	// does the rest.
	then string
}

// prelude has what several misdeeds need. It is run before each.
const prelude = `
mount -t tmpfs mine /mnt
# nest makes a network namespace, with a process in it.
nest() {
  unshare --net sleep infinity &
  nested=$!
  until [ "$(readlink /proc/$nested/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
}
# nested runs a command in it.
nested() { nsenter --target $nested --net "$@"; }
# keep starts a program that stays, and waits until it is ready.
keep() { exec {said}< <("$@"); read -r -u $said; }
index() { cat /sys/class/net/$1/ifindex; }
`

const rdma = "rdma"

var misdeeds = []misdeed{
	{name: "renamed", hard: true, does: []string{"ip link set net1 down", "ip link set net1 name mine"}},
	{name: "renamed as another pod's NIC", hard: true, does: []string{"ip link set net1 down", "ip link set net1 name $other"}},
	{name: "renamed as a shell would not like it", does: []string{"ip link set net1 down", `ip link set net1 name ';$(x)"{}'`}},
	{name: "its name exchanged with eth0's", does: []string{"ip link set net1 down", "ip link set eth0 down", "ip link set eth0 name x", "ip link set net1 name eth0", "ip link set x name net1"}},
	{name: "down", does: []string{"ip link set net1 down"}},

	{name: "another MAC address", hard: true, does: []string{"ip link set net1 down", "ip link set net1 address 02:00:00:00:00:99"}},
	{name: "the MAC address of another pod's NIC", hard: true, does: []string{"ip link set net1 down", "ip link set net1 address $other_mac"}},
	{name: "another broadcast address", does: []string{"ip link set net1 broadcast 02:00:00:00:00:66"}},
	{name: "a smaller MTU", does: []string{"ip link set net1 mtu 1280"}},
	{name: "the smallest MTU", does: []string{"ip link set net1 mtu 68"}},

	{name: "all alternative names that a link may have, and the longest alias", hard: true, does: []string{"foul altnames net1", `ip link set net1 alias "$(printf 'y%.0s' {1..255})"`}},
	{name: "alternative names that are the host's", does: []string{"ip link property add dev net1 altname $nic altname $other altname $cali altname mine"}},
	{name: "its alternative names dropped", does: []string{"ip link property del dev net1 altname alt-$nic"}},
	{name: "the alias of another NIC", does: []string{"ip link set net1 alias $other"}},
	{name: "no alias", does: []string{`ip link set net1 alias ""`}},

	{name: "a generic XDP program", does: []string{"foul xdp net1 generic"}},
	{name: "a native XDP program", hard: true, does: []string{"ip link set net1 mtu 1500", "foul xdp net1 native"}},
	{name: "an XDP program that a process holds", does: []string{"ip link set net1 mtu 1500", "keep foul xdp net1 link"}},
	{name: "a tcx program", hard: true, does: []string{"foul tcx net1"}},

	{name: "no ARP", does: []string{"ip link set net1 arp off"}},
	{name: "no multicast", does: []string{"ip link set net1 multicast off"}},
	{name: "flags that nobody uses", does: []string{"ip link set net1 dynamic on trailers on"}},
	{name: "dormant", does: []string{"ip link set net1 mode dormant", "ip link set net1 down", "ip link set net1 up"}},
	{name: "promiscuous, and all multicast", does: []string{"ip link set net1 promisc on allmulticast on"}},
	{name: "promiscuous for a program that runs on", does: []string{"keep foul promisc net1"}},
	{name: "in a group", does: []string{"ip link set net1 group 9"}},
	{name: "a short queue", does: []string{"ip link set net1 txqueuelen 7"}},
	{name: "small segments", does: []string{"ip link set net1 gso_max_size 2000 gso_max_segs 2 gro_max_size 2000"}},
	{name: "no link-local addresses", does: []string{"ip link set net1 addrgenmode none"}},
	{name: "no offloads", does: []string{"foul offload net1 gso gro sg"}},
	{name: "sysctls", does: []string{"cd /proc/sys/net/ipv4/conf/net1", "echo 1 >rp_filter", "echo 8 >arp_ignore", "echo 1 >proxy_arp", "cd ../../../ipv6/conf/net1", "echo 1 >forwarding", "echo 1 >disable_ipv6"}},

	{name: "settings of all sorts", hard: true, does: []string{"ip link set net1 arp off multicast off group 9 txqueuelen 7 broadcast 02:00:00:00:00:66 mtu 1280 promisc on",
		"ip link set net1 gso_max_size 2000 gro_max_size 2000", "foul offload net1 gso gro", "echo 1 >/proc/sys/net/ipv4/conf/net1/rp_filter", "ip addr add 192.168.1.1/24 dev net1"}},
	{name: "addresses and routes of the host, rules and neighbours", does: []string{"ip addr add 192.168.1.1/24 dev net1", "ip route add 10.1.0.0/16 via 192.168.1.9 dev net1",
		"ip rule add from 192.168.1.1 table 77", "ip route add default dev net1 table 77", "ip neigh add 192.168.1.9 lladdr 02:00:00:00:00:09 dev net1"}},
	{name: "no address", does: []string{"ip addr flush dev net1"}},
	{name: "addresses in its filter", does: []string{"bridge fdb add 02:00:00:00:00:55 dev net1 self permanent"}},
	{name: "queueing disciplines and filters", does: []string{"tc qdisc add dev net1 root handle 1: pfifo limit 5", "tc qdisc add dev net1 clsact"}},

	{name: "port of a bridge", does: []string{"ip link add br0 type bridge", "ip link set net1 master br0", "ip link set br0 up"}},
	{name: "port of a bridge that has its MAC address", does: []string{"ip link add br0 address $nic_mac type bridge", "ip link set net1 master br0"}},
	{name: "port of a bond", needs: "bond", does: []string{"ip link add bond7 type bond", "ip link set net1 down", "ip link set net1 master bond7", "ip link set bond7 up"}},
	{name: "in a VRF", needs: "vrf", does: []string{"ip link add red type vrf table 77", "ip link set net1 master red", "ip link set red up"}},
	{name: "a macvlan on top", does: []string{"ip link add m1 link net1 up type macvlan mode bridge"}},
	{name: "a macvlan on top that has it for itself", does: []string{"ip addr flush dev net1", "ip link add m1 link net1 up type macvlan mode passthru"}},
	{name: "a macvtap on top", needs: "macvtap", does: []string{"ip link add m1 link net1 up type macvtap"}},
	{name: "a VXLAN over it", does: []string{"ip link add vx1 type vxlan id 7 remote 172.31.1.1 dstport 4789 dev net1"}},
	{name: "a VLAN on top", needs: "vlan", does: []string{"ip link add v7 link net1 up type vlan id 7"}},
	{name: "an ipvlan on top", needs: "ipvlan", does: []string{"ip link add iv1 link net1 up type ipvlan mode l2"}},
	{name: "a macvlan on top, in an accomplice's namespace", hard: true, does: []string{"nest", "ip link add m1 link net1 type macvlan mode bridge", "ip link set m1 netns $nested", "nested ip link set m1 up"}},
	{name: "a macvlan on top, on the host", hard: true, does: []string{"ip link add m1 link net1 type macvlan mode bridge", "foul to-host m1 m1"}},
	{name: "a VLAN on top, on the host", needs: "vlan", does: []string{"ip link add v7 link net1 type vlan id 7", "foul to-host v7 v7"}},
	{name: "a VLAN on top, in an accomplice's namespace", needs: "vlan", does: []string{"nest", "ip link add v7 link net1 type vlan id 7", "ip link set v7 netns $nested", "nested ip link set v7 up"}},
	{name: "an ipvlan on top, in an accomplice's namespace", needs: "ipvlan", does: []string{"nest", "ip link add iv1 link net1 type ipvlan mode l2", "ip link set iv1 netns $nested", "nested ip link set iv1 up"}},
	{name: "a VLAN on top, in a namespace that only a file descriptor holds", needs: "vlan", does: []string{"nest", "ip link add v7 link net1 type vlan id 7", "ip link set v7 netns $nested",
		"exec 9</proc/$nested/ns/net", "kill $nested"}},

	{name: "in a namespace of its own", does: []string{"nest", "ip link set net1 netns $nested"}},
	{name: "in a namespace of its own, under the name of another pod's NIC", hard: true, does: []string{"nest", "ip link set net1 down", "ip link set net1 name $other netns $nested"}},
	{name: "in a namespace that only a file descriptor holds", hard: true, does: []string{"nest", "ip link set net1 netns $nested", "exec 9</proc/$nested/ns/net", "kill $nested"}},
	{name: "in a namespace that only a mount holds", hard: true, does: []string{"nest", "ip link set net1 netns $nested", "touch '/mnt/a hole'", "mount --bind /proc/$nested/ns/net '/mnt/a hole'", "kill $nested"}},
	{name: "in another pod", stays: true, does: []string{"ip link set net1 down", "ip link set net1 name net7 netns $other_pod"}},
	{name: "on the host, under another name", does: []string{"foul to-host net1 mine"}},
	{name: "on the host, under the name of another pod's NIC", hard: true, does: []string{"foul to-host net1 $other"}},
	{name: "on the host, down, with another MAC address", hard: true, does: []string{"ip link set net1 down", "ip link set net1 address 02:00:00:00:00:99", "foul to-host net1 mine"}},
	{name: "out of the namespace and in again", hard: true, does: []string{"nest", "nested ip link add q1 type veth peer name q2", "ip link set net1 netns $nested", "nested ip link set net1 netns 1"}},
	{name: "deleted", ends: true, does: []string{"ip link del net1 || true"}},

	{name: "a veth in its place", does: []string{"i=$(index net1)", "nest", "ip link set net1 netns $nested", "ip link add net1 index $i address $nic_mac type veth peer name peer1 index 777"}},
	{name: "a bridge in its place", does: []string{"i=$(index net1)", "nest", "ip link set net1 netns $nested", "ip link add net1 index $i address $nic_mac type bridge"}},
	{name: "a macvlan on itself in its place", hard: true, does: []string{"ip link set net1 down", "ip link set net1 name mine", "ip link add net1 link mine address $nic_mac up type macvlan mode passthru"}},
	{name: "a macvlan on eth0 in its place", does: []string{"i=$(index net1)", "nest", "ip link set net1 netns $nested", "ip link add net1 index $i link eth0 address $nic_mac type macvlan"}},
	{name: "an ipvlan in its place", needs: "ipvlan", does: []string{"i=$(index net1)", "nest", "ip link set net1 netns $nested", "ip link add net1 index $i link eth0 type ipvlan"}},
	{name: "a dummy in its place", needs: "dummy", does: []string{"i=$(index net1)", "nest", "ip link set net1 netns $nested", "ip link add net1 index $i address $nic_mac type dummy"}},

	{name: "links that come and go without pause", hard: true, slows: true, does: []string{"nest", "ip link set net1 netns $nested", "nested ip link add q1 type veth peer name q2", "nested ip link set net1 netns 1",
		"for k in 1 2 3; do", "  for i in {1..200}; do echo link add f$k.$i group $k type bridge; done >/mnt/churn$k", "  echo link del group $k >>/mnt/churn$k",
		"  while sleep 0; do cat /mnt/churn$k; done | ip -force -batch - >/dev/null 2>&1 &", "done", "sleep 1"}},
	{name: "in a namespace with many links", does: []string{"nest", "for i in {1..200}; do echo link add b$i type bridge; done | nested ip -batch -", "ip link set net1 netns $nested"}},

	{name: "its RDMA device renamed", needs: rdma, does: []string{"rdma dev set rxe0 name mine"}},
	{name: "its RDMA device renamed as another pod's", needs: rdma, does: []string{"rdma dev set rxe0 name rxe1"}},
	{name: "its RDMA device in another namespace than the netdev", needs: rdma, does: []string{"nest", "rdma dev set rxe0 netns ../../../proc/$nested/ns/net"}},
	{name: "the netdev in another namespace than its RDMA device", needs: rdma, does: []string{"nest", "ip link set net1 netns $nested"}},
	{name: "its RDMA device in a namespace that only a file descriptor holds", needs: rdma, does: []string{"nest", "rdma dev set rxe0 netns ../../../proc/$nested/ns/net", "exec 9</proc/$nested/ns/net", "kill $nested"}},
	{name: "its RDMA device in another pod", needs: rdma, does: []string{"rdma dev set rxe0 netns ../../..$other_pod"}},
	{name: "its RDMA device deleted", needs: rdma, does: []string{"rdma link delete rxe0"}},
	{name: "RDMA devices of its own, one with another pod's GUID", needs: rdma, then: "rdma link delete evil1 || true; rdma link delete evil2 || true", does: []string{"ip link add q1 address $other_mac type veth peer name q2", "ip link set q1 up", "ip link set q2 up",
		"rdma link add evil1 type rxe netdev q1", "rdma link add evil2 type rxe netdev q2"}},

	{name: "a link of its name on the host", hard: true, then: "ip link del $nic", does: []string{"foul on-host $nic bridge"}},
	{name: "a link of its name and MAC address on the host", then: "ip link del $nic", does: []string{"foul on-host $nic bridge $nic_mac"}},
	{name: "a link of its alternative name on the host", hard: true, then: "ip link del alt-$nic", does: []string{"foul on-host alt-$nic bridge"}},
}

// An ending is how a pod ends after its misdeed.
type ending struct {
	name string
	// killed: its processes are, and what they kept goes with them.
	killed bool
	// gone: its namespace is, as far as a runtime can tell.
	gone bool
}

// Whatever a pod does to its NIC, and however it ends, DEL gives the host and
// the next pod what they had.
func TestDELUndoesWhateverAPodDid(t *testing.T) {
	endings := []ending{
		{name: "DEL while its processes run"},
		{name: "DEL when its processes have ended", killed: true},
		{name: "DEL when it has ended, but for a process that keeps the namespace", gone: true},
		{name: "DEL when it has ended", killed: true, gone: true},
	}
	if inLab() { // where each takes its time; RDMA devices are for both
		endings = []ending{endings[0], endings[3]}
	}
	for _, e := range endings {
		t.Run(e.name, func(t *testing.T) {
			var n *node
			for i, m := range misdeeds {
				if !m.meets(e, i) {
					continue
				}
				if n == nil {
					n = newNode(t)
				}
				asNew := true
				n.run(m.name, func(n *node) {
					n.needs(m.needs)
					asNew = false
					asNew = n.suffer(m, e)
				})
				if !asNew && !inLab() { // there a node costs nothing
					n = nil
				}
			}
		})
	}
}

// meets tells whether a misdeed is tried with an ending: all are, except in the
// lab, which is slow. There only those are tried for which hardware makes a
// difference, each mode with an ending of its own, except for RDMA devices; in
// a sample each has one ending, in turn.
func (m misdeed) meets(e ending, turn int) bool {
	sampled := os.Getenv("ROCE_LAB_SAMPLE") == "" || e.gone == (turn%2 == 0)
	switch {
	case inLab() && m.needs == rdma:
		return sampled
	case inLab():
		return sampled && (m.hard || m.needs != "") && e.gone == (labMode() == "exclusive")
	}
	return true
}

// suffer has a pod commit a misdeed, ends it, and looks at what is left. It tells
// whether the node is as new.
func (n *node) suffer(m misdeed, e ending) bool {
	n.Helper()
	p := n.pod()
	if m.slows {
		p.delLimit = slowedDelLimit
	}
	p.add("net1", n.config(rails[0]))
	p.does(m.does...)
	if e.killed {
		p.process.kill()
	}
	if e.gone {
		p.end()
	}
	if err := p.tryDel("net1", n.config(rails[0])); err != nil {
		if !m.slows {
			n.Fatalf("DEL for %s: %v", p.name, err)
		}
		p.del("net1", n.config(rails[0]))
	}
	if m.then == "" {
		n.expectClean(n.other)
	}
	if m.stays {
		n.other.in("ip link show net7")
		n.other.in("foul to-host net7 " + rails[0])
		return false
	}
	for range 100 { // a namespace ends in its own time
		if n.has(rails[0]) || !e.killed || !n.has(fabric[0]) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if !n.has(fabric[0]) { // a veth and its peer are destroyed together
		if !e.killed && !m.ends {
			n.Error("the NIC has been destroyed")
		}
		n.other.expectUntouched()
		return false
	}
	if m.then == "" {
		n.expectAllAsBefore(m.name)
	} else {
		run(n, "bash", "-ec", os.Expand(m.then, n.variable))
	}
	p.process.kill()
	p.end()
	n.expectNextPod()
	n.expectAllAsBefore(m.name)
	return !n.Failed()
}

// variable is what misdeeds may name.
func (n *node) variable(name string) string {
	return map[string]string{"nic": rails[0], "other": rails[1], "cali": n.other.cali(), "nic_mac": n.before[rails[0]+" address"], "other_mac": n.other.was["net1 address"]}[name]
}

func (n *node) has(link string) bool {
	return exec.Command("ip", "link", "show", link).Run() == nil
}

// needs skips a misdeed that this kernel or machine cannot commit.
func (n *node) needs(what string) {
	n.Helper()
	switch what {
	case "":
		return
	case rdma:
		if labMode() != "exclusive" {
			skip(n.T, what, "needs RDMA devices in exclusive mode; the lab has some")
		}
		return
	}
	if what == "bond" && inLab() { // loaded by itself, it would make one at once
		run(n, "modprobe", "bonding", "max_bonds=0")
	}
	// Most kinds want more to be said; that comes after the kind is known.
	out, _ := exec.Command("ip", "link", "add", "try", "type", what).CombinedOutput()
	if strings.Contains(string(out), "Unknown device type") {
		skip(n.T, what, "this kernel makes no link of kind "+what+"; the lab's does")
	}
	_ = exec.Command("ip", "link", "del", "try").Run()
}
