package rdma

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A Link is an RDMA device as NETLINK_RDMA shows it in one namespace: what a
// move needs, and no more.
type Link struct {
	Index    uint32
	Name     string
	NodeGUID string
}

// Links lists the RDMA devices that are visible in a namespace.
func Links(ns netns.NsHandle) ([]Link, error) {
	h, err := handleAt(ns)
	if err != nil {
		return nil, fmt.Errorf("open NETLINK_RDMA: %w", err)
	}
	defer h.Close()
	for {
		links, err := h.RdmaLinkList()
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			continue // a device came or went while the kernel listed them
		}
		if err != nil {
			return nil, fmt.Errorf("list RDMA devices: %w", err)
		}
		list := make([]Link, len(links))
		for i, l := range links {
			list[i] = Link{Index: l.Attrs.Index, Name: l.Attrs.Name, NodeGUID: nodeGUID(l.Attrs.NodeGuid)}
		}
		return list, nil
	}
}

// handleAt opens NETLINK_RDMA in a namespace. For the caller's own that takes
// no privilege, as entering any other does.
func handleAt(ns netns.NsHandle) (*netlink.Handle, error) {
	if own, err := netns.Get(); err == nil {
		defer own.Close()
		if own.Equal(ns) {
			ns = netns.None()
		}
	}
	return netlink.NewHandleAt(ns, unix.NETLINK_RDMA)
}

// Find finds a device in a namespace by its identity. ok is false when it is
// not there. With the device's index that is one question; without it, or when
// the driver has registered the device anew, the kernel lists them all.
func Find(ns netns.NsHandle, d Device) (link Link, ok bool, err error) {
	if d.Index != nil {
		link, err := linkAt(ns, *d.Index)
		if err == nil && d.is(link) {
			return link, true, nil
		}
	}
	links, err := Links(ns)
	if err != nil {
		return Link{}, false, err
	}
	for _, l := range links {
		if d.is(l) {
			return l, true, nil
		}
	}
	return Link{}, false, nil
}

// linkAt is the device with an index. The netlink package can only list all.
func linkAt(ns netns.NsHandle, index uint32) (Link, error) {
	socket, err := nl.GetNetlinkSocketAt(ns, netns.None(), unix.NETLINK_RDMA)
	if err != nil {
		return Link{}, fmt.Errorf("open NETLINK_RDMA: %w", err)
	}
	defer socket.Close()
	req := nl.NewNetlinkRequest(nl.RDMA_NL_NLDEV<<nl.RDMA_NL_GET_CLIENT_SHIFT|nl.RDMA_NLDEV_CMD_GET, 0)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_RDMA: {Socket: socket}}
	req.AddData(nl.NewRtAttr(nl.RDMA_NLDEV_ATTR_DEV_INDEX, nl.Uint32Attr(index)))
	messages, err := req.Execute(unix.NETLINK_RDMA, 0)
	if err != nil || len(messages) != 1 {
		return Link{}, errors.Join(fmt.Errorf("no RDMA device %d", index), err)
	}
	link := Link{Index: index}
	attributes(messages[0], func(kind uint16, value []byte) {
		switch {
		case kind == nl.RDMA_NLDEV_ATTR_DEV_NAME:
			link.Name = strings.TrimRight(string(value), "\x00")
		case kind == nl.RDMA_NLDEV_ATTR_NODE_GUID && len(value) == 8:
			guid := binary.NativeEndian.Uint64(value)
			link.NodeGUID = fmt.Sprintf("%04x:%04x:%04x:%04x", guid>>48, guid>>32&0xffff, guid>>16&0xffff, guid&0xffff)
		}
	})
	return link, nil
}

// unsetGUID is the node GUID of a virtual function to which nobody gave one.
const unsetGUID = "0000:0000:0000:0000"

// is tells whether a link is the device, whatever it is called now. A device
// without a node GUID is known by its name; changing that takes privileges on
// the host.
func (d Device) is(l Link) bool {
	if d.NodeGUID == unsetGUID || d.NodeGUID == "" {
		return d.Name == l.Name
	}
	return d.NodeGUID == l.NodeGUID
}

// nodeGUID turns the netlink package's rendering of a GUID, eight bytes with
// the last one first, into the form of sysfs.
func nodeGUID(reversed string) string {
	b := strings.Split(reversed, ":")
	if len(b) != 8 {
		return reversed
	}
	return fmt.Sprintf("%s%s:%s%s:%s%s:%s%s", b[7], b[6], b[5], b[4], b[3], b[2], b[1], b[0])
}
