package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestAnADDThatCannotBeLeavesNothing(t *testing.T) {
	h := sysfs.MLX5(0)
	nic := h.Netdev
	const withoutIPAM = `{"cniVersion": "1.1.0", "name": "roce", "type": "roce-host-device", "rdma": "none", "device": "`
	for name, tt := range map[string]struct {
		before func(s *scene, p *scenePod)
		ifName string // net1
		config string
		want   string
		asked  string
	}{
		"another name":                         {config: network("ens99np0", ""), want: `100 no NIC with device "ens99np0" on this node; compare with `},
		"the host's namespace":                 {before: func(_ *scene, p *scenePod) { p.netns = "/proc/thread-self/ns/net" }, want: "8 CNI_NETNS /proc/thread-self/ns/net is the host's own network namespace; a pod with hostNetwork has the NIC already"},
		"the host's namespace by another path": {before: func(s *scene, p *scenePod) { p.netns = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(s.host.NS)) }, want: " is the host's own network namespace"},
		"no NIC, and no namespace":             {before: func(_ *scene, p *scenePod) { p.netns = "/nowhere" }, config: `{"cniVersion": "1.1.0", "name": "n"}`, want: "7 network configuration: nothing names the NIC"},
		"no namespace":                         {before: func(_ *scene, p *scenePod) { p.netns = "/nowhere" }, want: "/nowhere: no such file or directory; CNI_NETNS must be the path of a network namespace"},
		"a name that is not UTF-8":             {ifName: "n\xfft1", want: `4 CNI_IFNAME is "n\xfft1", which is not UTF-8; nothing was changed`},
		"a name for all":                       {ifName: "all", want: "4 CNI_IFNAME is all, which cannot name a single interface"},
		"a name that the pod has":              {before: func(_ *scene, p *scenePod) { p.in("ip link add net1 type bridge") }, want: "102 " + nic + ": the pod already has an interface net1 (bridge)"},
		"a name of an earlier plugin":          {config: network(nic, `, "prevResult": {"cniVersion": "1.1.0", "interfaces": [{"name": "net1", "sandbox": "NETNS"}]}`), want: "102 the pod already has an interface net1, from an earlier plugin of network roce"},
		"an earlier plugin's null":             {config: network(nic, `, "prevResult": {"cniVersion": "1.1.0", "interfaces": [null]}`), want: `6 read prevResult: "interfaces" has an entry that is null`},
		"an IPAM plugin without a name":        {config: strings.Replace(network(nic, ""), `"type": "scripted"`, `"typ": "scripted"`, 1), want: `7 network configuration: "ipam" has no "type"; name the IPAM plugin, or take it out`},
		"a key that is there twice":            {config: network(nic, `, "ipam": {"type": "scripted"}`), want: `7 network configuration: "ipam" is there twice; keep one`},
		"a key of IPAM that is there twice":    {config: strings.Replace(network(nic, ""), `"type": "scripted"`, `"type": "scripted", "x": [{}, {"y": 1, "y": 2}]`, 1), want: `7 network configuration: "y" is there twice; keep one`},
		"a name that no terminal should get":   {config: strings.Replace(network(nic, ""), nic, `a\u001b[31m`, 1), want: `7 network configuration: device "a\x1b[31m" has a control character; compare with`},
		"a name that is no end":                {config: network(strings.Repeat("a", 100000), ""), want: `100 find the NIC by device "aaa`},
		"a result that is none":                {config: network(nic, `, "prevResult": {"cniVersion": "9.9.9"}`), want: "6 read prevResult: "},
		"claims without a cluster's":           {config: `{"cniVersion": "1.1.0", "name": "n", "claims": true}`, want: `7 network configuration: "claims" without prevResult; chain it behind the cluster's own network`},
		"no NIC":                               {config: `{"cniVersion": "1.1.0", "name": "n"}`, want: "7 network configuration: nothing names the NIC"},
		"a policy against it":                  {before: func(s *scene, _ *scenePod) { s.policy(`"virtual": false`) }, want: "7 " + nic + ": "},
		"a policy that is none":                {before: func(s *scene, _ *scenePod) { s.policy(`"virtuall": false`) }, want: "7 " + nic + ": "},
		"a state folder of anybody's":          {before: func(s *scene, _ *scenePod) { s.sh("mkdir -m 777 " + s.State()) }, want: "107 open the journal: the state folder: "},
		"a pod that another try cannot help": {before: func(s *scene, p *scenePod) {
			s.Must(s.Journal.Refuse(podOf(p.args("", "").Args), "numbers have changed"))
		}, want: "106 an earlier ADD of this pod failed: numbers have changed; delete the pod and create it again"},
		"a file that is none of Multus'": {config: network(nic, `, "runtimeConfig": {"CNIDeviceInfoFile": "/etc/passwd"}`), want: `7 network configuration: "CNIDeviceInfoFile" is "/etc/passwd"`},
		"a file where Multus' are":       {before: func(s *scene, _ *scenePod) { s.Write("devinfo", "") }, config: network(nic, `, "runtimeConfig": {"CNIDeviceInfoFile": "INFO/x.json"}`), want: "109 " + nic + ": tell Multus about it: ", asked: "ADD c1 net1, DEL c1 net1"},
		"what is no NIC":                 {config: network("lo", ""), want: "112 lo: "},
		"a default route": {before: func(s *scene, _ *scenePod) {
			s.sh("ip addr add 192.0.2.1/24 dev " + nic + "; ip route add default via 192.0.2.9")
		}, want: "112 " + nic + `: the host's default route goes through it; "force": true moves it all the same; nothing was changed`},
		"a program of the host's": {before: func(s *scene, _ *scenePod) {
			link, err := s.host.LinkNamed(nic)
			s.Must(err)
			node.AttachProgram(s.T, link)
		}, want: "112 " + nic + ": it has the XDP program "},
		"two with the address": {before: func(s *scene, _ *scenePod) {
			s.sh("ip link set " + nic + " address 02:00:00:00:00:01; ip link set " + nic + "w address 02:00:00:00:00:01")
		}, config: `{"cniVersion": "1.1.0", "name": "roce", "rdma": "none", "hwaddr": "02:00:00:00:00:01"}`, want: `100 find the NIC by hwaddr "02:00:00:00:00:01": several netdevs have the address 02:00:00:00:00:01: `},
		"an address that the host uses": {before: func(s *scene, _ *scenePod) { s.sh("ip addr add 192.0.2.1/24 dev " + nic); s.serve("192.0.2.1") },
			want: "112 " + nic + ": the host uses its address 192.0.2.1: "},
		"a macvlan on it in another namespace": {before: func(s *scene, _ *scenePod) {
			elsewhere := fmt.Sprint("upper-", os.Getpid())
			s.Cleanup(func() { _ = exec.Command("ip", "netns", "del", elsewhere).Run() })
			s.sh("ip netns add " + elsewhere + "; ip link add mv0 link " + nic + " type macvlan; ip link set mv0 netns " + elsewhere)
		}, want: "112 " + nic + ": macvlan mv0 in another namespace is on top of it"},
		"a macvlan on it": {before: func(s *scene, _ *scenePod) { s.sh("ip link add mv0 link " + nic + " type macvlan") }, want: "112 " + nic + ": macvlan mv0 is on top of it"},
		"a macvlan on it while it is down": {before: func(s *scene, _ *scenePod) {
			s.sh("ip link add mv0 link " + nic + " type macvlan; ip link set " + nic + " down")
		}, want: "112 " + nic + ": macvlan mv0 is on top of it"},
		"the peer of one of the pod's": {before: func(s *scene, p *scenePod) {
			peer, err := s.host.LinkNamed(nic + "w")
			s.Must(err)
			s.Must(netlink.LinkSetNsFd(peer, int(p.ns.NS)))
		}, want: "112 " + nic + ": it is the peer of an interface of this pod; name another link; nothing was changed"},
		"a MAC address for one that is known by it": {before: func(s *scene, _ *scenePod) { s.sh("ip link add mv0 link " + nic + " type macvlan") },
			config: network("mv0", `, "runtimeConfig": {"mac": "02:00:00:00:00:07"}`), want: `7 network configuration: "runtimeConfig.mac" is "02:00:00:00:00:07", and mv0 is a macvlan; such a link is identified by its MAC address`},
		"no address to keep":                {config: withoutIPAM + nic + `", "keepAddresses": true}`, want: "109 " + nic + ": keep its addresses: it has none on the host"},
		"a route but no address to keep":    {before: func(s *scene, _ *scenePod) { s.sh("ip route add 198.51.100.0/24 dev " + nic) }, config: withoutIPAM + nic + `", "keepAddresses": true}`, want: "109 " + nic + ": keep its addresses: it has none on the host"},
		"no IPAM plugin":                    {before: func(s *scene, _ *scenePod) { s.Must(os.Remove(filepath.Join(s.Dir, "bin/scripted"))) }, want: "108 " + nic + ": find IPAM plugin scripted: "},
		"an IPAM plugin that fails":         {before: func(s *scene, _ *scenePod) { s.ipamFails("ADD", "all are taken") }, want: "108 " + nic + ": get an address from scripted: all are taken", asked: "ADD c1 net1, DEL c1 net1"},
		"an IPAM plugin that fails at both": {before: func(s *scene, _ *scenePod) { s.ipamFails("ADD", "all are taken"); s.ipamFails("DEL", "no file") }, want: "108 " + nic + ": get an address from scripted: all are taken", asked: "ADD c1 net1, DEL c1 net1"},
		"an IPAM plugin with no address":    {before: func(s *scene, _ *scenePod) { s.Write("bin/answer", `{"cniVersion": "1.1.0"}`) }, want: "108 " + nic + ": get an address from scripted: the IPAM plugin returned no address", asked: "ADD c1 net1, DEL c1 net1"},
		"an address of a group": {before: func(s *scene, _ *scenePod) {
			s.Write("bin/answer", `{"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.2/8"}, {"address": "224.0.0.1/4"}]}`)
		}, want: `108 ` + nic + `: get an address from scripted: the IPAM plugin returned "224.0.0.1/4", which is no address of an interface`, asked: "ADD c1 net1, DEL c1 net1"},
		"an address that is none": {before: func(s *scene, _ *scenePod) {
			s.Write("bin/answer", `{"cniVersion": "1.1.0", "ips": [{"address": "0.0.0.0/8"}]}`)
		}, want: `returned "0.0.0.0/8", which is no address of an interface`, asked: "ADD c1 net1, DEL c1 net1"},
		"an address that is null": {before: func(s *scene, _ *scenePod) {
			s.Write("bin/answer", `{"cniVersion": "0.4.0", "ips": [null]}`)
		}, want: `108 ` + nic + `: get an address from scripted: read the IPAM plugin's answer: "ips" has an entry that is null`, asked: "ADD c1 net1, DEL c1 net1"},
		"a route that is null": {before: func(s *scene, _ *scenePod) {
			s.Write("bin/answer", `{"cniVersion": "1.1.0", "ips": [{"address": "172.31.1.2/24"}], "routes": [null]}`)
		}, want: `read the IPAM plugin's answer: "routes" has an entry that is null`, asked: "ADD c1 net1, DEL c1 net1"},
		"a prefix of the other family": {before: func(s *scene, _ *scenePod) {
			s.Write("bin/answer", `{"cniVersion": "1.1.0", "ips": [{"address": "::ffff:10.1.0.5/120"}]}`)
		}, want: `which is no address of an interface`, asked: "ADD c1 net1, DEL c1 net1"},
		"a route to nowhere": {before: func(s *scene, _ *scenePod) {
			s.Write("bin/answer", `{"cniVersion": "1.1.0", "ips": [{"address": "172.31.1.2/24"}], "routes": [{"dst": "::ffff:10.1.0.0/112"}]}`)
		}, want: `which is no network`, asked: "ADD c1 net1, DEL c1 net1"},
		"the gateway's address": {before: func(s *scene, _ *scenePod) {
			s.Write("bin/answer", `{"cniVersion": "1.1.0", "ips": [{"address": "172.31.1.1/24", "gateway": "172.31.1.1"}], "routes": [{"dst": "10.9.0.0/16"}]}`)
		}, want: "113 " + nic + ": IPAM plugin scripted gave the pod 172.31.1.1, the address of the gateway that its routes go through; exclude it from the range, with Whereabouts by \"exclude\": [\"172.31.1.1/32\"]", asked: "ADD c1 net1, DEL c1 net1"},
		"IPv6 on a short link": {before: func(s *scene, _ *scenePod) {
			s.Write("bin/answer", `{"cniVersion": "1.1.0", "ips": [{"address": "fd00:1::2/64"}]}`)
		}, config: network(nic, `, "mtu": 1279`), want: "109 " + nic + ": IPv6 needs an MTU of 1280 bytes, but it has 1279", asked: "ADD c1 net1, DEL c1 net1"},
		"a gateway that cannot be": {before: func(s *scene, _ *scenePod) {
			s.Write("bin/answer", `{"cniVersion": "1.1.0", "ips": [{"address": "172.31.1.2/24", "gateway": "198.51.100.1"}], "routes": [{"dst": "10.9.0.0/16"}]}`)
		}, want: "109 " + nic + ": configure its addresses in the pod: ", asked: "ADD c1 net1, DEL c1 net1"},
		"a sysctl that is none, before dhcp is asked": {config: strings.Replace(network(nic, `, "sysctls": {"net.ipv4.conf.IFNAME.no_such": "1"}`), "scripted", "dhcp", 1), want: "109 " + nic + ": set its sysctls: "},
		"a sysctl that is none, and no address either": {before: func(s *scene, _ *scenePod) { s.ipamFails("ADD", "all are taken"); s.ipamFails("DEL", "no file") },
			config: network(nic, `, "sysctls": {"net.ipv4.conf.IFNAME.no_such": "1"}`), want: "109 " + nic + ": set its sysctls: ", asked: "ADD c1 net1, DEL c1 net1"},
		"a sysctl that is none": {config: network(nic, `, "sysctls": {"net.ipv4.conf.IFNAME.no_such": "1"}`), want: "109 " + nic + ": set its sysctls: ", asked: "ADD c1 net1, DEL c1 net1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, h)
			p := s.pod("c1")
			if tt.before != nil {
				tt.before(s, p)
			}
			ifName, config := tt.ifName, tt.config
			if ifName == "" {
				ifName = "net1"
			}
			if config == "" {
				config = network(nic, "")
			}
			look := "ip -d link show " + nic + "; ip -4 addr show " + nic + "; ip route show dev " + nic
			before, links := s.sh(look), p.in("ip link")
			_, err := p.tryAdd(ifName, strings.NewReplacer("NETNS", p.netns, "INFO", filepath.Join(s.Dir, "devinfo")).Replace(config))
			if !strings.Contains(told(err), tt.want) {
				t.Errorf("%s\nwant %s", told(err), tt.want)
			}
			if room := 1024; len(told(err)) > room {
				t.Errorf("%d bytes; an event has room for %d", len(told(err)), room)
			}
			if asked := s.asked(); asked != tt.asked {
				t.Errorf("the IPAM plugin was asked for %s", asked)
			}
			if left := s.records(); left != "" {
				t.Errorf("left in the journal: %s", left)
			}
			if after := s.sh(look); after != before {
				t.Errorf("the host was\n%s\nand is\n%s", before, after)
			}
			if after := p.in("ip link"); after != links {
				t.Errorf("the pod had\n%s\nand has\n%s", links, after)
			}
		})
	}
}

