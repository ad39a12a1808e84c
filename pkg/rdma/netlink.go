package rdma

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// A Link is an RDMA device as NETLINK_RDMA shows it in one namespace: what the
// operations on it need, and no more. It stays true in a move: the index goes
// with the device, and so does the name, if it is free.
type Link struct {
	Index    uint32
	Name     string
	NodeGUID string
}

// A Namespace is the RDMA subsystem as one network namespace has it, with a
// socket in it. It is for one goroutine.
type Namespace struct {
	ns     netns.NsHandle
	socket *netdev.Socket
}

// Open opens the RDMA subsystem in a namespace, which must stay open. The error
// wraps ErrNoSubsystem when the kernel has none. For the caller's own namespace
// it needs no privilege; entering any other does.
func Open(ns netns.NsHandle) (*Namespace, error) {
	s, err := netdev.OpenSocket(ns, unix.NETLINK_RDMA)
	if err != nil {
		return nil, fmt.Errorf("open NETLINK_RDMA: %w", explained(err))
	}
	return &Namespace{ns, s}, nil
}

// Close closes the socket. Calling it on a nil Namespace does nothing.
func (n *Namespace) Close() {
	if n != nil {
		n.socket.Close()
	}
}

// explained puts into words what a kernel without RDMA answers.
func explained(err error) error {
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ECONNREFUSED) {
		return ErrNoSubsystem
	}
	return err
}

// ask sends one of the commands of NETLINK_RDMA and returns the answers. A list
// that the kernel marks as interrupted is asked for again; Linux 7.3 marks
// none.
func (n *Namespace) ask(command, flags int, attributes ...nl.NetlinkRequestData) ([][]byte, error) {
	return netdev.Complete(context.Background(), func() ([][]byte, error) {
		return n.socket.Request(nl.RDMA_NL_NLDEV<<nl.RDMA_NL_GET_CLIENT_SHIFT|command, flags, attributes...)
	})
}

func deviceIndex(index uint32) *nl.RtAttr {
	return nl.NewRtAttr(nl.RDMA_NLDEV_ATTR_DEV_INDEX, nl.Uint32Attr(index))
}

// links goes through the devices. The kernel reports one at a time and counts
// them (_nldev_get_dumpit): when one that it has reported leaves, it skips
// another. So a device in a list is there, and one that is in neither of two
// equal lists in a row is not. Only a caller that goes on to the end waits for
// the second.
func (n *Namespace) links() iter.Seq2[Link, error] { return inTwoLists(n.listLinks) }

func inTwoLists(list func() ([]Link, error)) iter.Seq2[Link, error] {
	return func(yield func(Link, error) bool) {
		for before := []Link(nil); ; {
			links, err := list()
			if err != nil {
				yield(Link{}, err)
				return
			}
			if slices.Equal(links, before) {
				return
			}
			for _, link := range links {
				if !slices.Contains(before, link) && !yield(link, nil) {
					return
				}
			}
			before = links
		}
	}
}

func (n *Namespace) listLinks() ([]Link, error) {
	answers, err := n.ask(nl.RDMA_NLDEV_CMD_GET, unix.NLM_F_DUMP)
	if err != nil {
		return nil, fmt.Errorf("list RDMA devices: %w", err)
	}
	links := make([]Link, len(answers))
	for i, answer := range answers {
		links[i] = linkOf(answer)
	}
	return links, nil
}

// Find finds a device in the namespace by its identity. ok is false when it is
// not there. It is one request if the device's index is known; without it,
// or when the driver has registered the device anew, the kernel lists them all.
func (n *Namespace) Find(d Device) (link Link, ok bool, err error) {
	if d.Index != nil {
		answers, err := n.ask(nl.RDMA_NLDEV_CMD_GET, 0, deviceIndex(*d.Index))
		if err == nil && len(answers) == 1 && d.is(linkOf(answers[0])) {
			return linkOf(answers[0]), true, nil
		}
	}
	for l, err := range n.links() {
		if err != nil || d.is(l) {
			return l, err == nil, err
		}
	}
	return Link{}, false, nil
}

func linkOf(answer []byte) (link Link) {
	for kind, value := range netdev.Attributes(answer) {
		switch {
		case kind == nl.RDMA_NLDEV_ATTR_DEV_INDEX && len(value) == 4:
			link.Index = binary.NativeEndian.Uint32(value)
		case kind == nl.RDMA_NLDEV_ATTR_DEV_NAME:
			link.Name = text(value)
		case kind == nl.RDMA_NLDEV_ATTR_NODE_GUID && len(value) == 8:
			guid := binary.NativeEndian.Uint64(value)
			link.NodeGUID = fmt.Sprintf("%04x:%04x:%04x:%04x", guid>>48, guid>>32&0xffff, guid>>16&0xffff, guid&0xffff)
		}
	}
	return link
}

// text is a netlink string.
func text(value []byte) string { return strings.TrimRight(string(value), "\x00") }

// unsetGUID is the node GUID of a virtual function to which nobody gave one.
const unsetGUID = "0000:0000:0000:0000"

// is tells whether a link is the device, whatever it is called now. A device
// without a node GUID is known by its index, which whoever has it in its namespace
// cannot change as it can the name; and by the name, for it has another index when
// the driver has registered it anew.
func (d Device) is(l Link) bool {
	if d.NodeGUID != unsetGUID && d.NodeGUID != "" {
		return d.NodeGUID == l.NodeGUID
	}
	same := d.Index != nil && *d.Index == l.Index && (l.NodeGUID == unsetGUID || l.NodeGUID == "")
	return same || d.Name == l.Name
}
