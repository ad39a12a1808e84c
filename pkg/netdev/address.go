package netdev

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// An Address is one that the host put on the netdev to stay. Addresses that the
// kernel makes by itself (IPv6 link-local and those from router
// advertisements) come back by themselves and are not recorded, nor are those
// with a limited lifetime: a DHCP client asks for another lease when the netdev
// is back.
type Address struct {
	Prefix netip.Prefix `json:"prefix"` // the address with its prefix length
	Peer   netip.Prefix `json:"peer,omitzero"`
	Label  string       `json:"label,omitempty"`
	Scope  int          `json:"scope,omitempty"`
	// Broadcast is an IPv4 address's broadcast address: 0.0.0.0 for none, not
	// set for the last address of the subnet.
	Broadcast netip.Addr `json:"broadcast,omitzero"`
	// NoPrefixRoute: the kernel adds no route to the subnet. NetworkManager asks
	// for that, and adds the route itself, with a metric. So does a State for an
	// address with a metric of its own (IFA_RT_PRIORITY), which the netlink
	// package cannot set.
	NoPrefixRoute bool `json:"noPrefixRoute,omitempty"`
	// Deprecated: it is nobody's source, unless they ask for it.
	Deprecated bool `json:"deprecated,omitempty"`
	// Flags are those of keptFlags.
	Flags int `json:"flags,omitempty"`
}

// keptFlags are the flags that whoever sets an address may ask for, besides those
// with a field of their own.
const keptFlags = unix.IFA_F_HOMEADDRESS | unix.IFA_F_MANAGETEMPADDR | unix.IFA_F_MCAUTOJOIN

// allAddresses lists those of the namespace, in the kernel's words.
func (n *Namespace) allAddresses(ctx context.Context) ([][]byte, error) {
	answers, err := n.list(ctx, unix.RTM_GETADDR, nl.NewIfAddrmsg(unix.AF_UNSPEC))
	if err != nil {
		return nil, fmt.Errorf("list the addresses in %s: %w", n.Path, err)
	}
	return answers, nil
}

// addressesOf are those of a link that a State keeps, in the order in which to
// add them, and the temporary ones that it does not.
func addressesOf(link netlink.Link, answers [][]byte) (lasting []Address, temporary []netip.Prefix) {
	for _, answer := range answers {
		switch a, index, permanent := addressIn(answer, link.Attrs().Name); {
		case index != link.Attrs().Index || isLinkLocal6(a.Prefix.Addr()):
		case !permanent:
			temporary = append(temporary, a.Prefix)
		default:
			lasting = append(lasting, a)
		}
	}
	// The kernel lists the IPv6 address that was set last first, and prefers it.
	if first6 := slices.IndexFunc(lasting, func(a Address) bool { return a.Prefix.Addr().Is6() }); first6 >= 0 {
		slices.Reverse(lasting[first6:])
	}
	return lasting, temporary
}

// AddAddresses puts addresses on a link, where they may be already.
func (n *Namespace) AddAddresses(link netlink.Link, addresses []Address) error {
	var errs []error
	if slices.ContainsFunc(addresses, func(a Address) bool { return a.Prefix.Addr().Is6() }) {
		errs = append(errs, n.enableIPv6(link))
	}
	for _, a := range addresses {
		_, err := n.route.Request(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK, a.message(link.Attrs().Index)...)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			errs = append(errs, fmt.Errorf("add address %s: %w", a.Prefix, err))
		}
	}
	return errors.Join(errs...)
}

// DeleteAddresses takes addresses from a link that may be on it.
func (n *Namespace) DeleteAddresses(link netlink.Link, addresses []Address) error {
	var errs []error
	for _, a := range addresses {
		_, err := n.route.Request(unix.RTM_DELADDR, unix.NLM_F_ACK, a.message(link.Attrs().Index)...)
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			errs = append(errs, fmt.Errorf("delete address %s: %w", a.Prefix, err))
		}
	}
	return errors.Join(errs...)
}

// Is6 tells whether it is an IPv6 address.
func (a Address) Is6() bool { return a.Prefix.Addr().Is6() }