func TestANICGoesToThePodWithAllThatTheNetworkSays(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	nic := h.Netdev
	s.sh("ip link property add dev " + nic + " altname net1 altname rail0; tc qdisc replace dev " + nic + " root pfifo limit 7")
	p := s.pod("c1")
	s.Write("bin/answer", `{"cniVersion": "1.1.0", "ips": [{"address": "172.31.1.2/24", "gateway": "172.31.1.1"}, {"address": "fd00:1::2/64"}],
		"routes": [{"dst": "10.9.0.0/16"}], "dns": {"nameservers": ["192.0.2.53"]}}`)
	s.sh("mkdir " + s.Dir + "/devinfo")
	info := filepath.Join(s.Dir, "devinfo", "default-net1.json")
	config := network(nic, `, "mtu": 4200, "sourceRouting": {"table": 77, "priority": 88}, "sysctls": {"net.ipv4.conf.IFNAME.arp_notify": "1"},
		"capabilities": {"mac": true}, "runtimeConfig": {"mac": "02:00:00:00:00:07", "CNIDeviceInfoFile": "`+info+`"}`)
	result := p.add("net1", config)
	want := "mtu 4200 up true 172.31.1.2/24 fd00:1::2/64"
	if got := p.inPod("net1"); !strings.HasPrefix(got, want) {
		t.Errorf("the pod has %s\nwant %s", got, want)
	}
	if nic := result.Interfaces[0]; len(result.Interfaces) != 1 || nic.Name != "net1" || nic.Mac != "02:00:00:00:00:07" || nic.Mtu != 4200 || nic.Sandbox != p.netns || nic.PciID != h.PCI {
		t.Errorf("it prints %+v", nic)
	}
	for what, tt := range map[string]struct{ script, want string }{
		"MAC address":                {"ip -o link show net1 | grep -o 02:00:00:00:00:07", "02:00:00:00:00:07\n"},
		"sysctl of the network's":    {"cat /proc/sys/net/ipv4/conf/net1/arp_notify", "1\n"},
		"sysctl of the routing's":    {"cat /proc/sys/net/ipv4/conf/net1/arp_ignore", "1\n"},
		"IPv6 stays when it is down": {"cat /proc/sys/net/ipv6/conf/net1/keep_addr_on_down", "1\n"},
		"rule":                       {"ip rule | grep 172", "88:\tfrom 172.31.1.2 lookup 77\n"},
		"routes":                     {"ip route show table 77 | sort", "10.9.0.0/16 via 172.31.1.1 dev net1 \n172.31.1.0/24 dev net1 scope link src 172.31.1.2 \ndefault via 172.31.1.1 dev net1 \n"},
	} {
		if got := p.in(tt.script); got != tt.want {
			t.Errorf("%s: %q, want %q", what, got, tt.want)
		}
	}
	if !strings.Contains(s.Logs.String(), "the move removes the host's queueing discipline") {
		t.Errorf("logged\n%s", s.Logs)
	}
	if b, err := os.ReadFile(info); err != nil || !strings.Contains(string(b), h.PCI) {
		t.Errorf("Multus reads %s, %v", b, err)
	}
	r, _, err := s.Journal.Read(attachment.ID{ContainerID: "c1", IfName: "net1"})
	s.Must(err)
	recorded := fmt.Sprint(r.Step, r.Network, r.Pod, r.Pod.UID == uidOf("c1"), r.Netns.Path == p.netns, r.Netns.ID == p.ns.ID, r.Netns.Cookie == p.ns.Cookie, r.NIC.Bus, r.NIC.Address, r.Host.Name, r.Host.MTU, r.Addresses, r.DeviceInfoFile == info,
		len(r.Rules), len(r.Routes) > 0, r.Call, r.Claim, r.Created.IsZero(), r.Args == p.args("", "").Args, r.NIC.Netdev.AwayIndex > 0)
	if want := "attachedrocedefault/c1truetruetruetruepci" + h.PCI + nic + "9000[172.31.1.2/24 fd00:1::2/64]true2truefalsetruetrue"; strings.ReplaceAll(recorded, " ", "") != strings.ReplaceAll(want, " ", "") {
		t.Errorf("the journal has\n%s\nwant\n%s", recorded, want)
	}
	if names := slices.Sorted(slices.Values(r.Host.AltNames)); !slices.Equal(names, []string{"net1", "rail0"}) {
		t.Errorf("alternative names %v", names)
	}
	var given map[string]any
	if err := json.Unmarshal(r.Config, &given); err != nil || given["mtu"] != 4200.0 {
		t.Errorf("the journal's network is %s, %v", r.Config, err)
	}
	if err := p.check("net1", config, result); err != nil {
		t.Errorf("CHECK: %s", told(err))
	}
	s.Must(p.del("net1", config))
	if got := s.records() + p.inPod("net1") + p.in("ip rule | grep 172 || true"); got != "" || s.onHost() != nic {
		t.Errorf("after DEL: %s, on the host %s", got, s.onHost())
	}
	if link, err := s.host.LinkNamed("net1"); err != nil || link == nil || link.Attrs().MTU != 9000 {
		t.Errorf("the host has it back as %v, %v", link, err)
	}
	if _, err := os.Stat(info); err == nil {
		t.Error("Multus still reads about it")
	}
	if asked := s.asked(); asked != "ADD c1 net1, CHECK c1 net1, DEL c1 net1" {
		t.Errorf("the IPAM plugin was asked for %s", asked)
	}
}

