package netdev

import (
	"net"
	"net/netip"
)

// The netlink and CNI packages speak in the types of package net, this project
// in those of net/netip, which compare.

// Addr is an address in the other type; nil is the zero Addr.
func Addr(ip net.IP) netip.Addr {
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

// Prefix is an address with its prefix length in the other type.
func Prefix(n *net.IPNet) netip.Prefix {
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(Addr(n.IP), ones)
}

// IPNet is the way back from Prefix.
func IPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
