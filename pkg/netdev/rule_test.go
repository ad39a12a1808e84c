package netdev

import (
	"net"
	"testing"

	"github.com/vishvananda/netlink"
)

// A table that all packets are looked up in may have the host's default route; one
// for some of them does not count.
func TestARuleWithAnyConditionIsForSomePacketsOnly(t *testing.T) {
	prefix, mask := &net.IPNet{IP: net.IP{192, 0, 2, 0}, Mask: net.CIDRMask(24, 32)}, uint32(1)
	for name, tt := range map[string]struct {
		rule netlink.Rule
		want bool
	}{
		"none":                       {netlink.Rule{Table: 254, Priority: 7}, false},
		"what the host itself sends": {netlink.Rule{IifName: "lo"}, false},
		"a source":                   {netlink.Rule{Src: prefix}, true},
		"a destination":              {netlink.Rule{Dst: prefix}, true},
		"an incoming interface":      {netlink.Rule{IifName: "ens12np0"}, true},
		"an outgoing interface":      {netlink.Rule{OifName: "ens12np0"}, true},
		"a mark":                     {netlink.Rule{Mark: 1}, true},
		"a mark of zero":             {netlink.Rule{Mask: &mask}, true},
		"a type of service":          {netlink.Rule{Tos: 16}, true},
		"a tunnel":                   {netlink.Rule{TunID: 7}, true},
		"a protocol":                 {netlink.Rule{IPProto: 6}, true},
		"a source port":              {netlink.Rule{Sport: netlink.NewRulePortRange(80, 80)}, true},
		"a destination port":         {netlink.Rule{Dport: netlink.NewRulePortRange(80, 80)}, true},
		"a user":                     {netlink.Rule{UIDRange: netlink.NewRuleUIDRange(0, 0)}, true},
	} {
		if have := isConditional(tt.rule); have != tt.want {
			t.Errorf("%s: %v", name, have)
		}
	}
}
