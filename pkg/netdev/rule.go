package netdev

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
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

func (r Rule) netlink() *netlink.Rule {
	rule := netlink.NewRule()
	rule.Src = IPNet(netip.PrefixFrom(r.Source, r.Source.BitLen()))
	rule.Table, rule.Priority = r.Table, r.Priority
	rule.Family = unix.AF_INET
	if r.Source.Is6() {
		rule.Family = unix.AF_INET6
	}
	return rule
}

// AddRules adds rules to the namespace.
func (n *Namespace) AddRules(rules []Rule) error {
	if len(rules) == 0 {
		return nil
	}
	o, err := n.operations()
	if err != nil {
		return err
	}
	for _, r := range rules {
		if err := o.RuleAdd(r.netlink()); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add rule %s: %w", r, err)
		}
	}
	return nil
}

// DeleteRules deletes those rules that are still in the namespace. Routes go
// with their netdev, rules do not.
func (n *Namespace) DeleteRules(rules []Rule) error {
	o, err := n.operations()
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range rules {
		if err := o.RuleDel(r.netlink()); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("delete rule %s: %w", r, err))
		}
	}
	return errors.Join(errs...)
}

// CommonTables are the routing tables that the namespace asks about any packet, or
// any of its own: a rule without a condition leads there, or one with an
// exception.
func (n *Namespace) CommonTables(ctx context.Context) (map[int]bool, error) {
	rules, err := n.listRules(ctx, &netlink.Rule{Family: unix.AF_UNSPEC}, 0)
	if err != nil {
		return nil, fmt.Errorf("list the rules: %w", err)
	}
	common := map[int]bool{}
	for _, r := range rules {
		if r.Invert || !isConditional(r) {
			common[r.Table] = true
		}
	}
	return common, nil
}

func isConditional(r netlink.Rule) bool {
	return r.Src != nil || r.Dst != nil || r.IifName != "" && r.IifName != "lo" || r.OifName != "" ||
		r.Mark != 0 || r.Mask != nil || r.Tos != 0 || r.TunID != 0 || r.IPProto != 0 || r.Sport != nil || r.Dport != nil || r.UIDRange != nil
}

// HasRule tells whether a rule is there.
func (n *Namespace) HasRule(ctx context.Context, r Rule) (bool, error) {
	want := r.netlink()
	rules, err := n.listRules(ctx, want, netlink.RT_FILTER_SRC|netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PRIORITY)
	if err != nil {
		return false, fmt.Errorf("list the rules: %w", err)
	}
	return len(rules) > 0, nil
}
