package netdev

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A Neighbour is an entry of the neighbour tables that somebody set to stay: where
// an address is, or that this node answers for it. The kernel drops all of a link
// that is set down (neigh_ifdown).
type Neighbour struct {
	Address netip.Addr `json:"address"`
	// MAC is "" for an address that this node answers for.
	MAC string `json:"mac,omitempty"`
	// Flags are NTF_PROXY and so on.
	Flags uint8 `json:"flags,omitempty"`
}

// neighbours lists those of a link.
func (n *Namespace) neighbours(ctx context.Context, link netlink.Link) (list []Neighbour, err error) {
	index := link.Attrs().Index
	for _, flags := range []uint8{0, unix.NTF_PROXY} {
		answers, err := n.list(ctx, unix.RTM_GETNEIGH, &netlink.Ndmsg{Flags: flags}, nl.NewRtAttr(unix.NDA_IFINDEX, nl.Uint32Attr(uint32(index))))
		if err != nil {
			return nil, fmt.Errorf("list the neighbours on %s: %w", link.Attrs().Name, err)
		}
		for _, answer := range answers {
			if on, state, neighbour := neighbourIn(answer); on == index && neighbour.Address.IsValid() &&
				(flags != 0 || state&unix.NUD_PERMANENT != 0) {
				list = append(list, neighbour)
			}
		}
	}
	return list, nil
}

// neighbourIn reads an entry, with the ifindex of its link and its state.
func neighbourIn(answer []byte) (index int, state uint16, neighbour Neighbour) {
	const indexAt, stateAt, flagsAt, size = 4, 8, 10, 12 // of struct ndmsg
	if len(answer) < size || answer[0] != unix.AF_INET && answer[0] != unix.AF_INET6 {
		return 0, 0, neighbour
	}
	attributes := answer[size:]
	return int(binary.NativeEndian.Uint32(answer[indexAt:])), binary.NativeEndian.Uint16(answer[stateAt:]), Neighbour{
		Address: Addr(valueAt(attributes, unix.NDA_DST)), MAC: net.HardwareAddr(valueAt(attributes, unix.NDA_LLADDR)).String(), Flags: answer[flagsAt],
	}
}

// addNeighbours sets entries on a link, where they may be already.
func (n *Namespace) addNeighbours(link netlink.Link, list []Neighbour) error {
	var errs []error
	for _, neighbour := range list {
		msg := &netlink.Ndmsg{Family: uint8(family(neighbour.Address)), Index: uint32(link.Attrs().Index), State: unix.NUD_PERMANENT, Flags: neighbour.Flags}
		parts := []nl.NetlinkRequestData{msg, nl.NewRtAttr(unix.NDA_DST, neighbour.Address.AsSlice())}
		if mac, err := net.ParseMAC(neighbour.MAC); err == nil {
			parts = append(parts, nl.NewRtAttr(unix.NDA_LLADDR, mac))
		}
		_, err := n.route.Request(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK, parts...)
		errs = append(errs, wrap("set the neighbour "+neighbour.Address.String(), err))
	}
	return errors.Join(errs...)
}
