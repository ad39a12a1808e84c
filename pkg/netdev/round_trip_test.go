package netdev_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

// shell runs commands in the thread's namespace.
func shell(t *testing.T, commands string) {
	t.Helper()
	if out, err := exec.Command("bash", "-ec", commands).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func stateOf(t *testing.T, n *netdev.Namespace, name string) (link netlink.Link, s netdev.State, text string) {
	t.Helper()
	link, err := n.LinkNamed(name)
	must(t, err)
	if link == nil {
		t.Fatalf("no %s", name)
	}
	s, err = n.State(t.Context(), link)
	must(t, err)
	b, err := json.MarshalIndent(s, "", " ")
	must(t, err)
	return link, s, string(b)
}

// shown is what others say of nic0, without what the kernel adds in its
// own time. An address with a metric of its own comes back without, beside its
// route.
func shown(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("bash", "-ec", `ip -details -oneline link show nic0 | grep -oE '(mtu|group|qlen|alias|altname|promiscuity|allmulti|gso_max_size|gso_max_segs|gro_max_size|brd|link/ether) ("[^"]*"|[^ ]+)|[<,](UP|NOARP|MULTICAST|DYNAMIC)'
ip -4 -oneline addr show dev nic0 | sed 's/metric 50 scope global/scope global noprefixroute/'; ip -6 -oneline addr show dev nic0 scope global
ip route show table all dev nic0 | sed 's/ *linkdown//' | grep -Ev '^(fe80|local fe80|multicast|anycast)' || true
ip neigh show nud permanent dev nic0; ip neigh show proxy dev nic0; tc qdisc show dev nic0 | sed 's/refcnt [0-9]*//'`).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// Whatever a pod does to a NIC, it comes back as it was, and nothing is said.
func TestALinkComesBackAsItWasWhateverWasDoneToIt(t *testing.T) {
	const busy = `ip link set nic0 up; ip link set nic0w up
ip link set nic0 mtu 4200 address 02:00:00:00:00:07 alias "rail of nic0" promisc on allmulticast on txqueuelen 77
ip link property add dev nic0 altname rail0 altname enp8s0
ip link set nic0 group 5 gso_max_segs 33 gso_max_size 50000 gro_max_size 40000
ip addr add 192.0.2.1/24 dev nic0; ip addr add 192.0.2.3/24 dev nic0 label nic0:1 broadcast 192.0.2.200 preferred_lft 0; ip addr add 172.16.0.1/24 dev nic0 metric 50
ip -6 addr add fd00:3::1/64 dev nic0 nodad home mngtmpaddr; ip addr add 198.51.100.1/24 dev nic0 noprefixroute; ip addr add 203.0.113.1 peer 203.0.113.2 dev nic0
ip addr add fd00:1::1/64 dev nic0 nodad; ip addr add fd00:2::1/64 dev nic0 nodad noprefixroute
ip route add 10.1.0.0/16 via 192.0.2.9 metric 7 mtu 4000 advmss 3000; ip route add 10.2.0.0/16 dev nic0 src 192.0.2.1 table 77; ip route add 10.3.0.0/16 via 192.168.9.9 dev nic0 onlink tos 8
ip -6 route add fd01::/64 via fd00:1::9 metric 5; ip route add 10.4.0.0/16 via inet6 fd00:1::9 dev nic0 proto static; ip -6 route add fd02::/64 from fd03::/64 dev nic0 table 78
ip neigh add proxy 192.0.2.30 dev nic0; ip neigh add fd00:1::20 lladdr 02:00:00:00:00:21 router dev nic0 nud permanent
ip neigh add 192.0.2.20 lladdr 02:00:00:00:00:20 dev nic0 nud permanent; ip neigh add 192.0.2.21 lladdr 02:00:00:00:00:21 dev nic0 nud reachable
tc qdisc add dev nic0 root handle 5: pfifo limit 33; tc qdisc add dev nic0 clsact; tc qdisc add dev nic0w root handle 7: pfifo
ip -6 route add ff05::/16 dev nic0 table 79
echo 1 >/proc/sys/net/ipv4/conf/nic0/arp_ignore; echo 2 >/proc/sys/net/ipv4/conf/nic0/rp_filter; echo 0 >/proc/sys/net/ipv6/conf/nic0/accept_ra`
	for name, before := range map[string]string{"down": "ip link set nic0 mtu 1400", "up without a carrier": "ip link set nic0 up", "with everything": busy} {
		for what, pod := range map[string]string{
			"nothing": ":", "set down": "ip link set net1 down",
			"everything": `ip link set net1 up mtu 1300 address 02:00:00:00:00:99 alias theirs promisc off allmulticast off txqueuelen 5 group 0 gso_max_segs 44 gso_max_size 30000 gro_max_size 30000; ip link property add dev net1 altname theirs0
ip addr add 192.0.2.77/24 dev net1; ip route add 10.9.0.0/16 via 192.0.2.9; tc qdisc replace dev net1 root handle 9: pfifo; ip neigh add 192.0.2.21 lladdr 02:00:00:00:00:21 dev net1 nud permanent
echo 0 >/proc/sys/net/ipv4/conf/net1/arp_ignore; echo 1 >/proc/sys/net/ipv4/conf/net1/rp_filter; echo 1 >/proc/sys/net/ipv6/conf/net1/accept_ra; ip link add mv0 link net1 type macvlan
ip link set net1 arp off multicast off dynamic on broadcast 02:00:00:00:00:66`,
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				t.Parallel() // it is mostly the kernel's grace periods
				host := node.NewHost(t)
				node.AddNIC(t, host, "nic0")
				shell(t, before)
				link, s, want := stateOf(t, host, "nic0")
				wantShown := shown(t)
				handle := newPod(t, host)
				must(t, netns.Set(handle))
				place, err := netdev.OpenNamespace("/proc/thread-self/ns/net")
				must(t, err, netns.Set(host.NS))
				defer place.Close()
				must(t, host.Apply(link.Attrs().Index, netdev.Change{Namespace: place, Name: "net1"}))
				must(t, netns.Set(handle))
				shell(t, pod)
				must(t, netns.Set(host.NS))
				there, err := place.LinkNamed("net1")
				must(t, err)
				var log bytes.Buffer
				taken, unset, err := host.Restore(t.Context(), place, there, netdev.IdentityOf(link), s, slog.New(slog.NewTextHandler(&log, nil)))
				if taken != nil || unset != nil || err != nil || what != "everything" && log.Len() > 0 {
					t.Errorf("%v, %v, %v\n%s", taken, unset, err, &log)
				}
				if upper, err := place.LinkNamed("mv0"); upper != nil || err != nil {
					t.Errorf("left on top of it: %v, %v", upper, err)
				}
				if _, _, got := stateOf(t, host, "nic0"); got != want {
					t.Errorf("%s\nwas\n%s", got, want)
				}
				if got := shown(t); got != wantShown {
					t.Errorf("ip and tc show\n%s\nand showed\n%s", got, wantShown)
				}
			})
		}
	}
}

