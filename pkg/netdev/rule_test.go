package netdev

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// What RTM_NEWRULE takes, RTM_GETRULE tells in the same shape.
func TestARuleIsReadAsItIsWritten(t *testing.T) {
	for _, source := range []string{"192.0.2.7", "fd00::7"} {
		r := Rule{Source: netip.MustParseAddr(source), Table: 70000, Priority: 777}
		var message []byte
		for _, part := range r.message() {
			message = append(message, part.Serialize()...)
		}
		if got, conditional := ruleIn(message); got != r || !conditional {
			t.Errorf("%v (%v), want %v", got, conditional, r)
		}
	}
}

// A table that all packets are looked up in may have the host's default route; one
// for some of them does not count.
func TestARuleWithAnyConditionIsForSomePacketsOnly(t *testing.T) {
	ports := []byte{80, 0, 80, 0}
	for name, tt := range map[string]struct {
		header unix.RtMsg
		kind   int
		value  []byte
		want   bool
	}{
		"none":                       {kind: nl.FRA_PRIORITY, value: nl.Uint32Attr(7)},
		"what the host itself sends": {kind: nl.FRA_IIFNAME, value: nl.ZeroTerminated("lo")},
		"all but a source":           {header: unix.RtMsg{Src_len: 24, Flags: netlink.FibRuleInvert}, kind: nl.FRA_SRC, value: []byte{192, 0, 2, 0}},
		"a source":                   {header: unix.RtMsg{Src_len: 24}, kind: nl.FRA_SRC, value: []byte{192, 0, 2, 0}, want: true},
		"a destination":              {header: unix.RtMsg{Dst_len: 24}, kind: nl.FRA_DST, value: []byte{192, 0, 2, 0}, want: true},
		"an incoming interface":      {kind: nl.FRA_IIFNAME, value: nl.ZeroTerminated("ens12np0"), want: true},
		"an outgoing interface":      {kind: nl.FRA_OIFNAME, value: nl.ZeroTerminated("ens12np0"), want: true},
		"a mark":                     {kind: nl.FRA_FWMARK, value: nl.Uint32Attr(1), want: true},
		"a mark of zero":             {kind: nl.FRA_FWMASK, value: nl.Uint32Attr(1), want: true},
		"a type of service":          {header: unix.RtMsg{Tos: 16}, kind: nl.FRA_PRIORITY, value: nl.Uint32Attr(7), want: true},
		"a tunnel":                   {kind: nl.FRA_TUN_ID, value: make([]byte, 8), want: true},
		"a protocol":                 {kind: nl.FRA_IP_PROTO, value: []byte{6}, want: true},
		"a source port":              {kind: nl.FRA_SPORT_RANGE, value: ports, want: true},
		"a destination port":         {kind: nl.FRA_DPORT_RANGE, value: ports, want: true},
		"a user":                     {kind: nl.FRA_UID_RANGE, value: make([]byte, 8), want: true},
	} {
		tt.header.Family = unix.AF_INET
		message := slices.Concat((&nl.RtMsg{RtMsg: tt.header}).Serialize(), nl.NewRtAttr(tt.kind, tt.value).Serialize(),
			nl.NewRtAttr(nl.FRA_TABLE, nl.Uint32Attr(unix.RT_TABLE_MAIN)).Serialize())
		if r, have := ruleIn(message); have != tt.want || r.Table != unix.RT_TABLE_MAIN || r.Source.IsValid() {
			t.Errorf("%s: %v of %+v", name, have, r)
		}
	}
	if _, conditional := ruleIn([]byte{unix.AF_INET}); !conditional {
		t.Error("half an answer is a rule for all")
	}
}
