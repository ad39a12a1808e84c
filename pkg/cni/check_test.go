package cni

import (
	"strings"
	"testing"

	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestCHECKFindsWhatThePodIsWithout(t *testing.T) {
	h := sysfs.MLX5(0)
	nic := h.Netdev
	const differs = ": compare the pod with the result of the ADD: "
	for name, tt := range map[string]struct {
		change func(s *scene, p *scenePod, result *current.Result)
		more   string // of the network
		want   string
	}{
		"as it was": {},
		"down":      {change: func(_ *scene, p *scenePod, _ *current.Result) { p.in("ip link set net1 down") }, want: "111 " + nic + differs + "net1 is down; delete the pod and create it again"},
		"renamed": {change: func(_ *scene, p *scenePod, _ *current.Result) {
			p.in("ip link set net1 down; ip link set net1 name x up")
		}, want: "111 " + nic + differs + "the netdev is called x, not net1"},
		"another MAC address": {change: func(_ *scene, p *scenePod, _ *current.Result) { p.in("ip link set net1 address 02:00:00:00:00:09") }, want: "has the MAC address 02:00:00:00:00:09, not "},
		"its MAC address in capitals": {change: func(_ *scene, _ *scenePod, r *current.Result) {
			r.Interfaces[0].Mac = strings.ToUpper(r.Interfaces[0].Mac)
		}},
		"another MAC address, not in the result": {change: func(_ *scene, p *scenePod, r *current.Result) {
			p.in("ip link set net1 address 02:00:00:00:00:09")
			r.Interfaces[0].Mac = ""
		}},
		"an MTU that the network sets": {change: func(_ *scene, p *scenePod, _ *current.Result) { p.in("ip link set net1 mtu 4000") }, more: `, "mtu": 4200`, want: "net1 has an MTU of 4000, not 4200"},
		"an MTU that it does not":      {change: func(_ *scene, p *scenePod, _ *current.Result) { p.in("ip link set net1 mtu 4000") }},
		"no address":                   {change: func(_ *scene, p *scenePod, _ *current.Result) { p.in("ip addr del 172.31.1.2/24 dev net1") }, want: "net1 has no address 172.31.1.2/24"},
		"another prefix": {change: func(_ *scene, p *scenePod, _ *current.Result) {
			p.in("ip addr del 172.31.1.2/24 dev net1; ip addr add 172.31.1.2/25 dev net1")
		}, want: "net1 has no address 172.31.1.2/24"},
		"no route": {change: func(_ *scene, p *scenePod, _ *current.Result) { p.in("ip route del 10.9.0.0/16") }, want: "no route 10.9.0.0/16 via 172.31.1.1 through net1"},
		"a route in another table": {change: func(_ *scene, p *scenePod, _ *current.Result) {
			p.in("ip route del 10.9.0.0/16; ip route add 10.9.0.0/16 via 172.31.1.1 table 9")
		}},
		"another's route": {change: func(_ *scene, _ *scenePod, r *current.Result) {
			r.Routes = append(r.Routes, r.Routes[0].Copy())
			r.Routes[1].Dst.IP = []byte{10, 8, 0, 0}
		}},
		"a route that a later plugin took out": {change: func(_ *scene, p *scenePod, r *current.Result) { p.in("ip route del 10.9.0.0/16"); r.Routes = nil }},
		"no rule":                              {change: func(_ *scene, p *scenePod, _ *current.Result) { p.in("ip rule del from 172.31.1.2") }, more: `, "sourceRouting": true`, want: "no rule "},
		"not in the result":                    {change: func(_ *scene, _ *scenePod, r *current.Result) { r.Interfaces[0].Sandbox = "/elsewhere" }, want: "prevResult has no interface net1 in "},
		"gone":                                 {change: func(_ *scene, p *scenePod, _ *current.Result) { p.in("ip link del net1") }, want: "the netdev is not in the pod"},
		"no namespace": {change: func(_ *scene, p *scenePod, r *current.Result) {
			p.netns = "/nowhere"
			r.Interfaces[0].Sandbox = p.netns
		}, want: "/nowhere"},
		"no record": {change: func(s *scene, _ *scenePod, _ *current.Result) { s.sh("rm -r " + s.State()) }, want: "111 net1: the journal has no such attachment; delete the pod and create it again"},
		"a record of an ADD at work": {change: func(s *scene, _ *scenePod, _ *current.Result) {
			s.change("c1", "net1", func(r *attachment.Record) { r.Step = attachment.Prepared })
		}, want: "111 net1: the journal has no such attachment"},
		"a record of one that is over": {change: func(s *scene, _ *scenePod, _ *current.Result) {
			s.change("c1", "net1", func(r *attachment.Record) { r.Step = attachment.Returned })
		}, want: "111 net1: the journal has no such attachment"},
		"a record of another boot":       {change: func(s *scene, _ *scenePod, _ *current.Result) { s.Boot("22222222-0000-0000-0000-000000000000") }, want: "111 net1: the journal has no such attachment"},
		"an IPAM plugin's finding":       {change: func(s *scene, _ *scenePod, _ *current.Result) { s.ipamFails("CHECK", "no lease") }, want: "108 " + nic + ": check its address with scripted: no lease"},
		"no IPAM plugin":                 {change: func(s *scene, _ *scenePod, _ *current.Result) { s.sh("rm " + s.Dir + "/bin/scripted") }, want: "108 " + nic + ": check its address with scripted: "},
		"an IPAM plugin without a CHECK": {change: func(s *scene, _ *scenePod, _ *current.Result) { s.ipamFails("CHECK", noCheck) }},
		"one that says more of that":     {change: func(s *scene, _ *scenePod, _ *current.Result) { s.ipamFails("CHECK", "whereabouts: "+noCheck+" yet") }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, h)
			p := s.pod("c1")
			config := network(nic, tt.more)
			result := p.add("net1", config)
			if tt.change != nil {
				tt.change(s, p, result)
			}
			if err := p.check("net1", config, result); !strings.Contains(told(err), tt.want) || err != nil && tt.want == "" {
				t.Errorf("%s\nwant %s", told(err), tt.want)
			}
		})
	}
}

func TestCHECKNeedsTheResultOfTheADD(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	p := s.pod("c1")
	for config, want := range map[string]string{
		network(h.Netdev, ""):           "7 network configuration: CHECK without prevResult; the runtime passes the result of the ADD",
		network(h.Netdev, `, "mtu": 1`): `7 network configuration: "mtu" is 1`,
	} {
		if err := p.Plugin.check(p.args("net1", config)); !strings.HasPrefix(told(err), want) {
			t.Errorf("%s: %s", config, told(err))
		}
	}
}
