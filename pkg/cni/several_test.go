package cni

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/claim"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// severalNetwork is network for NICs that "devices" lists.
func severalNetwork(more string, devices ...string) string {
	b, _ := json.Marshal(devices)
	return strings.Replace(network("", more), `"device": ""`, `"devices": `+string(b), 1)
}

func TestSeveralNICsGoAndComeTogether(t *testing.T) {
	one, two, three, four := sysfs.MLX5(0), sysfs.MLX5(1), sysfs.MLX5(2), sysfs.MLX5(3)
	s := newScene(t, one, two, three, four)
	s.sh("ip addr add 192.0.2.1/24 dev " + one.Netdev + "; ip addr add 198.51.100.1/24 dev " + two.Netdev + "; ip addr add 203.0.113.1/24 dev " + three.Netdev)
	p, before, addresses := s.pod("c1"), s.onHost(), s.sh("ip -br -4 addr | sort")
	for i, ifName := range []string{"net1", "net1-2", "net1-3"} {
		s.Write("bin/answer."+ifName, fmt.Sprintf(`{"cniVersion": "1.1.0", "ips": [{"address": "172.31.%d.2/24"}]}`, i+1))
	}
	config := severalNetwork("", two.Netdev, "ens*", three.PCI)
	_, err := p.tryAdd("net1", config)
	if want := fmt.Sprintf("7 network configuration: device %q and device %q are the same NIC; keep one; nothing was changed", two.Netdev, two.Netdev); told(err) != want {
		t.Errorf("%s\nwant %s", told(err), want)
	}
	config = severalNetwork("", two.Netdev, one.Netdev, three.PCI)
	result := p.add("net1", config)
	for i, want := range []string{"net1 " + two.PCI + " 172.31.1.2/24", "net1-2 " + one.PCI + " 172.31.2.2/24", "net1-3 " + three.PCI + " 172.31.3.2/24"} {
		nic := result.Interfaces[i]
		if got := nic.Name + " " + nic.PciID + " " + result.IPs[i].Address.String(); got != want || *result.IPs[i].Interface != i {
			t.Errorf("%d: %s, want %s", i, got, want)
		}
	}
	if err := p.check("net1", config, result); err != nil {
		t.Errorf("CHECK: %s", told(err))
	}
	p.in("ip link set net1-3 down")
	if err := p.check("net1", config, result); !strings.Contains(told(err), "net1-3 is down") {
		t.Errorf("CHECK of one that is down: %s", told(err))
	}
	r, _, err := s.Journal.Read(attachment.ID{ContainerID: "c1", IfName: "net1-2"})
	s.Must(err)
	if r.Call != "net1" {
		t.Errorf("its call is %q", r.Call)
	}
	// A call has the names of its NICs, and a runtime knows them by it.
	fourth := network(four.Netdev, "")
	if _, err := p.tryAdd("net1-2", fourth); !strings.HasPrefix(told(err), "102 "+four.Netdev+": another network of the pod has the interface name net1-2") {
		t.Errorf("a name of another call: %s", told(err))
	}
	s.asked()
	s.Must(p.del("net1-2", fourth))
	s.Must(s.gc(p.args("", network("", `, "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "net1"}]`))))
	if asked := s.asked(); asked != "GC" || s.records() != "c1 net1-2 attached, c1 net1-3 attached, c1 net1 attached" {
		t.Errorf("asked for %s; records: %s", asked, s.records())
	}
	s.ipamFails("DEL", "no answer")
	err = p.del("net1", config)
	for _, h := range []sysfs.HCA{one, two, three} {
		if !strings.Contains(told(err), h.Netdev+": free its address: no answer") {
			t.Errorf("no word of %s in %s", h.Netdev, told(err))
		}
	}
	s.ipamFails("DEL", "")
	s.asked()
	s.Must(p.del("net1", config))
	if asked := s.asked(); asked != "DEL c1 net1, DEL c1 net1-2, DEL c1 net1-3" || s.records() != "" || s.onHost() != before {
		t.Errorf("asked for %s; records: %s; on the host %s", asked, s.records(), s.onHost())
	}
	if after := s.sh("ip -br -4 addr | sort"); after != addresses {
		t.Errorf("the host had\n%s\nand has\n%s", addresses, after)
	}
}

