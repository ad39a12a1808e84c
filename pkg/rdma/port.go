package rdma

import "strconv"

// LargestMTU is the largest packet of RoCE, in bytes.
const LargestMTU = 4096

// ActiveMTU is the RoCE packet that fits an Ethernet MTU. The kernel has no file
// of it: it is what drivers make of the netdev's MTU (iboe_get_mtu in
// include/rdma/ib_addr.h, whose headers are 96 bytes). 0 if none fits.
func ActiveMTU(ethernet int) int {
	const headers = 40 + 8 + 12 + 4 + 28 + 4 // GRH, UDP, BTH, XRC, atomic, ICRC
	for packet := LargestMTU; packet >= 256; packet /= 2 {
		if ethernet-headers >= packet {
			return packet
		}
	}
	return 0
}

// PortRate is what a port carries, in bits per second; 0 if that cannot be seen.
func (n Node) PortRate(device string, port int) float64 {
	rate, _ := readString(n.class("infiniband", device, "ports", strconv.Itoa(port)), "rate")
	return parseRate(rate)
}