// message is what RTM_NEWADDR takes.
func (a Address) message(index int) []nl.NetlinkRequestData {
	local, remote := a.Prefix, a.Prefix
	if a.Peer.IsValid() {
		remote = a.Peer
	}
	msg := nl.NewIfAddrmsg(family(local.Addr()))
	msg.Index, msg.Scope, msg.Prefixlen = uint32(index), uint8(a.Scope), uint8(remote.Bits())
	flags := uint32(a.Flags)
	if a.NoPrefixRoute {
		flags |= unix.IFA_F_NOPREFIXROUTE
	}
	if local.Addr().Is6() {
		// Whoever chose the address vouches for it; duplicate address
		// detection would keep it from being used for a second.
		flags |= unix.IFA_F_NODAD
	}
	parts := []nl.NetlinkRequestData{msg,
		nl.NewRtAttr(unix.IFA_LOCAL, local.Addr().AsSlice()),
		nl.NewRtAttr(unix.IFA_ADDRESS, remote.Addr().AsSlice()),
		nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(flags)),
	}
	if a.Deprecated { // struct ifa_cacheinfo: preferred for no time, valid for ever
		const forever = 1<<32 - 1
		parts = append(parts, nl.NewRtAttr(unix.IFA_CACHEINFO, slices.Concat(nl.Uint32Attr(0), nl.Uint32Attr(forever), make([]byte, 8))))
	}
	if b := a.broadcast(); b.IsValid() {
		parts = append(parts, nl.NewRtAttr(unix.IFA_BROADCAST, b.AsSlice()))
	}
	if a.Label != "" {
		parts = append(parts, nl.NewRtAttr(unix.IFA_LABEL, nl.ZeroTerminated(a.Label)))
	}
	return parts
}

// broadcast is the broadcast address to set, invalid if there is none.
func (a Address) broadcast() netip.Addr {
	const pointToPoint = 31 // RFC 3021
	switch {
	case !a.Prefix.Addr().Is4() || a.Broadcast.IsUnspecified():
		return netip.Addr{}
	case a.Broadcast.IsValid():
		return a.Broadcast
	case a.Prefix.Bits() >= pointToPoint || a.Peer.IsValid() && a.Peer.Bits() >= pointToPoint:
		return netip.Addr{}
	}
	last := a.Prefix.Masked().Addr().As4()
	host := uint32(1)<<(32-a.Prefix.Bits()) - 1
	binary.BigEndian.PutUint32(last[:], binary.BigEndian.Uint32(last[:])|host)
	return netip.AddrFrom4(last)
}

func family(a netip.Addr) int {
	if a.Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func isLinkLocal6(a netip.Addr) bool {
	return a.Is6() && a.IsLinkLocalUnicast()
}

// kernelMetric is the metric of the route to an address's subnet, unless
// somebody sets another (IP6_RT_PRIO_ADDRCONF in the kernel).
func kernelMetric(p netip.Prefix) int {
	if p.Addr().Is6() {
		return 256
	}
	return 0
}

// addressIn reads an address of the netdev with a name, the ifindex of the netdev
// that has it, and whether it has no limited lifetime.
func addressIn(answer []byte, name string) (a Address, index int, permanent bool) {
	if len(answer) < unix.SizeofIfAddrmsg {
		return a, 0, false
	}
	msg, attributes := nl.DeserializeIfAddrmsg(answer), answer[unix.SizeofIfAddrmsg:]
	// The prefix length is the peer's, if there is one. The kernel has
	// IFA_ADDRESS alone for an IPv6 address without, and both for any other.
	remote, local := Addr(valueAt(attributes, unix.IFA_ADDRESS)), Addr(valueAt(attributes, unix.IFA_LOCAL))
	a = Address{Prefix: netip.PrefixFrom(remote, int(msg.Prefixlen)), Scope: int(msg.Scope)}
	if local.IsValid() && local != remote {
		a.Prefix, a.Peer = netip.PrefixFrom(local, local.BitLen()), a.Prefix
	}
	// A label that the kernel gives by itself is the netdev's name.
	if label := unix.ByteSliceToString(valueAt(attributes, unix.IFA_LABEL)); label != name {
		a.Label = label
	}
	if a.Prefix.Addr().Is4() {
		if a.Broadcast = Addr(valueAt(attributes, unix.IFA_BROADCAST)); !a.Broadcast.IsValid() {
			a.Broadcast = netip.IPv4Unspecified()
		}
	}
	flags := numberIn(valueAt(attributes, unix.IFA_FLAGS))
	a.NoPrefixRoute, a.Deprecated = flags&unix.IFA_F_NOPREFIXROUTE != 0, flags&unix.IFA_F_DEPRECATED != 0
	a.Flags = flags & keptFlags
	return a, int(msg.Index), flags&unix.IFA_F_PERMANENT != 0
}