// An alias is bytes to the kernel. The record of an earlier version may have one that
// is longer than it was.
func TestAnAliasThatIsNoTextComesBack(t *testing.T) {
	host := node.NewHost(t)
	nic, alias := node.AddNIC(t, host, "nic0"), strings.Repeat("\xfc", 100)
	must(t, host.Apply(nic.Attrs().Index, netdev.Change{Alias: &alias}))
	link, _, text := stateOf(t, host, "nic0")
	var s netdev.State
	must(t, json.Unmarshal([]byte(text), &s))
	if string(s.RawAlias) != alias {
		t.Errorf("recorded as %q", s.RawAlias)
	}
	for _, old := range []bool{false, true} {
		if old {
			s.Alias, s.RawAlias = strings.Repeat("\ufffd", 100), nil
		}
		pod := open(t, host, newPod(t, host))
		must(t, host.Apply(link.Attrs().Index, netdev.Change{Namespace: pod, Name: "net1"}))
		there, err := pod.LinkNamed("net1")
		must(t, err)
		if _, _, err := host.Restore(t.Context(), pod, there, netdev.IdentityOf(link), s, slog.New(slog.DiscardHandler)); err != nil {
			t.Error(err)
		}
		if back, err := host.LinkNamed("nic0"); err != nil || back == nil || back.Attrs().Alias != alias {
			t.Errorf("%v, %v", back, err)
		}
	}
}

// The link is still there, as after a move that did not happen, or is there again,
// as the kernel brings it: down.
func TestWhatIsOnALinkOfTheHostGoesUnlessItWasThereOrNobodySaysWhatWas(t *testing.T) {
	for name, tt := range map[string]struct {
		uppers []string
		stays  bool
	}{
		"a record of an earlier release": {nil, true},
		"nothing was":                    {[]string{}, false},
		"it was":                         {[]string{"mv0"}, true},
		"another was":                    {[]string{"mv1"}, false},
	} {
		host := node.NewHost(t)
		node.AddNIC(t, host, "nic0")
		shell(t, "ip link add mv0 link nic0 type macvlan")
		link, s, _ := stateOf(t, host, "nic0")
		s.Uppers = tt.uppers
		_, _, err := host.Restore(t.Context(), host, link, netdev.IdentityOf(link), s, slog.New(slog.DiscardHandler))
		must(t, err)
		if upper, err := host.LinkNamed("mv0"); err != nil || (upper != nil) != tt.stays {
			t.Errorf("%s: %v, %v", name, upper, err)
		}
	}
}

// A NIC that is up is in the host's use again, as after its administrator brought it
// back: pods may have macvlans on it.
func TestWhatIsOnALinkElsewhereGoesUnlessTheHostUsesTheLink(t *testing.T) {
	for state, stays := range map[string]bool{"up": true, "down": false} {
		host := node.NewHost(t)
		node.AddNIC(t, host, "nic0")
		shell(t, "ip link add mv0 link nic0 type macvlan; ip link set nic0 "+state)
		link, s, _ := stateOf(t, host, "nic0")
		s.Uppers = []string{}
		pod := open(t, host, newPod(t, host))
		sleepIn(t, host, pod)
		mv0, err := host.LinkNamed("mv0")
		must(t, err, host.Apply(mv0.Attrs().Index, netdev.Change{Namespace: pod}))
		_, _, err = host.Restore(t.Context(), host, link, netdev.IdentityOf(link), s, slog.New(slog.DiscardHandler))
		must(t, err)
		if upper, err := pod.LinkNamed("mv0"); err != nil || (upper != nil) != stays {
			t.Errorf("%s: %v, %v", state, upper, err)
		}
	}
}
