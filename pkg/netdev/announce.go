package netdev

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Announce tells the neighbours that an address of the link is at its MAC
// address now: a gratuitous ARP request (RFC 5227, section 3) or an
// unsolicited neighbour advertisement (RFC 4861, section 7.2.6). Without it
// they keep sending to the NIC that had the address before, until their
// caches expire.
func (n *Namespace) Announce(link netlink.Link, address netip.Addr) error {
	if len(link.Attrs().HardwareAddr) != 6 {
		return nil // not Ethernet
	}
	announce := n.advertise
	if address.Is4() {
		announce = n.askForItself
	}
	if err := announce(link, address); err != nil {
		return fmt.Errorf("announce %s: %w", address, err)
	}
	return nil
}

// askForItself has the kernel ask who has the address, as if it were a
// neighbour's: that is a gratuitous ARP request, repeated until the entry is
// given up after some seconds (mcast_solicit). A packet socket could send it
// too, but its close waits for an RCU grace period, 8 to 11 ms of every ADD
// (packet_release in net/packet/af_packet.c).
func (n *Namespace) askForItself(link netlink.Link, address netip.Addr) error {
	msg := &netlink.Ndmsg{Family: unix.AF_INET, Index: uint32(link.Attrs().Index), Flags: unix.NTF_USE}
	_, err := n.route.Request(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK, msg, nl.NewRtAttr(unix.NDA_DST, address.AsSlice()))
	return err
}

// advertise sends an advertisement of its own: the kernel's, with ndisc_notify,
// comes with other events.
func (n *Namespace) advertise(link netlink.Link, address netip.Addr) error {
	a := link.Attrs()
	return n.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		dst := &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_IPV6), Ifindex: a.Index, Halen: 6}
		copy(dst.Addr[:], allNodes())
		return unix.Sendto(fd, neighbourAdvertisement(a.HardwareAddr, address), 0, dst)
	})
}

// allNodes is the Ethernet address of ff02::1 (RFC 2464, section 7).
func allNodes() net.HardwareAddr { return net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1} }

// bigEndian is htons.
func bigEndian(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

func neighbourAdvertisement(mac net.HardwareAddr, address netip.Addr) []byte {
	src, dst := address.As16(), netip.MustParseAddr("ff02::1").As16()
	const overrideFlag = 0x20
	icmp := []byte{136, 0, 0, 0, overrideFlag, 0, 0, 0}
	icmp = append(icmp, src[:]...)
	icmp = append(append(icmp, 2, 1), mac...) // target link-layer address
	pseudo := append(append([]byte{}, src[:]...), dst[:]...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(icmp)))
	pseudo = append(pseudo, 0, 0, 0, unix.IPPROTO_ICMPV6)
	binary.BigEndian.PutUint16(icmp[2:], checksum(append(pseudo, icmp...)))
	const hopLimit = 255 // or it is dropped
	header := []byte{6 << 4, 0, 0, 0, 0, byte(len(icmp)), unix.IPPROTO_ICMPV6, hopLimit}
	return append(append(append(header, src[:]...), dst[:]...), icmp...)
}

// checksum is the Internet checksum of an even number of bytes (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
