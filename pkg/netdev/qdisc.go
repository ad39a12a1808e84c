package netdev

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A Qdisc is a queueing discipline that somebody set. Those that the kernel
// makes by itself have no handle, and come by themselves. A move takes all of
// them away (dev_shutdown), and with them their classes and filters.
type Qdisc struct {
	Kind   string `json:"kind"`
	Handle uint32 `json:"handle"`
	Parent uint32 `json:"parent"`
	// Options are TCA_OPTIONS as the kernel wrote them; most disciplines take
	// that back.
	Options []byte `json:"options,omitempty"`
}

func (q Qdisc) String() string {
	const major = 16
	return fmt.Sprintf("qdisc %s %x:", q.Kind, q.Handle>>major)
}

// qdiscs lists those of a link: the kernel tells the root first, and then the rest
// by a hash of their handles (tc_dump_qdisc_root).
func (n *Namespace) qdiscs(ctx context.Context, link netlink.Link) (list []Qdisc, err error) {
	answers, err := n.list(ctx, unix.RTM_GETQDISC, &nl.TcMsg{Ifindex: int32(link.Attrs().Index)})
	if err != nil {
		return nil, fmt.Errorf("list the queueing disciplines: %w", err)
	}
	for _, answer := range answers {
		msg := nl.DeserializeTcMsg(answer)
		if int(msg.Ifindex) != link.Attrs().Index || msg.Handle == 0 {
			continue
		}
		attributes := answer[nl.SizeofTcMsg:]
		list = append(list, Qdisc{
			Kind: unix.ByteSliceToString(valueAt(attributes, unix.TCA_KIND)), Handle: msg.Handle, Parent: msg.Parent,
			Options: valueAt(attributes, unix.TCA_OPTIONS),
		})
	}
	return list, nil
}

// restoreQdiscs sets the recorded ones that are not there.
func (n *Namespace) restoreQdiscs(ctx context.Context, link netlink.Link, recorded []Qdisc) error {
	if len(recorded) == 0 {
		return nil
	}
	have, err := n.qdiscs(ctx, link)
	errs := []error{err}
	for _, q := range parentsFirst(recorded) {
		if slices.ContainsFunc(have, func(h Qdisc) bool { return h.Kind == q.Kind && h.Handle == q.Handle && h.Parent == q.Parent }) {
			continue
		}
		msg := &nl.TcMsg{Ifindex: int32(link.Attrs().Index), Handle: q.Handle, Parent: q.Parent}
		parts := []nl.NetlinkRequestData{msg, nl.NewRtAttr(unix.TCA_KIND, nl.ZeroTerminated(q.Kind))}
		if len(q.Options) > 0 {
			parts = append(parts, nl.NewRtAttr(unix.TCA_OPTIONS, q.Options))
		}
		_, err := n.route.Request(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK, parts...)
		errs = append(errs, wrap("set "+q.String(), err))
	}
	return errors.Join(errs...)
}

// parentsFirst is the order in which to set them.
func parentsFirst(list []Qdisc) []Qdisc {
	const minor = 0xffff // of a class, which has its discipline's handle
	depth := func(q Qdisc) (steps int) {
		for range list { // no circle lasts longer
			above := slices.IndexFunc(list, func(p Qdisc) bool { return p.Handle == q.Parent&^minor })
			if above < 0 || q.Parent > ^uint32(minor) { // of the link: TC_H_ROOT, TC_H_CLSACT
				break
			}
			q, steps = list[above], steps+1
		}
		return steps
	}
	return slices.SortedStableFunc(slices.Values(list), func(a, b Qdisc) int { return depth(a) - depth(b) })
}