func TestOfSeveralNICsNoneGoesIfOneCannot(t *testing.T) {
	one, two := sysfs.MLX5(0), sysfs.MLX5(1)
	s := newScene(t, one, two)
	p, other := s.pod("c1"), s.pod("c2")
	before := s.onHost()
	s.sh("ip addr add 192.0.2.1/24 dev " + two.Netdev + "; ip link property add dev " + two.Netdev + " altname rail-2")
	s.serve("192.0.2.1")
	_, err := p.tryAdd("net1", severalNetwork("", one.Netdev, two.Netdev))
	if want := "112 " + two.Netdev + ": the host uses its address 192.0.2.1: "; !strings.HasPrefix(told(err), want) {
		t.Errorf("the host uses an address of one: %s", told(err))
	}
	s.sh("ip addr flush dev " + two.Netdev)
	_, err = p.tryAdd("net1", severalNetwork(`, "prevResult": {"cniVersion": "1.1.0", "interfaces": [{"name": "net1-2", "sandbox": "`+p.netns+`"}]}`, one.Netdev, two.Netdev))
	if want := "102 the pod already has an interface net1-2, from an earlier plugin of network roce"; !strings.HasPrefix(told(err), want) {
		t.Errorf("an earlier plugin has made one's: %s", told(err))
	}
	s.Write("bin/answer.net1-2", `{"cniVersion": "1.1.0"}`)
	_, err = p.tryAdd("net1", severalNetwork("", one.Netdev, two.Netdev))
	if want := "108 " + two.Netdev + ": get an address from scripted: the IPAM plugin returned no address"; !strings.HasPrefix(told(err), want) {
		t.Errorf("one has no address: %s", told(err))
	}
	if asked := s.asked(); asked != "ADD c1 net1, ADD c1 net1-2, DEL c1 net1, DEL c1 net1-2" || s.records() != "" || s.onHost() != before {
		t.Errorf("one has no address: asked for %s; records: %s; on the host %s", asked, s.records(), s.onHost())
	}
	s.ipamFails("DEL", "no answer") // what cannot be undone for one is undone for the other
	_, err = p.tryAdd("net1", severalNetwork("", one.Netdev, two.Netdev))
	if asked := s.asked(); err == nil || asked != "ADD c1 net1, ADD c1 net1-2, DEL c1 net1, DEL c1 net1-2" || s.records() != "c1 net1 returned" || s.onHost() != before {
		t.Errorf("an undo fails: %v; asked for %s; records: %s; on the host %s", err, asked, s.records(), s.onHost())
	}
	s.ipamFails("DEL", "")
	other.add("net9", network(one.Netdev, "")) // which ends that
	s.Must(other.del("net9", network(one.Netdev, "")))
	other.add("net1", network(two.Netdev, ""))
	s.asked()
	_, err = p.tryAdd("net1", severalNetwork("", one.Netdev, "ens*"))
	if !strings.HasPrefix(told(err), "7 ") {
		t.Errorf("twice the same: %s", told(err))
	}
	_, err = p.tryAdd("net1", severalNetwork("", two.Netdev, "rail-2"))
	if want := fmt.Sprintf(`7 network configuration: device %q and device "rail-2" are the same NIC`, two.Netdev); !strings.HasPrefix(told(err), want) {
		t.Errorf("twice the same, which is held: %s", told(err))
	}
	_, err = p.tryAdd("net1", severalNetwork("", "ens*"))
	if !strings.HasPrefix(told(err), "101 "+two.Netdev+": held by pod default/c2") {
		t.Errorf("one is held: %s", told(err))
	}
	_, err = p.tryAdd("net1", severalNetwork("", "eth*"))
	if want := `100 no NIC of this node matches "eth*"; compare with `; !strings.HasPrefix(told(err), want) {
		t.Errorf("none matches: %s", told(err))
	}
	var many []string
	for i := range mostNICs + 1 {
		many = append(many, fmt.Sprint("x", i))
	}
	_, err = p.tryAdd("net1", severalNetwork("", many...))
	if want := `7 network configuration: "devices" means 65 NICs of this node; name at most 64; nothing was changed`; told(err) != want {
		t.Errorf("65: %s", told(err))
	}
	_, err = p.tryAdd("net1", severalNetwork("", many[1:]...))
	if want := `100 no NIC with device "x1" on this node`; !strings.HasPrefix(told(err), want) {
		t.Errorf("64: %s", told(err))
	}
	_, err = p.tryAdd("fourteenletter", severalNetwork("", one.Netdev, "x"))
	if want := "4 NIC 2 of 2 would be fourteenletter-2 in the pod, which is longer than the 15 characters that the kernel takes"; !strings.HasPrefix(told(err), want) {
		t.Errorf("a long name: %s", told(err))
	}
	_, err = p.tryAdd("thirteenchars", severalNetwork("", one.Netdev, "x"))
	if want := `100 no NIC with device "x" on this node`; !strings.HasPrefix(told(err), want) {
		t.Errorf("a name as long as may be: %s", told(err))
	}
	if asked := s.asked(); asked != "" || s.records() != "c2 net1 attached" {
		t.Errorf("asked for %s; records: %s", asked, s.records())
	}
}

