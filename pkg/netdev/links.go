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

// links lists links, of another namespace if a number says of which.
func (n *Namespace) links(ctx context.Context, where ...nl.NetlinkRequestData) ([]netlink.Link, error) {
	answers, err := n.listLinks(ctx, where...)
	if err != nil {
		return nil, err
	}
	return parseLinks(answers)
}

func parseLinks(answers [][]byte) (links []netlink.Link, err error) {
	links = make([]netlink.Link, len(answers))
	for i, answer := range answers {
		if links[i], err = netlink.LinkDeserialize(nil, answer); err != nil {
			return nil, err
		}
	}
	return links, nil
}

// skipStats is RTEXT_FILTER_SKIP_STATS of <linux/rtnetlink.h>.
const skipStats = 1 << 3

func (n *Namespace) listLinks(ctx context.Context, where ...nl.NetlinkRequestData) ([][]byte, error) {
	about := []nl.NetlinkRequestData{nl.NewIfInfomsg(unix.AF_UNSPEC), nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStats))}
	return n.list(ctx, unix.RTM_GETLINK, append(about, where...)...)
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
	links, err := parseLinks(answers)
	if err != nil {
		return nil, fmt.Errorf("list links in %s: %w", r.namespace.Path, err)
	}
	for _, link := range links {
		r.namespace.addParent(link)
	}
	r.answers, r.links = answers, links
	return links, nil
}
