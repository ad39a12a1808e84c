package netdev

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A Rule sends what comes from an address to a routing table.
type Rule struct {
	Source   netip.Addr `json:"source"`
	Table    int        `json:"table"`
	Priority int        `json:"priority"`
}

func (r Rule) String() string {
	return fmt.Sprintf("from %s lookup %d priority %d", r.Source, r.Table, r.Priority)
}

// message is what RTM_NEWRULE and RTM_DELRULE take: struct fib_rule_hdr, which has
// the shape of struct rtmsg, with the action for the type.
func (r Rule) message() []nl.NetlinkRequestData {
	msg := &nl.RtMsg{}
	msg.Family, msg.Src_len, msg.Type = uint8(family(r.Source)), uint8(r.Source.BitLen()), nl.FR_ACT_TO_TBL
	return []nl.NetlinkRequestData{msg,
		nl.NewRtAttr(nl.FRA_SRC, r.Source.AsSlice()),
		nl.NewRtAttr(nl.FRA_PRIORITY, nl.Uint32Attr(uint32(r.Priority))),
		nl.NewRtAttr(nl.FRA_TABLE, nl.Uint32Attr(uint32(r.Table))),
	}
}

// ruleIn reads a rule, and whether it is for some packets only: also those of
// multicast routing, whose families are listed with the others (ip6mr_rules_init
// in net/ipv6/ip6mr.c). Its Source is set if it is for those from one address.
func ruleIn(answer []byte) (r Rule, conditional bool) {
	if len(answer) < unix.SizeofRtMsg || answer[0] != unix.AF_INET && answer[0] != unix.AF_INET6 {
		return r, true
	}
	msg, attributes := nl.DeserializeRtMsg(answer), answer[unix.SizeofRtMsg:]
	if source := Addr(valueAt(attributes, nl.FRA_SRC)); source.IsValid() && int(msg.Src_len) == source.BitLen() {
		r.Source = source
	}
	r.Table, r.Priority = numberIn(valueAt(attributes, nl.FRA_TABLE)), numberIn(valueAt(attributes, nl.FRA_PRIORITY))
	conditional = msg.Tos != 0
	for kind, value := range Attributes(attributes) {
		switch kind {
		case nl.FRA_IIFNAME: // with "lo" it is for all packets of the namespace's own
			conditional = conditional || unix.ByteSliceToString(value) != "lo"
		case nl.FRA_SRC, nl.FRA_DST, nl.FRA_OIFNAME, nl.FRA_FWMARK, nl.FRA_FWMASK, nl.FRA_TUN_ID, nl.FRA_IP_PROTO,
			nl.FRA_SPORT_RANGE, nl.FRA_DPORT_RANGE, nl.FRA_UID_RANGE:
			conditional = true
		}
	}
	return r, conditional && msg.Flags&netlink.FibRuleInvert == 0
}

// AddRules adds rules to the namespace.
func (n *Namespace) AddRules(rules []Rule) error {
	for _, r := range rules {
		_, err := n.route.Request(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK, r.message()...)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add rule %s: %w", r, err)
		}
	}
	return nil
}

// DeleteRules deletes those rules that are still in the namespace. Routes go
// with their netdev, rules do not.
func (n *Namespace) DeleteRules(rules []Rule) error {
	var errs []error
	for _, r := range rules {
		if _, err := n.route.Request(unix.RTM_DELRULE, unix.NLM_F_ACK, r.message()...); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("delete rule %s: %w", r, err))
		}
	}
	return errors.Join(errs...)
}

// CommonTables are the routing tables (0 for main, as in a Route) that the namespace
// asks about any packet, or any of its own: a rule without a condition leads there,
// or one with an exception. Rules such as "unreachable" lead to no table, which is
// 0 in the kernel's answer.
func (n *Namespace) CommonTables(ctx context.Context) (map[int]bool, error) {
	answers, err := n.listRules(ctx)
	if err != nil {
		return nil, err
	}
	common := map[int]bool{}
	for _, answer := range answers {
		if r, conditional := ruleIn(answer); !conditional && r.Table != 0 {
			common[tableOf(r.Table)] = true
		}
	}
	return common, nil
}

// HasRule tells whether a rule is there.
func (n *Namespace) HasRule(ctx context.Context, r Rule) (bool, error) {
	answers, err := n.listRules(ctx)
	return slices.ContainsFunc(answers, func(answer []byte) bool {
		have, _ := ruleIn(answer)
		return have == r
	}), err
}

func (n *Namespace) listRules(ctx context.Context) ([][]byte, error) {
	answers, err := n.list(ctx, unix.RTM_GETRULE, &nl.RtMsg{})
	if err != nil {
		return nil, fmt.Errorf("list the rules: %w", err)
	}
	return answers, nil
}