func TestWithForceTheHostsNICGoesAndItsUppersAreWrittenDown(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	s.sh("ip addr add 192.0.2.1/24 dev " + h.Netdev + "; ip route add default via 192.0.2.9; ip link add mv0 link " + h.Netdev + " type macvlan")
	link, err := s.host.LinkNamed(h.Netdev)
	s.Must(err)
	node.AttachProgram(t, link)
	p := s.pod("c1")
	p.add("net1", network(h.Netdev, `, "force": true`))
	if got := p.in("ip link show net1"); strings.Contains(got, "xdp") {
		t.Errorf("the host's program is in the pod:\n%s", got)
	}
	r, _, err := s.Journal.Read(attachment.ID{ContainerID: "c1", IfName: "net1"})
	s.Must(err)
	if !slices.Equal(r.Host.Uppers, []string{"mv0"}) {
		t.Errorf("uppers %q", r.Host.Uppers)
	}
	s.Must(p.del("net1", network(h.Netdev, "")))
	if got := s.sh("ip route show default") + s.onHost(); got != "default via 192.0.2.9 dev "+h.Netdev+" \n"+h.Netdev+" mv0" {
		t.Errorf("after DEL: %s", got)
	}
}

func TestKeptAddressesAreThoseOfTheHostAndInTheAnswer(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	s.sh("ip addr add 192.0.2.1/24 dev " + h.Netdev + "; ip route add 198.51.100.0/24 via 192.0.2.9 metric 7")
	p := s.pod("c1")
	config := strings.Replace(network(h.Netdev, `, "keepAddresses": true`), `, "ipam": {"type": "scripted"}`, "", 1)
	result := p.add("net1", config)
	if got := p.inPod("net1"); got != "mtu 9000 up true 192.0.2.1/24 to 198.51.100.0/24 via 192.0.2.9" {
		t.Errorf("the pod has %s", got)
	}
	if len(result.IPs) != 1 || result.IPs[0].Address.String() != "192.0.2.1/24" || len(result.Routes) != 1 || result.Routes[0].Dst.String() != "198.51.100.0/24" || result.Routes[0].GW.String() != "192.0.2.9" || result.Routes[0].Priority != 7 {
		t.Errorf("it prints %+v", result)
	}
	if err := p.check("net1", config, result); err != nil {
		t.Errorf("CHECK: %s", told(err))
	}
	s.Must(p.del("net1", config))
	if asked := s.asked(); asked != "" {
		t.Errorf("an IPAM plugin was asked for %s", asked)
	}
}

