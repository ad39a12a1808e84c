package netdev

import (
	"net"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A Change is what one RTM_NEWLINK message does to a link. Zero fields leave
// things as they are.
type Change struct {
	Namespace *Namespace       // move there
	Name      string           // rename, in the target namespace
	MTU       int              // in bytes
	MAC       net.HardwareAddr // set this address
	Alias     *string          // set the alias; an empty one clears it
	// Settings are further attributes, which come after the flags.
	Settings []*nl.RtAttr
	// Flags (IFF_UP and so on) are set and cleared: those in Which.
	Flags, Which uint32
}

// Apply sends the change to the kernel as one message. The kernel moves,
// renames, sets MTU, address and flags of the link under one lock, so that
// nobody who looks, on either side, sees a state in between; a netdev is closed
// and opened only once. Listeners are told of each step, in this order: udev
// hears that it appeared under its old name.
//
// It is not a transaction: when a later part fails the earlier ones stay, and
// the link may be in the target already (do_setlink in net/core/rtnetlink.c).
func (n *Namespace) Apply(index int, c Change) error {
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	msg.Flags, msg.Change = c.Flags, c.Which
	parts := []nl.NetlinkRequestData{msg}
	if c.Namespace != nil {
		parts = append(parts, nl.NewRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(c.Namespace.NS))))
	}
	if c.Name != "" {
		parts = append(parts, nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(c.Name)))
	}
	if c.MTU > 0 {
		parts = append(parts, nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(c.MTU))))
	}
	if len(c.MAC) > 0 {
		parts = append(parts, nl.NewRtAttr(unix.IFLA_ADDRESS, c.MAC))
	}
	if c.Alias != nil {
		parts = append(parts, nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(*c.Alias)))
	}
	for _, s := range c.Settings {
		parts = append(parts, s)
	}
	_, err := n.route.Request(unix.RTM_NEWLINK, unix.NLM_F_ACK, parts...)
	return err
}
