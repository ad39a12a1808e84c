package guard

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

// What is said of a NIC is said of that one. The other end of its wire is in
// another namespace, as that of a pod's interface.
func TestANICIsFreeThoughTheHostHasSomethingOnAnother(t *testing.T) {
	elsewhere := fmt.Sprint("free-", os.Getpid())
	const port = "ip link add br0 type bridge; ip link set %s master br0"
	for name, tt := range map[string]struct{ commands, want string }{
		"nothing":                                    {"", ""},
		"a default route":                            {"ip route add default via 203.0.113.9", ""},
		"a route through two":                        {"ip route add 198.51.100.0/24 nexthop via 203.0.113.9 nexthop via 198.18.0.9", ""},
		"a pod behind it":                            {"ip route add 198.51.100.7 dev nic1", ""},
		"a pod behind both":                          {"ip route add 198.51.100.7 nexthop dev nic0 nexthop dev nic1", "the host's route to 198.51.100.7/32 goes through it and others"},
		"a pod behind this one":                      {"ip route add 198.51.100.7 dev nic0", "it is the host's end of an interface of the pod with the address 198.51.100.7"},
		"a subnet behind this one":                   {"ip route add 198.51.100.0/24 dev nic0", ""},
		"a default gateway that is next to it":       {"ip -6 route add default via fe80::9 dev nic1", ""},
		"a bridge":                                   {fmt.Sprintf(port, "nic1"), ""},
		"a bridge with this one":                     {fmt.Sprintf(port, "nic0"), "it is a port of bridge br0"},
		"a macvlan":                                  {"ip link add mv0 link nic1 type macvlan", ""},
		"a macvlan on this one":                      {"ip link add mv0 link nic0 type macvlan", "macvlan mv0 is on top of it"},
		"a macvlan of another namespace on this one": {"ip link add mv0 link nic0 type macvlan; ip link set mv0 netns " + elsewhere + "; ip -n " + elsewhere + " link set mv0 up", "a macvlan in another namespace is on top of it"},
		"the way to an address behind this one":      {"ip route add 198.51.100.7 via 192.0.2.9", ""},
		"a virtual function":                         {"echo 4 >$SYS/class/net/nic1/device/sriov_numvfs", ""},
		"a virtual function of this one":             {"echo 4 >$SYS/class/net/nic0/device/sriov_numvfs", "it is a physical function with 4 virtual functions"},
		"a scalable function":                        {"mkdir $SYS/class/net/nic1/device/mlx5_core.sf.2", ""},
		"scalable functions of this one": {"mkdir $SYS/class/net/nic0/device/mlx5_core.sf.{2,3}",
			"it is a physical function with 2 scalable functions"},
		"a representor": {"echo pf0vf3 >$SYS/class/net/nic0/phys_port_name", "it is the representor of a virtual function, port pf0vf3"},
		"a port":        {"echo p0 >$SYS/class/net/nic0/phys_port_name", ""},
	} {
		t.Run(name, func(t *testing.T) {
			host := node.NewHost(t)
			node.AddNIC(t, host, "nic0")
			for _, other := range []string{"nic1", "nic2"} {
				node.AddNIC(t, host, other)
			}
			t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", elsewhere).Run() })
			sys := t.TempDir()
			cmd := exec.Command("bash", "-ec", "mkdir -p $SYS/class/net/nic{0,1}/device; ip netns add "+elsewhere+"; ip link set nic0w netns "+elsewhere+"; ip -n "+elsewhere+" link set nic0w up\n"+
				"for n in nic0 nic1 nic1w nic2 nic2w; do ip link set $n up; done; ip addr add 203.0.113.1/24 dev nic1; ip addr add 198.18.0.1/24 dev nic2; ip addr add 192.0.2.1/24 dev nic0\n"+tt.commands)
			cmd.Env = append(os.Environ(), "SYS="+sys)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			link, err := host.LinkNamed("nic0")
			if err != nil || link == nil {
				t.Fatal(link, err)
			}
			g := Guard{Host: host, Node: rdma.Node{Sys: sys}}
			if why, err := g.Netdev(t.Context(), link); err != nil || why != tt.want && !strings.HasPrefix(why, tt.want+" (") {
				t.Errorf("%q, %v; want %q", why, err, tt.want)
			}
		})
	}
}

func TestAnAddressIsInUseIfAnyOfTheHostsTunnelsSendsFromIt(t *testing.T) {
	host := node.NewHost(t)
	links := []netlink.Link{node.AddNIC(t, host, "nic0"), node.AddNIC(t, host, "nic1")}
	run := func(commands string) {
		t.Helper()
		if out, err := exec.Command("bash", "-ec", commands).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	run("ip addr add 192.0.2.1/24 dev nic0; ip addr add 192.0.2.2/24 dev nic0; ip addr add 203.0.113.1/24 dev nic1; for n in nic0 nic0w nic1 nic1w; do ip link set $n up; done")
	g := Guard{Host: host}
	const first, second = "vxlan vx1 sends from its address 203.0.113.1", "vxlan vx2 sends from its address 192.0.2.2"
	for _, tt := range []struct {
		commands string
		want     []string // of nic0 and nic1
	}{
		{":", []string{"", ""}},
		{"ip link add vx1 type vxlan id 1 local 203.0.113.1 remote 203.0.113.9 dstport 4789", []string{"", first}},
		{"ip link add vx2 type vxlan id 2 local 192.0.2.2 remote 192.0.2.9 dstport 4789", []string{second, first}},
		{"ip link del vx1", []string{second, ""}},
		{"ip link del vx2", []string{"", ""}},
	} {
		run(tt.commands)
		tables, err := host.Tables(t.Context(), links...)
		if err != nil {
			t.Fatal(err)
		}
		if why, err := g.Addresses(t.Context(), tables...); !slices.Equal(why, tt.want) || err != nil {
			t.Errorf("after %s: %q, %v, want %q", tt.commands, why, err, tt.want)
		}
	}
}

func TestWhatIsOnTopOfANICElsewhereIsSaidOfThatOne(t *testing.T) {
	host := node.NewHost(t)
	links := []netlink.Link{node.AddNIC(t, host, "nic0"), node.AddNIC(t, host, "nic1"), node.AddNIC(t, host, "nic2")}
	elsewhere := fmt.Sprint("upper-", os.Getpid())
	commands := "ip netns add $e; for n in 1 2; do ip link add up$n link nic$n type macvlan mode private; ip link set up$n netns $e; done"
	if out, err := exec.Command("bash", "-ec", "e="+elsewhere+"; "+commands).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", elsewhere).Run() })
	const tail = " in another namespace is on top of it"
	if why, want := (Guard{Host: host}).Elsewhere(t.Context(), links...), []string{"", "macvlan up1" + tail, "macvlan up2" + tail}; !slices.Equal(why, want) {
		t.Errorf("%q, want %q", why, want)
	}
}
