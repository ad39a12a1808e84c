package netdev

import (
	"errors"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// DropAltName removes an alternative name from a link: the kernel does not
// rename a link to one of its own alternative names (dev_change_name).
// Equivalent to: `ip link property del dev $link altname $name`.
func (n *Namespace) DropAltName(link netlink.Link, name string) error {
	return n.deleteAltNames(link, []string{name})
}

// addAltNames gives a link alternative names. One that it has by now is not an
// error: udev names a NIC that appears, too.
func (n *Namespace) addAltNames(link netlink.Link, names []string) error {
	var errs []error
	for _, name := range names {
		err := n.altNames(unix.RTM_NEWLINKPROP, link.Attrs().Index, name)
		if errors.Is(err, unix.EEXIST) {
			if holder, lookErr := n.LinkNamed(name); lookErr == nil && holder != nil && holder.Attrs().Index == link.Attrs().Index {
				err = nil
			}
		}
		errs = append(errs, wrap("add alternative name "+name, err))
	}
	return errors.Join(errs...)
}

// deleteAltNames removes alternative names from a link: as many in one message
// as an attribute holds, because a pod may have set five hundred. One that is
// gone is not an error: kernels before 6.6 leave them behind when the link
// moves.
func (n *Namespace) deleteAltNames(link netlink.Link, names []string) error {
	const together = 400 // of 128 bytes each, in 64 KiB
	var errs []error
	for some := range slices.Chunk(names, together) {
		err := n.altNames(unix.RTM_DELLINKPROP, link.Attrs().Index, some...)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) { // the kernel stops at the first
			for _, name := range some {
				err := n.altNames(unix.RTM_DELLINKPROP, link.Attrs().Index, name)
				if !errors.Is(err, unix.ENOENT) {
					errs = append(errs, wrap("drop alternative name "+name, err))
				}
			}
			continue
		}
		errs = append(errs, wrap("drop alternative names", err))
	}
	return errors.Join(errs...)
}

// altNames is rtnl_linkprop of the kernel.
func (n *Namespace) altNames(command, index int, names ...string) error {
	list := attribute(unix.IFLA_PROP_LIST)
	for _, name := range names {
		list.AddRtAttr(unix.IFLA_ALT_IFNAME, nl.ZeroTerminated(name))
	}
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	_, err := n.route.Request(command, unix.NLM_F_ACK, msg, list)
	return err
}