func TestAPatternMeansNICsInTheOrderOfTheirPCIAddresses(t *testing.T) {
	hcas := []sysfs.HCA{sysfs.MLX5(1), sysfs.MLX5(0)}
	hcas[0].Netdev, hcas[1].Netdev = "roce-a", "roce-b"
	s := newScene(t, hcas...)
	p := s.pod("c1")
	result := p.add("net1", severalNetwork(`, "sourceRouting": true`, "roce-?"))
	if len(result.Interfaces) != 2 || result.Interfaces[0].PciID != hcas[1].PCI || result.Interfaces[1].PciID != hcas[0].PCI {
		t.Errorf("%v", result.Interfaces)
	}
	s.sh("ip link property add dev roce-aw altname rail-1")
	o, err := s.begin(p.args("net1", "{}"), &netConf{})
	s.Must(err)
	defer o.end()
	for pattern, want := range map[string]string{"roce-[ab]": "roce-b roce-a", "roce-a*": "roce-aw roce-a", "rail-*": "roce-aw"} {
		if names, err := o.expand([]string{pattern}); strings.Join(names, " ") != want || err != nil {
			t.Errorf("%s: %s, %v, want %s", pattern, names, err, want)
		}
	}
	if names, err := o.expand([]string{"x", "roce-a*", "y"}); strings.Join(names, " ") != "x roce-aw roce-a y" || err != nil {
		t.Errorf("between names: %s, %v", names, err)
	}
	s.change("c1", "net1", func(r *attachment.Record) { r.Step = attachment.Returned }) // the host has it, or has lost it
	if names, err := o.expand([]string{"roce-[ab]"}); strings.Join(names, " ") != "roce-a" || err != nil {
		t.Errorf("of which one is over: %s, %v", names, err)
	}
	s.change("c1", "net1-2", func(r *attachment.Record) { r.BootID = "22222222-0000-0000-0000-000000000000" })
	if names, err := o.expand([]string{"roce-[ab]"}); err == nil {
		t.Errorf("of another boot: %s", names)
	}
}

func TestOfTheRoutesToOneDestinationThatOfTheFirstNICComesFirst(t *testing.T) {
	hcas := []sysfs.HCA{sysfs.MLX5(0), sysfs.MLX5(1), sysfs.MLX5(2), sysfs.MLX5(3), sysfs.MLX5(4), sysfs.MLX5(5)}
	s := newScene(t, hcas...)
	var names []string
	for i, h := range hcas {
		names = append(names, h.Netdev)
		s.Write("bin/answer."+numbered("net1", i), fmt.Sprintf(`{"cniVersion": "1.1.0", "ips": [{"address": "172.31.%d.2/24"}], "routes": [{"dst": "10.9.0.0/16"}]}`, i))
	}
	p := s.pod("c1")
	result := p.add("net1", severalNetwork(`, "sysctls": {"net.ipv4.conf.IFNAME.arp_notify": "1"}`, names...))
	for i, route := range result.Routes {
		if route.Priority != i {
			t.Errorf("the route by NIC %d has metric %d", i, route.Priority)
		}
		if got := p.in("cat /proc/sys/net/ipv4/conf/" + result.Interfaces[i].Name + "/arp_notify"); got != "1\n" {
			t.Errorf("the sysctl of NIC %d is %s", i, got)
		}
	}
}

