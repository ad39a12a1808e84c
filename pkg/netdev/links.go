package netdev

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Links lists the namespace's links, without their counters and virtual
// functions: on a node with hundreds of links they are most of an answer.
func (n *Namespace) Links(ctx context.Context) ([]netlink.Link, error) {
	return n.LinkReader().Links(ctx)
}

// parseLinks leaves out what it cannot parse: one odd link must not hide the
// others.
func parseLinks(answers [][]byte) []netlink.Link {
	links := make([]netlink.Link, 0, len(answers))
	for _, answer := range answers {
		if link, err := netlink.LinkDeserialize(nil, answer); err == nil {
			links = append(links, link)
		}
	}
	return links
}

// parse is parseLinks of this namespace's own links, with their parents.
func (n *Namespace) parse(answers [][]byte) []netlink.Link {
	links := parseLinks(answers)
	for _, link := range links {
		n.addParent(link)
	}
	return links
}

func (n *Namespace) parseLink(answer []byte) (netlink.Link, error) {
	link, err := netlink.LinkDeserialize(nil, answer)
	if err == nil {
		n.addParent(link)
	}
	return link, err
}

// skipStats is RTEXT_FILTER_SKIP_STATS of <linux/rtnetlink.h>.
const skipStats = 1 << 3

func (n *Namespace) listLinks(ctx context.Context, where ...nl.NetlinkRequestData) ([][]byte, error) {
	return Complete(ctx, func() ([][]byte, error) { return n.dumpLinks(where...) })
}

// dumpLinks asks for all links once; see Socket.Request for what it returns.
func (n *Namespace) dumpLinks(where ...nl.NetlinkRequestData) ([][]byte, error) {
	return dumpLinks(n.route, where...)
}

func dumpLinks(s *Socket, where ...nl.NetlinkRequestData) ([][]byte, error) {
	about := []nl.NetlinkRequestData{nl.NewIfInfomsg(unix.AF_UNSPEC), nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStats))}
	return s.Request(unix.RTM_GETLINK, unix.NLM_F_DUMP, append(about, where...)...)
}

// getLink asks for one link, by its ifindex or what else says which.
func (n *Namespace) getLink(index int, which ...nl.NetlinkRequestData) ([]byte, error) {
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	about := []nl.NetlinkRequestData{msg, nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStats))}
	answers, err := n.route.Request(unix.RTM_GETLINK, 0, append(about, which...)...)
	if err == nil && len(answers) != 1 {
		err = unix.EBADMSG
	}
	if err != nil {
		return nil, err
	}
	return answers[0], nil
}

// A LinkReader lists a namespace's links again and again. The kernel nearly
// always says the same as last time, which is parsed once. It is for one
// goroutine.
type LinkReader struct {
	namespace *Namespace
	answers   [][]byte
	links     []netlink.Link // what answers mean
}

// LinkReader starts a reader. The namespace must stay open.
func (n *Namespace) LinkReader() *LinkReader { return &LinkReader{namespace: n} }

// Links is as the namespace's. The caller must not change what it gets.
func (r *LinkReader) Links(ctx context.Context) ([]netlink.Link, error) {
	answers, err := r.namespace.listLinks(ctx)
	if err != nil {
		return nil, fmt.Errorf("list links in %s: %w", r.namespace.Path, err)
	}
	if slices.EqualFunc(answers, r.answers, bytes.Equal) {
		return r.links, nil
	}
	r.answers, r.links = answers, r.namespace.parse(answers)
	return r.links, nil
}
