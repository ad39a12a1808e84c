package netdev

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// From <linux/inet_diag.h> and <net/tcp_states.h>; the netlink package has no
// names for them.
const (
	sockDiagByFamily    = 20
	inetDiagReqBytecode = 1
	inetDiagBCSCond     = 7
	tcpEstablished      = 1
	tcpListen           = 10

	sizeofInetDiagReq  = 56
	sizeofInetDiagOp   = 4
	sizeofInetDiagCond = 8
)

// A Connection is a TCP socket: connected to Peer, or, if Peer is not set,
// listening on Port.
type Connection struct {
	Port uint16
	Peer netip.AddrPort
}

func (c Connection) String() string {
	if c.Peer.Port() == 0 {
		return fmt.Sprintf("a program listens on it, port %d", c.Port)
	}
	return fmt.Sprintf("with %s", c.Peer)
}

// Connections lists the namespace's TCP connections from one of its addresses,
// and the sockets that listen on this very address.
// Equivalent to: `ss -Htn state established state listening src $address`.
func (n *Namespace) Connections(ctx context.Context, address netip.Addr) ([]Connection, error) {
	socket, err := OpenSocket(n.NS, unix.NETLINK_INET_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open NETLINK_INET_DIAG: %w", err)
	}
	defer socket.Close()
	families := []int{unix.AF_INET6} // its sockets talk IPv4, too
	if address.Is4() {
		families = append(families, unix.AF_INET)
	}
	var connections []Connection
	for _, family := range families {
		answers, err := Complete(ctx, func() ([][]byte, error) {
			return socket.Request(sockDiagByFamily, unix.NLM_F_DUMP, raw(inetDiagRequest(family, address)))
		})
		if errors.Is(err, unix.ENOENT) {
			continue // a kernel without tcp_diag, or without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("list the connections of %s: %w", address, err)
		}
		for _, answer := range answers {
			if c, ok := inetDiagConnection(answer); ok {
				connections = append(connections, c)
			}
		}
	}
	return connections, nil
}

// inetDiagRequest asks for a family's TCP sockets, connected or listening, with a
// local address: a struct inet_diag_req_v2, and a program of one instruction by
// which the kernel leaves out the others (inet_diag_bc_run). An IPv4 address is
// also that of an IPv6 socket to which it is mapped, as Go's listeners have it.
func inetDiagRequest(sockets int, address netip.Addr) []byte {
	family := byte(family(address))
	request := make([]byte, sizeofInetDiagReq)
	request[0], request[1] = byte(sockets), unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(request[4:], 1<<tcpEstablished|1<<tcpListen)

	size := sizeofInetDiagOp + sizeofInetDiagCond + address.BitLen()/8
	// A socket that meets the condition goes on after it, to the end of the
	// program, and is accepted; one that does not is sent past the end, and is
	// rejected.
	program := []byte{inetDiagBCSCond, byte(size)}
	program = binary.NativeEndian.AppendUint16(program, uint16(size+sizeofInetDiagOp))
	program = append(program, family, byte(address.BitLen()), 0, 0)
	program = binary.NativeEndian.AppendUint32(program, ^uint32(0)) // any port
	program = append(program, address.AsSlice()...)
	return append(request, nl.NewRtAttr(inetDiagReqBytecode, program).Serialize()...)
}

// inetDiagConnection reads a struct inet_diag_msg.
func inetDiagConnection(answer []byte) (Connection, bool) {
	const ownPortAt, portAt, addressAt, end = 4, 6, 24, 40
	if len(answer) < end {
		return Connection{}, false
	}
	length := 4
	if answer[0] == unix.AF_INET6 {
		length = 16
	}
	address, _ := netip.AddrFromSlice(answer[addressAt : addressAt+length])
	return Connection{
		Port: binary.BigEndian.Uint16(answer[ownPortAt:]),
		Peer: netip.AddrPortFrom(address.Unmap(), binary.BigEndian.Uint16(answer[portAt:])),
	}, true
}
