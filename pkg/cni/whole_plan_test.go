package cni

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// inWords is a plan as somebody would type it.
func inWords(p plan) (lines []string) {
	for _, r := range p.routes {
		line := "route " + r.Dst.String()
		if r.Gateway.IsValid() {
			line += " via " + r.Gateway.String()
		}
		if r.Source.IsValid() {
			line += " src " + r.Source.String()
		}
		for _, number := range []struct {
			what  string
			value int
		}{{"table", r.Table}, {"scope", r.Scope}, {"metric", r.Priority}, {"mtu", r.MTU}, {"advmss", r.AdvMSS}} {
			if number.value != 0 {
				line += fmt.Sprintf(" %s %d", number.what, number.value)
			}
		}
		lines = append(lines, line)
	}
	for _, r := range p.rules {
		lines = append(lines, fmt.Sprintf("rule from %s lookup %d priority %d", r.Source, r.Table, r.Priority))
	}
	slices.Sort(lines) // gateways come in any order
	return lines
}

func TestAnIPAMAnswerBecomesTheseRoutesAndRules(t *testing.T) {
	const two = `"ips": [{"address": "172.31.1.2/24", "gateway": "172.31.1.1"}, {"address": "fd00:1::2/64", "gateway": "fd00:1::1"}]`
	for name, tt := range map[string]struct {
		routing sourceRouting
		answer  string
		want    []string
	}{
		"no routes":                  {answer: two},
		"a gateway of each family":   {answer: two + `, "routes": [{"dst": "10.0.0.0/8"}, {"dst": "fd01::/64"}]`, want: []string{"route 10.0.0.0/8 via 172.31.1.1", "route fd01::/64 via fd00:1::1"}},
		"its own gateway":            {answer: two + `, "routes": [{"dst": "10.0.0.0/8", "gw": "172.31.1.9"}]`, want: []string{"route 10.0.0.0/8 via 172.31.1.9"}},
		"nobody has a gateway":       {answer: `"ips": [{"address": "172.31.1.2/24"}], "routes": [{"dst": "10.0.0.0/8"}]`, want: []string{"route 10.0.0.0/8 scope 253"}},
		"a gateway of the other":     {answer: `"ips": [{"address": "172.31.1.2/24", "gateway": "172.31.1.1"}], "routes": [{"dst": "fd01::/64"}]`, want: []string{"route fd01::/64 scope 253"}},
		"scope link":                 {answer: two + `, "routes": [{"dst": "10.0.0.0/8", "scope": 253}]`, want: []string{"route 10.0.0.0/8 scope 253"}},
		"scope host":                 {answer: two + `, "routes": [{"dst": "10.0.0.0/8", "scope": 254}]`, want: []string{"route 10.0.0.0/8 scope 254"}},
		"scope site":                 {answer: two + `, "routes": [{"dst": "10.0.0.0/8", "scope": 200}]`, want: []string{"route 10.0.0.0/8 via 172.31.1.1 scope 200"}},
		"scope universe":             {answer: two + `, "routes": [{"dst": "10.0.0.0/8", "scope": 0}]`, want: []string{"route 10.0.0.0/8 via 172.31.1.1"}},
		"scope universe, no gateway": {answer: `"ips": [{"address": "172.31.1.2/24"}], "routes": [{"dst": "10.0.0.0/8", "scope": 0}]`, want: []string{"route 10.0.0.0/8"}},
		"all that a route can have":  {answer: two + `, "routes": [{"dst": "10.0.0.0/8", "table": 7, "priority": 6, "mtu": 5000, "advmss": 4000}]`, want: []string{"route 10.0.0.0/8 via 172.31.1.1 table 7 metric 6 mtu 5000 advmss 4000"}},

		"by source, with the defaults": {routing: sourceRouting{On: true}, answer: two + `, "routes": [{"dst": "10.0.0.0/8"}]`, want: []string{
			"route 0.0.0.0/0 via 172.31.1.1 table 107", "route 10.0.0.0/8 via 172.31.1.1 table 107", "route 172.31.1.0/24 src 172.31.1.2 table 107 scope 253",
			"route ::/0 via fd00:1::1 table 107", "route fd00:1::/64 src fd00:1::2 table 107 scope 253",
			"rule from 172.31.1.2 lookup 107 priority 1000", "rule from fd00:1::2 lookup 107 priority 1000",
		}},
		"by source, with numbers, no gateway": {routing: sourceRouting{On: true, Table: 9, Priority: 8}, answer: `"ips": [{"address": "172.31.1.2/24"}]`, want: []string{
			"route 172.31.1.0/24 src 172.31.1.2 table 9 scope 253", "rule from 172.31.1.2 lookup 9 priority 8",
		}},
		"by source, with a default route of its own": {routing: sourceRouting{On: true}, answer: `"ips": [{"address": "172.31.1.2/24", "gateway": "172.31.1.1"}], "routes": [{"dst": "0.0.0.0/0", "gw": "172.31.1.9"}]`, want: []string{
			"route 0.0.0.0/0 via 172.31.1.9 table 107", "route 172.31.1.0/24 src 172.31.1.2 table 107 scope 253", "rule from 172.31.1.2 lookup 107 priority 1000",
		}},
		"by source, with one in another table": {routing: sourceRouting{On: true}, answer: `"ips": [{"address": "172.31.1.2/24", "gateway": "172.31.1.1"}], "routes": [{"dst": "0.0.0.0/0", "gw": "172.31.1.9", "table": 7}]`, want: []string{
			"route 0.0.0.0/0 via 172.31.1.1 table 107", "route 0.0.0.0/0 via 172.31.1.9 table 7", "route 172.31.1.0/24 src 172.31.1.2 table 107 scope 253", "rule from 172.31.1.2 lookup 107 priority 1000",
		}},
	} {
		if got := inWords(planned(t, tt.routing, `{"cniVersion": "1.1.0", `+tt.answer+`}`)); !slices.Equal(got, tt.want) {
			t.Errorf("%s:\n%q\nwant\n%q", name, got, tt.want)
		}
	}
}