func TestARouteThatAnotherNICOfThePodHasGetsAHigherMetricWhichTheAnswerSays(t *testing.T) {
	one, two := sysfs.MLX5(0), sysfs.MLX5(1)
	s := newScene(t, one, two)
	p := s.pod("c1")
	p.add("net1", network(one.Netdev, ""))
	s.Write("bin/answer", `{"cniVersion": "1.1.0", "ips": [{"address": "172.31.2.2/24", "gateway": "172.31.2.1"}], "routes": [{"dst": "10.9.0.0/16"}]}`)
	result := p.add("net2", network(two.Netdev, ""))
	if got := p.in("ip route show 10.9.0.0/16 dev net2"); got != "10.9.0.0/16 via 172.31.2.1 metric 1 \n" || result.Routes[0].Priority != 1 {
		t.Errorf("the pod has %s, printed %+v", got, result.Routes[0])
	}
	if said := strings.Count(s.Logs.String(), "another NIC of the pod has a route to this destination"); said != 1 || !strings.Contains(s.Logs.String(), "nic="+two.Netdev+" pod=default/c1 route=\"10.9.0.0/16 via 172.31.2.1\" metric=1") {
		t.Errorf("said %d times:\n%s", said, s.Logs)
	}
	if err := p.check("net2", network(two.Netdev, ""), result); err != nil {
		t.Errorf("CHECK: %s", told(err))
	}
}