// clusterNetwork is that of a cluster, with its own plugin's result.
func clusterNetwork(more string) string {
	return `{"cniVersion": "1.1.0", "name": "pods", "type": "roce-host-device", "claims": true` + more + `}`
}

const clusterResult = `{"cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "sandbox": "/n"}], "ips": [{"address": "10.0.0.7/24", "interface": 0}], "dns": {"nameservers": ["192.0.2.1"]}}`

func TestAPodGetsWhatItsClaimsAllotAndOnePodWithoutClaimsWhatItHad(t *testing.T) {
	one, two := sysfs.MLX5(0), sysfs.MLX5(1)
	s := newScene(t, one, two)
	p := s.pod("c1")
	config := clusterNetwork(`, "prevResult": ` + clusterResult)
	printed, err := s.printed("ADD", func() error { return p.Plugin.add(p.args("eth0", config)) })
	if printed != clusterResult || err != nil {
		t.Errorf("without claims: %s, %v", printed, err)
	}
	s.Must(p.del("eth0", config))
	const uid = "11111111-2222-3333-4444-555555555555"
	allotted := claim.Claim{
		Version: 1, UID: uid, Namespace: "default", Name: "two", Pod: attachment.Pod{Namespace: "default", Name: "c1", UID: uidOf("c1")},
		Devices: []claim.Device{
			{Request: "nics", Name: "b", Bus: "pci", Address: two.PCI, Rail: 1, Network: json.RawMessage(`{"rdma": "none", "mtu": 4200}`)},
			{Request: "nics", Name: "a", Bus: "pci", Address: one.PCI, Rail: 0, Network: json.RawMessage(`{"rdma": "none", "ipam": {"type": "scripted"}, "dns": {"nameservers": ["192.0.2.2"]}}`)},
		},
	}
	s.Must(claim.Write(s.State(), allotted))
	s.Write("bin/answer.rail1", `{"cniVersion": "1.1.0", "ips": [{"address": "172.31.1.2/24"}], "dns": {"nameservers": ["192.0.2.3"]}}`)
	result := p.add("eth0", config)
	if len(result.Interfaces) != 3 || result.Interfaces[0].Name != "eth0" || result.Interfaces[1].Name != "rail1" || result.Interfaces[1].PciID != one.PCI || result.Interfaces[2].Name != "rail2" || result.Interfaces[2].Mtu != 4200 || result.DNS.Nameservers[0] != "192.0.2.1" {
		t.Errorf("%+v", result)
	}
	r, _, err := s.Journal.Read(attachment.ID{ContainerID: "c1", IfName: "rail2"})
	s.Must(err)
	if r.Claim != uid || r.Call != "eth0" || r.NIC.Address != two.PCI {
		t.Errorf("%+v", r)
	}
	if err := p.check("eth0", clusterNetwork(""), result); err != nil {
		t.Errorf("CHECK: %s", told(err))
	}
	if other := s.pod("c2"); other.check("eth0", clusterNetwork(""), result) != nil {
		t.Error("CHECK of a pod without claims")
	}
	// A network of the pod takes one of its NICs over, and that of another pod does not.
	_, err = s.pod("c2").tryAdd("net1", network(two.Netdev, ""))
	if !strings.HasPrefix(told(err), "101 "+two.Netdev+": held by pod default/c1") {
		t.Errorf("another pod: %s", told(err))
	}
	p.add("net1", network(two.Netdev, ""))
	if s.records() != "c1 net1 attached, c1 rail1 attached" || p.inPod("rail2") != "" {
		t.Errorf("records: %s; rail2 is %s", s.records(), p.inPod("rail2"))
	}
	if err := p.check("eth0", clusterNetwork(""), result); err != nil {
		t.Errorf("CHECK of a NIC that a network took over: %s", told(err))
	}
	s.ipamFails("DEL", "no answer")
	if err := p.del("net1", network(two.Netdev, "")); err == nil || s.records() != "c1 net1 returned, c1 rail1 attached" {
		t.Errorf("%v; records: %s", err, s.records())
	}
	if err := p.check("eth0", clusterNetwork(""), result); !strings.HasPrefix(told(err), "111 rail2: the journal has no such attachment") {
		t.Errorf("CHECK of a NIC that a network had: %s", told(err))
	}
	s.ipamFails("DEL", "")
	p.Must(p.del("net1", network(two.Netdev, "")))
	if err := p.check("eth0", clusterNetwork(""), result); !strings.HasPrefix(told(err), "111 rail2: the journal has no such attachment") {
		t.Errorf("CHECK of a NIC that nobody has: %s", told(err))
	}
	s.sh("cd " + s.State() + "; mv claims claims.was; touch claims") // the journal says what ends
	if err := p.check("eth0", clusterNetwork(""), result); !strings.HasPrefix(told(err), "107 read what is allotted to the pod: ") {
		t.Errorf("CHECK while claims cannot be read: %s", told(err))
	}
	s.asked()
	s.Must(p.del("eth0", config))
	if asked := s.asked(); asked != "DEL c1 rail1" || s.records() != "" {
		t.Errorf("asked for %s; records: %s", asked, s.records())
	}
}