func TestAGatewayThatIsThePodsOwnAddressIsFound(t *testing.T) {
	for _, tt := range []struct {
		answer, gateway string
		used            bool
	}{
		{`"ips": [{"address": "172.31.1.2/24", "gateway": "172.31.1.1"}], "routes": [{"dst": "10.0.0.0/8"}]`, "invalid IP", false},
		{`"ips": [{"address": "172.31.1.2/24"}]`, "invalid IP", false},
		{`"ips": [{"address": "172.31.1.1/24", "gateway": "172.31.1.1"}]`, "172.31.1.1", false},
		{`"ips": [{"address": "172.31.1.1/24", "gateway": "172.31.1.1"}], "routes": [{"dst": "10.0.0.0/8", "gw": "172.31.1.9"}]`, "172.31.1.1", false},
		{`"ips": [{"address": "172.31.1.1/24", "gateway": "172.31.1.1"}], "routes": [{"dst": "10.0.0.0/8"}]`, "172.31.1.1", true},
		{`"ips": [{"address": "172.31.1.2/24", "gateway": "172.31.1.1"}, {"address": "fd00:1::1/64", "gateway": "fd00:1::1"}], "routes": [{"dst": "::/0"}]`, "fd00:1::1", true},
	} {
		answer := `{"cniVersion": "1.1.0", ` + tt.answer + `}`
		var ipam current.Result
		if err := json.Unmarshal([]byte(answer), &ipam); err != nil {
			t.Fatal(err)
		}
		if gateway, used := planned(t, sourceRouting{}, answer).ownGateway(&ipam); gateway.String() != tt.gateway || used != tt.used {
			t.Errorf("%s: %v, %v", tt.answer, gateway, used)
		}
	}
}