func TestARouteOfIPv6ThatAnotherNICHasComesAfterIt(t *testing.T) {
	one, two := sysfs.MLX5(0), sysfs.MLX5(1)
	s := newScene(t, one, two)
	p := s.pod("c1")
	for i, nic := range []string{one.Netdev, two.Netdev} {
		s.Write("bin/answer", fmt.Sprintf(`{"cniVersion": "1.1.0", "ips": [{"address": "fd00:%d::2/64"}], "routes": [{"dst": "fd99::/64", "scope": 253}, {"dst": "fd99::/64", "scope": 253}]}`, i+1))
		result := p.add(fmt.Sprintf("net%d", i+1), network(nic, ""))
		if want := []int{0, 1025}[i]; result.Routes[0].Priority != want {
			t.Errorf("the route by NIC %d has metric %d, want %d", i+1, result.Routes[0].Priority, want)
		}
	}
	if got := p.in("ip -6 route show fd99::/64 | sort | grep -o 'dev net. metric [0-9]*'"); got != "dev net1 metric 1024\ndev net2 metric 1025\n" {
		t.Errorf("the pod has\n%s", got)
	}
}

func TestTheWayToAGatewayMayComeAfterTheRouteThroughIt(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	p := s.pod("c1")
	s.Write("bin/answer", `{"cniVersion": "1.1.0", "ips": [{"address": "172.31.1.2/24"}], "routes": [{"dst": "10.9.0.0/16", "gw": "172.20.0.9"}, {"dst": "172.20.0.0/24", "scope": 253}]}`)
	p.add("net1", network(h.Netdev, ""))
	if got := p.in("ip route show 10.9.0.0/16"); got != "10.9.0.0/16 via 172.20.0.9 dev net1 \n" {
		t.Errorf("the pod has %s", got)
	}
}

