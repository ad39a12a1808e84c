package guard

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

func TestAnRDMADeviceOfSeveralNetdevsIsNotOneNICs(t *testing.T) {
	link := node.AddNIC(t, node.NewHost(t), "ens12np0")
	for _, tt := range []struct {
		netdevs []string
		want    string
	}{
		{nil, ""},
		{[]string{"ens12np0"}, ""},
		{[]string{"ens12np0", "ens12np1"}, "its RDMA device mlx5_0 serves ens12np1 as well"},
		{[]string{"ens12np1", "ens12np0"}, "its RDMA device mlx5_0 serves ens12np1 as well"},
	} {
		if why := servesOthers(link, rdma.Device{Name: "mlx5_0", Netdevs: tt.netdevs}); why != tt.want {
			t.Errorf("%v: %q, want %q", tt.netdevs, why, tt.want)
		}
	}
}

// In shared mode every pod sees the device; only who is on the host needs it there.
func TestWhoUsesAnRDMADeviceInAPodIsNotTheHost(t *testing.T) {
	const process, gone = 77, 78
	proc := t.TempDir()
	for _, dir := range []string{"77/ns", "1/ns"} {
		if err := os.MkdirAll(filepath.Join(proc, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	host, err := netdev.CurrentNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	for file, target := range map[string]string{"77/ns/net": os.DevNull, "1/ns/net": fmt.Sprintf("/proc/self/fd/%d", int(host.NS))} {
		if err := os.Symlink(target, filepath.Join(proc, file)); err != nil {
			t.Fatal(err)
		}
	}
	g := Guard{Host: host, Proc: proc}
	for user, want := range map[rdma.User]bool{
		{PID: process}:                       true,
		{PID: 1}:                             false,
		{PID: gone}:                          false, // nobody knows
		{Service: "nvme_rdma"}:               false,
		{PID: process, Service: "nvme_rdma"}: false,
	} {
		if is := g.isInPod(user); is != want {
			t.Errorf("%+v: %v", user, is)
		}
	}
}

func TestARouteIsTheHostsHoweverItSaysWhatItGoesThrough(t *testing.T) {
	const compat = "/proc/sys/net/ipv4/nexthop_compat_mode"
	for name, tt := range map[string]struct{ commands, want string }{
		"no route":                   {"", ""},
		"a default route":            {"ip route add default via 192.0.2.9", "the host's default route goes through it"},
		"a half of it, as of a VPN":  {"ip route add 128.0.0.0/1 via 192.0.2.9", "the host's default route goes through it"},
		"a quarter of it":            {"ip route add 192.0.0.0/2 via 192.0.2.9", ""},
		"a nexthop object":           {"ip nexthop add id 2 via 192.0.2.9 dev nic0; ip route add default nhid 2", "the host's default route goes through it"},
		"its ID alone":               {"echo 0 >" + compat + "; ip nexthop add id 2 via 192.0.2.9 dev nic0; ip route add default nhid 2", "the host's default route goes through it"},
		"the ID of a group":          {"echo 0 >" + compat + "; ip nexthop add id 2 via 192.0.2.9 dev nic0; ip nexthop add id 3 group 2; ip route add 198.51.100.0/24 nhid 3", "the host's route to 198.51.100.0/24 goes through it and others"},
		"the ID of another NIC":      {"echo 0 >" + compat + "; ip nexthop add id 2 via 203.0.113.9 dev nic1; ip route add default nhid 2", ""},
		"a group of one":             {"ip -6 nexthop add id 2 via fd00:1::9 dev nic0; ip nexthop add id 3 group 2; ip -6 route add fd01::/64 nhid 3", "the host's route to fd01::/64 goes through it and others"},
		"the ID of a way around":     {"echo 0 >" + compat + "; ip nexthop add id 2 via 192.0.2.9 dev nic1 onlink; ip route add default nhid 2", "the host reaches its default gateway 192.0.2.9 through it"},
		"a neighbour of another NIC": {"ip -6 route add default via fe80::1 dev nic1", ""},
		"a table for its address":    {"ip route add default via 192.0.2.9 table 77; ip rule add from 192.0.2.1 lookup 77", ""},
		"a table that nobody asks":   {"ip route add default via 192.0.2.9; for f in -4 -6; do ip $f rule add priority 100 unreachable; ip $f rule del lookup main; done", ""},
	} {
		t.Run(name, func(t *testing.T) {
			host := node.NewHost(t)
			link := node.AddNIC(t, host, "nic0")
			node.AddNIC(t, host, "nic1")
			up := "for n in nic0 nic0w nic1 nic1w; do ip link set $n up; done; ip addr add 192.0.2.1/24 dev nic0; ip addr add 203.0.113.1/24 dev nic1; ip addr add fd00:1::1/64 dev nic0 nodad\n"
			if out, err := exec.Command("bash", "-ec", up+tt.commands).CombinedOutput(); err != nil {
				if strings.Contains(tt.commands, "nexthop") && strings.Contains(string(out), "not supported") {
					t.Skipf("%s", out)
				}
				t.Fatalf("%v: %s", err, out)
			}
			g := Guard{Host: host}
			if why, err := g.carriesTraffic(t.Context(), link); why != tt.want || err != nil {
				t.Errorf("%q, %v; want %q", why, err, tt.want)
			}
		})
	}
}

func TestWhoHasTimeAsksForConnectionsAndOtherNamespacesToo(t *testing.T) {
	host := node.NewHost(t)
	link := node.AddNIC(t, host, "nic0")
	if out, err := exec.Command("bash", "-ec", "ip link set nic0w up; ip link set nic0 up; ip addr add 192.0.2.1/24 dev nic0").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	g := Guard{Host: host, Node: rdma.Node{Sys: t.TempDir()}, RDMA: func() (*rdma.Namespace, error) { return nil, rdma.ErrNoSubsystem }}
	if why, err := g.Any(t.Context(), link, rdma.Device{}); why != "" || err != nil {
		t.Errorf("before: %q, %v", why, err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "192.0.2.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if why, err := g.Any(t.Context(), link, rdma.Device{}); !strings.HasPrefix(why, "the host uses its address 192.0.2.1: ") || err != nil {
		t.Errorf("with a server: %q, %v", why, err)
	}
	_ = l.Close()
	elsewhere := fmt.Sprint("upper-", os.Getpid())
	commands := "ip netns add $e; ip link add up0 link nic0 type macvlan; ip link set up0 netns $e"
	if out, err := exec.Command("bash", "-ec", "e="+elsewhere+"; "+commands).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", elsewhere).Run() })
	if why, err := g.Any(t.Context(), link, rdma.Device{}); why != "macvlan up0 in another namespace is on top of it" || err != nil {
		t.Errorf("with a macvlan elsewhere: %q, %v", why, err)
	}
}

func TestWhoHasTimeAsksForTheDeviceAndForWhatTheKernelKeepsToo(t *testing.T) {
	host := node.NewHost(t)
	link := node.AddNIC(t, host, "nic0")
	loopback, err := host.LinkNamed("lo")
	if err != nil {
		t.Fatal(err)
	}
	none := func() (*rdma.Namespace, error) { return nil, rdma.ErrNoSubsystem }
	broken := func() (*rdma.Namespace, error) { return nil, os.ErrPermission }
	for name, tt := range map[string]struct {
		link   netlink.Link
		device rdma.Device
		rdma   func() (*rdma.Namespace, error)
		want   string
		err    error
	}{
		"nothing":                {link, rdma.Device{Name: "mlx5_0", Netdevs: []string{"nic0"}}, none, "", nil},
		"a device of two":        {link, rdma.Device{Name: "mlx5_0", Netdevs: []string{"nic0", "nic1"}}, none, "its RDMA device mlx5_0 serves nic1 as well", nil},
		"a subsystem that fails": {link, rdma.Device{Name: "mlx5_0"}, broken, "", os.ErrPermission},
		"what cannot move":       {loopback, rdma.Device{}, none, netdev.Unfit(loopback), nil},
	} {
		g := Guard{Host: host, Node: rdma.Node{Sys: t.TempDir()}, RDMA: tt.rdma}
		if why, err := g.Any(t.Context(), tt.link, tt.device); why != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: %q, %v; want %q", name, why, err, tt.want)
		}
	}
}

func TestANICWithAProgramOrAPodBehindItIsTheHosts(t *testing.T) {
	sandbox := fmt.Sprint("cni-guard-", os.Getpid())
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", sandbox).Run() })
	for want, prepare := range map[string]func(t *testing.T, link netlink.Link){
		"it has the XDP program ": node.AttachProgram,
		"it is the host's end of an interface of the pod in ": func(t *testing.T, _ netlink.Link) {
			if out, err := exec.Command("bash", "-ec", "ip netns add "+sandbox+"; ip link set nic0w netns "+sandbox).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		},
	} {
		t.Run(want, func(t *testing.T) {
			host := node.NewHost(t)
			node.AddNIC(t, host, "nic0")
			link, err := host.LinkNamed("nic0")
			if err != nil {
				t.Fatal(err)
			}
			prepare(t, link)
			if link, err = host.LinkNamed("nic0"); err != nil {
				t.Fatal(err)
			}
			if why, err := (Guard{Host: host, Node: rdma.Node{Sys: t.TempDir()}}).Netdev(t.Context(), link); !strings.HasPrefix(why, want) || strings.Contains(want, "pod in") && !strings.HasSuffix(why, "/"+sandbox) || err != nil {
				t.Errorf("%q, %v; want %q", why, err, want)
			}
		})
	}
}

func TestWhatWasReadOfALinkIsNotReadAgain(t *testing.T) {
	host := node.NewHost(t)
	link := node.AddNIC(t, host, "nic0")
	run := func(commands string) {
		t.Helper()
		if out, err := exec.Command("bash", "-ec", commands).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	run("ip link set nic0w up; ip link set nic0 up; ip addr add 192.0.2.1/24 dev nic0")
	before, err := host.Tables(t.Context(), link)
	if err != nil {
		t.Fatal(err)
	}
	run("ip route add default via 192.0.2.9")
	for want, tables := range map[string]*netdev.Tables{"": before[0], "the host's default route goes through it": nil} {
		if why, err := (Guard{Host: host, Node: rdma.Node{Sys: t.TempDir()}, Tables: tables}).Netdev(t.Context(), link); why != want || err != nil {
			t.Errorf("%q, %v; want %q", why, err, want)
		}
	}
}

func TestAllGlobalAddressesAreADefault(t *testing.T) {
	for prefix, want := range map[string]bool{"0.0.0.0/0": true, "::/0": true, "128.0.0.0/1": true, "8000::/1": true, "2000::/3": true, "2000::/4": false, "4000::/3": false, "64.0.0.0/2": false} {
		if is := isDefault(netip.MustParsePrefix(prefix)); is != want {
			t.Errorf("%s: %v", prefix, is)
		}
	}
}