func TestTheResultIsWhatEarlierPluginsMadeAndThisNIC(t *testing.T) {
	var previous, ipam current.Result
	for text, to := range map[string]*current.Result{
		`{"cniVersion": "1.1.0", "interfaces": [{"name": "eth0"}], "ips": [{"address": "10.0.0.7/24", "interface": 0}], "routes": [{"dst": "0.0.0.0/0"}], "dns": {"nameservers": ["192.0.2.1"]}}`: &previous,
		`{"cniVersion": "1.1.0", "ips": [{"address": "172.31.1.2/24"}, {"address": "172.31.1.3/24"}], "routes": [{"dst": "10.0.0.0/8"}]}`:                                                         &ipam,
	} {
		if err := json.Unmarshal([]byte(text), to); err != nil {
			t.Fatal(err)
		}
	}
	for bus, pciID := range map[string]string{rdma.BusPCI: "0000:08:00.0", rdma.BusAuxiliary: ""} {
		before := previous
		o := &operation{args: &skel.CmdArgs{Netns: "/run/netns/pod"}, config: &netConf{}}
		o.config.previous = &before
		link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "net1", MTU: 4200, HardwareAddr: []byte{2, 0, 0, 0, 0, 7}}}
		r := &attachment.Record{NIC: attachment.NIC{Bus: bus, Address: "0000:08:00.0"}}
		got := o.result([]*transfer{{operation: o, record: r, moved: link, address: &ipam}})
		want := current.Interface{Name: "net1", Mac: "02:00:00:00:00:07", Mtu: 4200, Sandbox: "/run/netns/pod", PciID: pciID}
		if len(got.Interfaces) != 2 || *got.Interfaces[1] != want || got.Interfaces[0].Name != "eth0" {
			t.Errorf("%s: interfaces %v", bus, got.Interfaces)
		}
		var of []int
		for _, ip := range got.IPs {
			of = append(of, *ip.Interface)
		}
		if !slices.Equal(of, []int{0, 1, 1}) || len(got.Routes) != 2 || !slices.Equal(got.DNS.Nameservers, []string{"192.0.2.1"}) {
			t.Errorf("%s: addresses of interfaces %v, %d routes, name servers %v", bus, of, len(got.Routes), got.DNS.Nameservers)
		}
		if ips := ownAddresses(got, 1); len(ips) != 2 || netdev.Prefix(&ips[0].Address) != netip.MustParsePrefix("172.31.1.2/24") {
			t.Errorf("%s: the NIC's addresses %v", bus, ips)
		}
	}
}

// Another port of the function may be in a pod, where sysfs does not show it.
func TestANICIsAloneOnItsFunctionIfNeitherTheHostNorAPodHasAnotherPort(t *testing.T) {
	h := sysfs.MLX5(0)
	n := node.New(t, h)
	const bootID = "22222222-0000-0000-0000-000000000000"
	n.Boot(bootID)
	id := netdev.Identity{ParentBus: "pci", Parent: h.PCI, PermanentMAC: h.MAC}
	another, otherFunction := id, id
	another.PermanentMAC, otherFunction.Parent = "02:00:00:00:00:99", "0000:ff:00.0"
	for name, tt := range map[string]struct {
		id   netdev.Identity
		held []netdev.Identity
		step attachment.Step
		want bool
	}{
		"nobody has one":            {id, nil, attachment.Attached, true},
		"a pod has the NIC itself":  {id, []netdev.Identity{id}, attachment.Attached, true},
		"a pod has another port":    {id, []netdev.Identity{id, another}, attachment.Attached, false},
		"a pod had another port":    {id, []netdev.Identity{another}, attachment.Returned, true},
		"a pod has another NIC":     {id, []netdev.Identity{otherFunction}, attachment.Attached, true},
		"the NIC is on no function": {netdev.Identity{Kind: "veth"}, nil, attachment.Attached, false},
	} {
		o := &operation{Plugin: &Plugin{Node: n.RDMA()}, journal: n.Journal}
		claimed := target{link: &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: h.Netdev}}}
		for i, held := range tt.held {
			claimed.records = append(claimed.records, &attachment.Record{ContainerID: fmt.Sprint("c", i), BootID: bootID, Step: tt.step, NIC: attachment.NIC{Netdev: held}})
		}
		if alone, err := o.isAlone(claimed, tt.id); alone != tt.want || err != nil {
			t.Errorf("%s: %v, %v", name, alone, err)
		}
	}
}