func TestAnIPAMPluginIsAskedAboutTheNICAsARuntimeAsks(t *testing.T) {
	one, two := sysfs.MLX5(0), sysfs.MLX5(1)
	s := newScene(t, one, two)
	p := s.pod("c1")
	s.Write("bin/answer.net1-2", `{"cniVersion": "1.1.0", "ips": [{"address": "172.31.2.2/24"}]}`)
	config := network(one.Netdev, `, "mtu": 4200`)
	result := p.add("net1", config)
	s.Must(p.check("net1", config, result))
	s.Must(p.del("net1", config))
	s.Must(os.Remove(filepath.Join(s.Dir, "bin/env.DEL")))
	s.Must(p.del("net1", config)) // without a record
	args := p.args("net1", config)
	for _, command := range []string{"ADD", "CHECK", "DEL"} {
		want := fmt.Sprintf("CNI_ARGS=%s\nCNI_COMMAND=%s\nCNI_CONTAINERID=c1\nCNI_IFNAME=net1\nCNI_NETNS=%s\nCNI_PATH=%s\n", args.Args, command, p.netns, args.Path)
		if b, err := os.ReadFile(filepath.Join(s.Dir, "bin/env."+command)); string(b) != want || err != nil {
			t.Errorf("%s: %s\nwant %s; %v", command, b, want, err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(s.Dir, "bin/config.net1")); string(b) != config || err != nil {
		t.Errorf("its configuration is %s, %v", b, err)
	}
	p.add("net1", severalNetwork("", one.Netdev, two.Netdev))
	var alone struct {
		Device  string
		Devices []string
		IPAM    struct{ Type string }
	}
	b, err := os.ReadFile(filepath.Join(s.Dir, "bin/config.net1-2"))
	s.Must(err)
	s.Must(json.Unmarshal(b, &alone))
	if alone.Device != two.Netdev || alone.Devices != nil || alone.IPAM.Type != "scripted" {
		t.Errorf("the second NIC's configuration is %s", b)
	}
}

func TestAnAnswerIsOfTheNetworksVersion(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	p := s.pod("c1")
	for version, pciID := range map[string]string{"1.1.0": h.PCI, "0.3.1": ""} {
		result := p.add("net1", strings.Replace(network(h.Netdev, ""), "1.1.0", version, 1))
		if result.CNIVersion != version || result.Interfaces[0].PciID != pciID {
			t.Errorf("%s: it prints %+v, %+v", version, result, result.Interfaces[0])
		}
	}
}

func TestASecondADDOfACallEndsWhatTheFirstLeft(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	p := s.pod("c1")
	p.add("net1", network(h.Netdev, ""))
	p.add("net1", network(h.Netdev, `, "mtu": 1000`))
	if asked, records := s.asked(), s.records(); asked != "ADD c1 net1, ADD c1 net1, DEL c1 net1" || records != "c1 net1 attached" {
		t.Errorf("asked for %s; records: %s", asked, records)
	}
	s.change("c1", "net1", func(r *attachment.Record) { r.Netns.Path = "/" + strings.Repeat("x", 256) }) // nobody can look
	_, err := p.tryAdd("net1", network(h.Netdev, ""))
	if want := "110 " + h.Netdev + ": give it back to the host: "; !strings.HasPrefix(told(err), want) {
		t.Errorf("%s, want %s", told(err), want)
	}
}

func TestANICIsInOnePodUntilThatHasLostIt(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	first, second := s.pod("c1"), s.pod("c2")
	first.add("net1", network(h.Netdev, ""))
	_, err := second.tryAdd("net1", network(h.Netdev, ""))
	if want := "101 " + h.Netdev + ": held by pod default/c1 (container c1, interface net1); a NIC is in one pod at a time; nothing was changed"; told(err) != want {
		t.Errorf("%s, want %s", told(err), want)
	}
	_, err = first.tryAdd("net2", network(h.Netdev, "")) // another network of the same pod
	if !strings.HasPrefix(told(err), "101 ") {
		t.Errorf("twice in a pod: %s", told(err))
	}
	if asked := s.asked(); asked != "ADD c1 net1" {
		t.Errorf("asked for %s", asked)
	}
	// It comes back under the pod's name, as the kernel brings a real one.
	node.Move(t, "net1", first.ns, s.host)
	second.add("net1", network(h.Netdev, ""))
	if asked, records := s.asked(), s.records(); asked != "ADD c2 net1, DEL c1 net1" || records != "c2 net1 attached" {
		t.Errorf("asked for %s; records: %s", asked, records)
	}
	// Its late DEL takes nothing from the other pod.
	s.Must(first.del("net1", network(h.Netdev, "")))
	if second.inPod("net1") == "" || s.records() != "c2 net1 attached" {
		t.Errorf("the other pod has %q; records: %s", second.inPod("net1"), s.records())
	}
}

func TestOnlyAPodThatHasTheNICForGoodKeepsItFromOthers(t *testing.T) {
	h := sysfs.MLX5(0)
	for name, tt := range map[string]struct {
		change func(*attachment.Record)
		want   string // "" is taken
	}{
		"its ADD got to the end":       {func(*attachment.Record) {}, "101 " + h.Netdev + ": held by pod default/c1"},
		"its ADD was cut off":          {func(r *attachment.Record) { r.Step = attachment.Prepared }, ""},
		"nobody can say if it is gone": {func(r *attachment.Record) { r.Netns.Path = "/" + strings.Repeat("x", 256) }, "110 " + h.Netdev + ": look for the NIC in /xxx"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, h)
			s.pod("c1").add("net1", network(h.Netdev, ""))
			s.change("c1", "net1", tt.change)
			_, err := s.pod("c2").tryAdd("net1", network(h.Netdev, ""))
			if got := told(err); !strings.HasPrefix(got, tt.want) || err != nil && tt.want == "" {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
			if records, want := s.records(), map[bool]string{true: "c2 net1 attached", false: "c1 net1 attached"}[tt.want == ""]; records != want {
				t.Errorf("records: %s, want %s", records, want)
			}
		})
	}
}

// While it waits, somebody may give the name to another NIC.
func TestWhichNICANameMeansIsSeenWhenItsLockIsHeld(t *testing.T) {
	one, two := sysfs.MLX5(0), sysfs.MLX5(1)
	s := newScene(t, one, two)
	p := s.pod("c1")
	link, err := s.host.LinkNamed(one.Netdev)
	s.Must(err)
	other, err := s.host.LinkNamed(two.Netdev)
	s.Must(err)
	lock, err := s.Journal.LockNIC(s.Ctx, netdev.IdentityOf(link).Key(), one.Netdev, "a test")
	s.Must(err)
	done := make(chan struct{})
	swapped := s.whenAwaited(lock, "nic-*", done, func() error {
		return s.host.Do(func() error {
			return exec.Command("bash", "-ec", fmt.Sprintf("ip link set %[1]s down; ip link set %[1]s name was; ip link set %[2]s down; ip link set %[2]s name %[1]s up", one.Netdev, two.Netdev)).Run()
		})
	})
	result := p.add("net1", network(one.Netdev, ""))
	close(done)
	s.Must(<-swapped)
	if mac := result.Interfaces[0].Mac; mac != other.Attrs().HardwareAddr.String() || s.onHost() != "was" {
		t.Errorf("the pod has %s; on the host %s", mac, s.onHost())
	}
}

func TestACommandWaitsForWhoeverIsAtTheContainerOrTheNIC(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	p := s.pod("c1")
	config := network(h.Netdev, "")
	link, err := s.host.LinkNamed(h.Netdev)
	s.Must(err)
	key := netdev.IdentityOf(link).Key()
	for name, command := range map[string]func() error{
		"an ADD": func() error { _, err := p.tryAdd("net1", config); return err },
		"a DEL":  func() error { return p.del("net1", config) },
		"a GC":   func() error { return s.gc(p.args("", network("", `, "cni.dev/valid-attachments": []`))) },
	} {
		for of, take := range map[string]func() (*attachment.Lock, error){
			"container": func() (*attachment.Lock, error) { return s.Journal.TryContainer("c1", "a test") },
			"nic":       func() (*attachment.Lock, error) { return s.Journal.TryNIC(key, h.Netdev, "a test") },
		} {
			p.add("net1", config) // for the command to end
			lock, err := take()
			s.Must(err)
			done := make(chan struct{})
			awaited := s.whenAwaited(lock, of+"-*", done, func() error { return nil })
			err = command()
			close(done)
			if err := errors.Join(err, <-awaited); err != nil {
				t.Errorf("%s, the lock of the %s: %v", name, of, err)
			}
		}
	}
}

func TestANamesakeOfANICIsNotTakenForTheOneThatAPodHas(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	first, second := s.pod("c1"), s.pod("c2")
	first.add("net1", network(h.Netdev, ""))
	s.sh("ip link add " + h.Netdev + " type veth peer name otherw")
	second.add("net1", network(h.Netdev, ""))
	if first.inPod("net1") == "" || s.records() != "c1 net1 attached, c2 net1 attached" {
		t.Errorf("the first pod has %q; records: %s", first.inPod("net1"), s.records())
	}
}

func TestAnAttachmentOfAnEarlierBootEndsWithTheNICsNextOne(t *testing.T) {
	one, two := sysfs.MLX5(0), sysfs.MLX5(1)
	s := newScene(t, one, two)
	first, other, next := s.pod("c1"), s.pod("c2"), s.pod("c3")
	first.add("net1", network(one.Netdev, ""))
	other.add("net1", network(two.Netdev, ""))
	s.asked()
	s.sh("ip link add " + one.Netdev + " type veth peer name anew")
	s.Boot("22222222-0000-0000-0000-000000000000")
	_, err := next.tryAdd("net1", network(two.Netdev, "")) // which is gone, whoever had it then
	if want := fmt.Sprintf("100 no NIC with device %q on this node", two.Netdev); !strings.HasPrefix(told(err), want) {
		t.Errorf("%s, want %s", told(err), want)
	}
	next.add("net1", network(one.Netdev, ""))
	if asked, records := s.asked(), s.records(); asked != "ADD c3 net1, DEL c1 net1" || records != "c2 net1 attached, c3 net1 attached" {
		t.Errorf("asked for %s; records: %s", asked, records)
	}
}

func TestANICDoesNotMoveThatCannotBeWrittenDown(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	p := s.pod(strings.Repeat("c", 250)) // no file has such a name
	_, err := p.tryAdd("net1", network(h.Netdev, ""))
	if want := "107 " + h.Netdev + ": write down what is about to be moved: "; !strings.HasPrefix(told(err), want) {
		t.Errorf("%s\nwant %s", told(err), want)
	}
	if asked := s.asked(); asked != "" || s.onHost() != h.Netdev {
		t.Errorf("asked for %s; on the host %s", asked, s.onHost())
	}
}

func TestAnAnswerThatNobodyReadsIsNoAttachment(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	p := s.pod("c1")
	before := os.Stdout
	closed, err := os.CreateTemp(s.Dir, "closed")
	s.Must(err)
	s.Must(closed.Close())
	os.Stdout = closed
	err = p.Plugin.add(p.args("net1", network(h.Netdev, "")))
	os.Stdout = before
	if want := "5 print the result: "; !strings.HasPrefix(told(err), want) {
		t.Errorf("%s, want %s", told(err), want)
	}
	if asked := s.asked(); asked != "ADD c1 net1, DEL c1 net1" || s.onHost() != h.Netdev || s.records() != "" {
		t.Errorf("asked for %s; on the host %s; records: %s", asked, s.onHost(), s.records())
	}
}

// Nothing is told of an attachment that the journal does not know as one.
func TestAnADDThatCannotBeWrittenDownAsAttachedIsUndone(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	s.Write("bin/ADD.runs", "cd "+s.State()+"/attachments; grep step c1@net1.json >"+s.Dir+"/step; rm c1@net1.json; mkdir c1@net1.json\n")
	_, err := s.pod("c1").tryAdd("net1", network(h.Netdev, ""))
	if want := "107 " + h.Netdev + ": write down that the pod has it: "; !strings.HasPrefix(told(err), want) {
		t.Errorf("%s\nwant %s", told(err), want)
	}
	if asked := s.asked(); asked != "ADD c1 net1, DEL c1 net1" || s.onHost() != h.Netdev || s.records() != "" {
		t.Errorf("asked for %s; on the host %s; records: %s", asked, s.onHost(), s.records())
	}
	if step := s.sh("cat " + s.Dir + "/step"); !strings.Contains(step, `"prepared"`) {
		t.Errorf("meanwhile the journal had%s", step)
	}
}

func TestARecordThatCouldNotBeCopiedIsNotLeft(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	p := s.pod("c1")
	s.mountState("nr_inodes=6") // the root, two folders, two locks, the record
	_, err := p.tryAdd("net1", network(h.Netdev, ""))
	if got := told(err); !strings.HasPrefix(got, "107 "+h.Netdev+": write down what is about to be moved: ") || !strings.Contains(got, "no space left on device") {
		t.Errorf("%s", got)
	}
	if asked := s.asked(); asked != "" || s.onHost() != h.Netdev || s.records() != "" {
		t.Errorf("asked for %s; on the host %s; records: %s", asked, s.onHost(), s.records())
	}
}

func TestAnUndoThatFailsIsToldAndLeftToTheNext(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	p := s.pod("c1")
	s.ipamFails("DEL", "no answer")
	_, err := p.tryAdd("net1", network(h.Netdev, `, "sysctls": {"net.ipv4.conf.IFNAME.no_such": "1"}`))
	if got := told(err); !strings.HasPrefix(got, "109 "+h.Netdev+": set its sysctls: ") || !strings.Contains(got, "; undoing it failed, too: "+h.Netdev+": free its address: no answer") {
		t.Errorf("%s", got)
	}
	if s.records() != "c1 net1 returned" || s.onHost() != h.Netdev {
		t.Errorf("records: %s; on the host %s", s.records(), s.onHost())
	}
}

func TestAddressesOfIPv6StayWhenTheLinkIsSetDownUnlessTheNetworkSaysOtherwise(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	s.Write("bin/answer", `{"cniVersion": "1.1.0", "ips": [{"address": "fd00:1::2/64"}]}`)
	p := s.pod("c1")
	for more, want := range map[string]string{`, "mtu": 1280`: "1\n", `, "sysctls": {"net.ipv6.conf.IFNAME.keep_addr_on_down": "0"}`: "0\n"} {
		p.add("net1", network(h.Netdev, more))
		if got := p.in("cat /proc/sys/net/ipv6/conf/net1/keep_addr_on_down"); got != want {
			t.Errorf("%s: %s", more, got)
		}
		s.Must(p.del("net1", network(h.Netdev, "")))
	}
}

func TestAPodMayHaveTheAddressOfAGatewayThatNothingGoesThrough(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	s.Write("bin/answer", `{"cniVersion": "1.1.0", "ips": [{"address": "172.31.1.1/24", "gateway": "172.31.1.1"}]}`)
	p := s.pod("c1")
	p.add("net1", network(h.Netdev, ""))
	if got := p.inPod("net1"); got != "mtu 9000 up true 172.31.1.1/24" || !strings.Contains(s.Logs.String(), "the pod got the gateway's address; nothing routes through it") {
		t.Errorf("the pod has %s; logged\n%s", got, s.Logs)
	}
}

// A link that comes up without this sysctl has an address of its own at once.
func TestSysctlsAreSetBeforeTheLinkIsUp(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	p := s.pod("c1")
	p.add("net1", network(h.Netdev, `, "sysctls": {"net.ipv6.conf.IFNAME.addr_gen_mode": "1"}`))
	if got := p.in("ip -o -6 addr show dev net1"); got != "" || !strings.HasPrefix(p.inPod("net1"), "mtu 9000 up true") {
		t.Errorf("the pod has %s and %s", p.inPod("net1"), got)
	}
}

func TestNeighboursAreToldOfEachAddress(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	s.Write("bin/answer", `{"cniVersion": "1.1.0", "ips": [{"address": "172.31.1.2/24"}, {"address": "172.31.1.3/24"}]}`)
	p := s.pod("c1")
	neighbour, err := s.host.LinkNamed(h.Netdev + "w")
	s.Must(err)
	const arp = 0x0608 // ETH_P_ARP, the other way around
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, arp)
	s.Must(err)
	defer func() { _ = unix.Close(socket) }()
	s.Must(unix.Bind(socket, &unix.SockaddrLinklayer{Protocol: arp, Ifindex: neighbour.Attrs().Index}))
	s.Must(unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20}))
	p.add("net1", network(h.Netdev, ""))
	for heard, frame := map[string]bool{}, make([]byte, 64); !heard["172.31.1.2"] || !heard["172.31.1.3"]; {
		n, err := unix.Read(socket, frame)
		if err != nil || n < 28 {
			t.Fatalf("heard of %v; %d bytes, %v", heard, n, err)
		}
		heard[net.IP(frame[24:28]).String()] = true // who has it?
	}
}

