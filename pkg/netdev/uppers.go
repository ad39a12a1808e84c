package netdev

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// An Upper is a netdev on top of another one: a VLAN, a macvlan.
type Upper struct{ Kind, Name string }

func (u Upper) String() string { return u.Kind + " " + u.Name }

// Uppers lists the netdevs that are on top of a link. It asks for all links of
// the namespace, of which a node has hundreds, and so reads no more of each
// than that.
func (n *Namespace) Uppers(ctx context.Context, link netlink.Link) ([]Upper, error) {
	answers, err := n.listLinks(ctx)
	if err != nil {
		return nil, fmt.Errorf("list links in %s: %w", n.Path, err)
	}
	var uppers []Upper
	for _, answer := range answers {
		upper, on, err := upperOf(answer)
		if err != nil {
			return nil, fmt.Errorf("list links in %s: %w", n.Path, err)
		}
		// What a veth is "on" is its peer.
		if on == link.Attrs().Index && upper.Kind != "veth" {
			uppers = append(uppers, upper)
		}
	}
	return uppers, nil
}

// upperOf reads a link and the ifindex of what it is on: 0 for nothing, or if
// that is in another namespace.
func upperOf(answer []byte) (upper Upper, on int, err error) {
	attributes, err := nl.ParseRouteAttr(answer[unix.SizeofIfInfomsg:])
	if err != nil {
		return Upper{}, 0, err
	}
	elsewhere := false
	for _, a := range attributes {
		switch a.Attr.Type {
		case unix.IFLA_IFNAME:
			upper.Name = unix.ByteSliceToString(a.Value)
		case unix.IFLA_LINK:
			on = int(binary.NativeEndian.Uint32(a.Value))
		case unix.IFLA_LINK_NETNSID:
			elsewhere = true
		case unix.IFLA_LINKINFO:
			info, err := nl.ParseRouteAttr(a.Value)
			if err != nil {
				return Upper{}, 0, err
			}
			for _, i := range info {
				if i.Attr.Type == nl.IFLA_INFO_KIND {
					upper.Kind = unix.ByteSliceToString(i.Value)
				}
			}
		}
	}
	if elsewhere {
		on = 0
	}
	return upper, on, nil
}

// BorrowedAddresses are the Ethernet addresses that a link receives for others
// than itself: those of macvlans on top of it that are up, wherever they are.
// One that was moved into a pod is in no list of this namespace's links.
func (n *Namespace) BorrowedAddresses(ctx context.Context, link netlink.Link) ([]net.HardwareAddr, error) {
	// The kernel knows a dump of the forwarding database by this header, and
	// its index as the link to which it is limited (rtnl_fdb_dump).
	header := nl.NewIfInfomsg(unix.AF_BRIDGE)
	header.Index = int32(link.Attrs().Index)
	answers, err := n.list(ctx, unix.RTM_GETNEIGH, header)
	if err != nil {
		return nil, fmt.Errorf("list the address filter of %s: %w", link.Attrs().Name, err)
	}
	var borrowed []net.HardwareAddr
	for _, answer := range answers {
		entry, err := netlink.NeighDeserialize(answer)
		if err != nil {
			return nil, fmt.Errorf("list the address filter of %s: %w", link.Attrs().Name, err)
		}
		const group = 1 // first bit on the wire: a multicast address
		if entry.LinkIndex == link.Attrs().Index && entry.Flags&netlink.NTF_SELF != 0 && len(entry.HardwareAddr) == 6 && entry.HardwareAddr[0]&group == 0 {
			borrowed = append(borrowed, entry.HardwareAddr)
		}
	}
	return borrowed, nil
}
