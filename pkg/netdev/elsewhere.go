package netdev

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// LinksElsewhere lists the links of the other namespaces that have a number
// (nsid) in this one: the kernel gives one to each namespace in which a link of
// this one has its peer, such as a pod's eth0, or to which one moved. It does so
// when it first tells of that link, so whoever wants all of them lists this
// namespace's links first. It takes NET_ADMIN there, and enters none.
// (IFLA_TARGET_NETNSID, Linux 5.0. Kernels that do not know it list the links of
// this namespace; the answer says which it is.)
func (n *Namespace) LinksElsewhere(ctx context.Context) ([]netlink.Link, error) {
	numbers, err := n.namespaceNumbers(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the namespaces known in %s: %w", n.Path, err)
	}
	var all []netlink.Link
	for _, number := range numbers {
		answers, known, err := n.linksIn(ctx, number)
		if err != nil || !known {
			return nil, err
		}
		all = append(all, parseLinks(answers)...)
	}
	return all, nil
}

// namespaceNumbers lists the numbers of other namespaces in this one.
func (n *Namespace) namespaceNumbers(ctx context.Context) ([]int32, error) {
	messages, err := n.list(ctx, unix.RTM_GETNSID, nl.NewRtGenMsg())
	if err != nil {
		return nil, err
	}
	var numbers []int32
	for _, m := range messages {
		if number, ok := number32(valueAt(behindRtgenmsg(m), unix.NETNSA_NSID)); ok {
			numbers = append(numbers, int32(number))
		}
	}
	return numbers, nil
}

// behindRtgenmsg are the attributes of an answer to RTM_GETNSID.
func behindRtgenmsg(answer []byte) []byte { return answer[unix.NLMSG_ALIGNTO:] } // it is padded

// linksIn lists the links of the namespace with a number in this one, none if
// it has ended. known is false where the kernel does not know the question, and
// has listed the links of this namespace.
func (n *Namespace) linksIn(ctx context.Context, number int32) (answers [][]byte, known bool, err error) {
	answers, err = n.listLinks(ctx, targetNamespace(number))
	if errors.Is(err, unix.EINVAL) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("list links in the namespace with number %d in %s: %w", number, n.Path, err)
	}
	known = len(answers) == 0 || len(valueAt(ofLink(answers[0]), unix.IFLA_TARGET_NETNSID)) > 0
	return answers, known, nil
}

func targetNamespace(number int32) *nl.RtAttr {
	return nl.NewRtAttr(unix.IFLA_TARGET_NETNSID, nl.Uint32Attr(uint32(number)))
}