// A pod may have a link of the ifindex that the NIC has on the host.
func TestTheRoutingTableIsNumberedAfterTheLinkInThePod(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	link, err := s.host.LinkNamed(h.Netdev)
	s.Must(err)
	p := s.pod("c1")
	p.in(fmt.Sprintf("ip link add taken index %d type bridge", link.Attrs().Index))
	p.add("net1", network(h.Netdev, `, "sourceRouting": true`))
	there, err := p.ns.LinkNamed("net1")
	s.Must(err)
	if want := fmt.Sprintf("1000:\tfrom 172.31.1.2 lookup %d\n", 100+there.Attrs().Index); p.in("ip rule | grep 172") != want || there.Attrs().Index == link.Attrs().Index {
		t.Errorf("%s, want %s", p.in("ip rule"), want)
	}
}

func TestANoteThatCannotBeRemovedKeepsNoNICFromAPod(t *testing.T) {
	s := newScene(t)
	o, err := s.begin(s.pod("c1").args("net1", "{}"), &netConf{})
	s.Must(err)
	defer o.end()
	one := &transfer{operation: o, settled: func() error { return os.ErrPermission }, record: &attachment.Record{
		ContainerID: "c1", IfName: "net1", NIC: attachment.NIC{Netdev: netdev.Identity{Index: 7}}, Host: netdev.State{Name: "ens12np0"},
	}}
	if err := one.note(); err != nil || !one.noted || !strings.Contains(s.Logs.String(), "could not remove the note of what was owed to the NIC") {
		t.Errorf("%v, noted %v; logged\n%s", err, one.noted, s.Logs)
	}
}