func TestADELOfClaimsWithoutRecordsFreesTheirAddresses(t *testing.T) {
	one := sysfs.MLX5(0)
	s := newScene(t, one)
	p := s.pod("c1")
	s.Must(claim.Write(s.State(), claim.Claim{
		Version: 1, UID: "11111111-2222-3333-4444-555555555555", Namespace: "default", Name: "one", Pod: attachment.Pod{Namespace: "default", Name: "c1", UID: uidOf("c1")},
		Devices: []claim.Device{{Request: "nics", Name: "a", Bus: "pci", Address: one.PCI, Network: json.RawMessage(`{"rdma": "none", "ipam": {"type": "scripted"}}`)}},
	}))
	s.Must(p.del("eth0", clusterNetwork("")))
	if asked := s.asked(); asked != "DEL c1 rail1" {
		t.Errorf("asked for %s", asked)
	}
	// A runtime that does not say the pod's UID.
	args := p.args("eth0", clusterNetwork(`, "prevResult": `+clusterResult))
	args.Args = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=c1"
	if err := p.Plugin.add(args); !strings.HasPrefix(told(err), "107 read what is allotted to the pod: claim default/one is for pod default/c1, but the runtime does not say K8S_POD_UID in CNI_ARGS: ") {
		t.Errorf("without a UID: %s", told(err))
	}
	args.Args = "K8S_POD_NAMESPACE=other;K8S_POD_NAME=c1"
	printed, err := s.printed("ADD", func() error { return p.Plugin.add(args) })
	if printed != clusterResult || err != nil {
		t.Errorf("another namespace's pod: %s, %v", printed, err)
	}
	if err := s.status(p.args("", clusterNetwork(""))); err != nil {
		t.Errorf("STATUS: %s", told(err))
	}
	s.Must(p.del("eth0", clusterNetwork("")))
	s.sh("cd " + s.State() + "; mv claims claims.was; touch claims")
	if err := s.status(p.args("", clusterNetwork(""))); !strings.HasPrefix(told(err), "50 ") {
		t.Errorf("STATUS: %s", told(err))
	}
}

// It would keep the whole node's pods from starting, and from ending.
func TestAPodWithoutClaimsNeedsNoPolicyThatCanBeUsed(t *testing.T) {
	s := newScene(t)
	p := s.pod("c1")
	s.policy(`"virtuall": 1`)
	config := clusterNetwork(`, "prevResult": ` + clusterResult)
	printed, err := s.printed("ADD", func() error { return p.Plugin.add(p.args("eth0", config)) })
	if printed != clusterResult || err != nil {
		t.Errorf("ADD: %s, %v", printed, err)
	}
	for command, run := range map[string]func() error{
		"CHECK":  func() error { return p.Plugin.check(p.args("eth0", config)) },
		"DEL":    func() error { return p.del("eth0", config) },
		"STATUS": func() error { return s.status(p.args("", clusterNetwork(""))) },
	} {
		if err := run(); err != nil {
			t.Errorf("%s: %s", command, told(err))
		}
	}
	// A record of it that cannot be read is more than none.
	s.Write("state/attachments/c1@rail1.json", "{")
	s.Must(p.del("eth0", config))
	if aside, err := s.Journal.Aside(); len(aside) != 1 || err != nil {
		t.Errorf("%q, %v", aside, err)
	}
}