func TestACallHasItsBoundsForIPAMPlugins(t *testing.T) {
	s := newScene(t)
	o, err := s.begin(s.pod("c1").args("net1", "{}"), &netConf{})
	s.Must(err)
	defer o.end()
	for _, q := range []struct {
		what      string
		of        *ipamQueue
		turn, all time.Duration
	}{{"to add", o.adds, 35 * time.Second, 100 * time.Second}, {"to free", o.frees, 20 * time.Second, 30 * time.Second}} {
		if q.of.turn != q.turn || q.of.all != q.all {
			t.Errorf("%s %v and %v, want %v and %v", q.what, q.of.turn, q.of.all, q.turn, q.all)
		}
	}
}

func TestWithoutAnRDMASubsystemANetworkMayHaveToDoWithoutOne(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	if subsystem, err := rdma.Open(s.host.NS); !errors.Is(err, rdma.ErrNoSubsystem) {
		subsystem.Close()
		t.Skip("this kernel has one")
	}
	p := s.pod("c1")
	for more, want := range map[string]string{
		"":                     "103 " + h.Netdev + `: find its RDMA device: `,
		`, "rdma": "required"`: "103 " + h.Netdev + `: find its RDMA device: `,
		`, "rdma": "optional"`: "",
		`, "rdma": "optional", "rdmaMode": "shared"`: "103 " + h.Netdev + `: find its RDMA device: `,
	} {
		config := strings.Replace(network(h.Netdev, more), `, "rdma": "none"`, "", 1)
		_, err := p.tryAdd("net1", config)
		if !strings.HasPrefix(told(err), want) || err != nil && want == "" {
			t.Errorf("%s: %s, want %s", more, told(err), want)
		}
		s.Must(p.del("net1", config))
		err = s.status(p.args("", config))
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(told(err), "50 "+strings.TrimPrefix(want, "103 ")) {
			t.Errorf("%s: STATUS says %s", more, told(err))
		}
	}
}

// A pod that runs sees the NIC long before its ADD ends.
func TestANICThatItsPodTakesOnDuringTheADDComesBack(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	p, away := s.pod("c1"), s.pod("away")
	s.Write("bin/ADD.runs", fmt.Sprintf(`
until nsenter --net=%s ip link show net1 >/dev/null 2>&1; do :; done
nsenter --net=%s ip link set net1 netns $(cat $d/keeper)
`, p.netns, p.netns))
	keeper := exec.Command("sleep", "60")
	s.Must(away.ns.Do(keeper.Start))
	defer func() { _, _ = keeper.Process.Kill(), keeper.Wait() }()
	s.Write("bin/keeper", fmt.Sprint(keeper.Process.Pid))
	if _, err := p.tryAdd("net1", network(h.Netdev, "")); err == nil {
		t.Error("the pod has it")
	}
	if s.onHost() != h.Netdev || s.records() != "" {
		t.Errorf("on the host %s; records: %s", s.onHost(), s.records())
	}
}

// Nothing on the host says that a pod has lost its NIC, as long as the pod has it.
func TestANICIsThePodsThoughAnotherLooksLikeItOrItsNamespaceHasNoFile(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	p, next := s.pod("c1"), s.pod("c2")
	s.sh("ip link add mv0 link " + h.Netdev + " type macvlan mode bridge; ip link set mv0 up")
	nic, err := s.host.LinkNamed("mv0")
	s.Must(err)
	p.add("net1", network("mv0", ""))
	s.sh("ip link add mv1 link " + h.Netdev + " address " + nic.Attrs().HardwareAddr.String() + " type macvlan mode bridge")
	if _, err := next.tryAdd("net1", network("mv1", "")); !strings.HasPrefix(told(err), "101 mv1: held by pod default/c1") {
		t.Errorf("one that looks like it: %s", told(err))
	}
	if p.inPod("net1") == "" {
		t.Error("the pod has lost it")
	}
	s.sh("ip link del mv1")

	process := exec.Command("sleep", "60")
	s.Must(p.ns.Do(process.Start))
	defer func() { _, _ = process.Process.Kill(), process.Wait() }()
	s.change("c1", "net1", func(r *attachment.Record) { r.Netns.Path = "/run/netns/none-such" })
	if _, err := next.tryAdd("net1", network("mv0", "")); !strings.HasPrefix(told(err), "101 mv0: held by pod default/c1") {
		t.Errorf("without a file: %s", told(err))
	}
}
