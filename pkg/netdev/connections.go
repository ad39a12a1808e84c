package netdev

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// From <linux/inet_diag.h> and <net/tcp_states.h>; the netlink package has no
// names for them.
const (
	sockDiagByFamily    = 20
	inetDiagReqBytecode = 1
	inetDiagBCJmp       = 1
	inetDiagBCSCond     = 7
	tcpEstablished      = 1
	tcpListen           = 10

	sizeofInetDiagReq  = 56
	sizeofInetDiagOp   = 4
	sizeofInetDiagCond = 8
)

// A Connection is a TCP socket: connected to Peer, or, if Peer is not set,
// listening.
type Connection struct{ Local, Peer netip.AddrPort }

func (c Connection) String() string {
	if c.Peer.Port() == 0 {
		return fmt.Sprintf("a program listens on it, port %d", c.Local.Port())
	}
	return fmt.Sprintf("with %s", c.Peer)
}

// mostAddresses is how many addresses one request may be about: its program's
// jumps, and the attribute that holds it, reach 64 KiB.
const mostAddresses = 1000

// Connections lists the namespace's TCP connections from some of its addresses,
// and the sockets that listen on just these. The kernel goes through a table of
// all that there may be, which takes about a millisecond: so ask for several
// addresses at once.
// Equivalent to: `ss -Htn state established state listening src $address or src …`.
func (n *Namespace) Connections(ctx context.Context, addresses []netip.Addr) (all []Connection, err error) {
	socket, err := OpenSocket(n.NS, unix.NETLINK_INET_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open NETLINK_INET_DIAG: %w", err)
	}
	defer socket.Close()
	for some := range slices.Chunk(addresses, mostAddresses) {
		// IPv6 sockets talk IPv4, too.
		of6, err := connections(ctx, socket, unix.AF_INET6, some)
		if err != nil {
			return nil, err
		}
		of4, err := connections(ctx, socket, unix.AF_INET, slices.DeleteFunc(slices.Clone(some), netip.Addr.Is6))
		if err != nil {
			return nil, err
		}
		all = append(all, slices.Concat(of6, of4)...)
	}
	return all, nil
}

// connections are those by the sockets of a family.
func connections(ctx context.Context, socket *Socket, family int, addresses []netip.Addr) (found []Connection, err error) {
	if len(addresses) == 0 {
		return nil, nil
	}
	answers, err := Complete(ctx, func() ([][]byte, error) {
		return socket.Request(sockDiagByFamily, unix.NLM_F_DUMP, raw(inetDiagRequest(family, addresses)))
	})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil // a kernel without tcp_diag, or without IPv6
	}
	if err != nil {
		return nil, fmt.Errorf("list the connections of %s: %w", addresses, err)
	}
	for _, answer := range answers {
		if c, ok := inetDiagConnection(answer); ok {
			found = append(found, c)
		}
	}
	return found, nil
}

// inetDiagRequest asks for a family's TCP sockets, connected or listening, with
// one of some local addresses: a struct inet_diag_req_v2, and a program by which
// the kernel leaves out the others.
func inetDiagRequest(sockets int, addresses []netip.Addr) []byte {
	request := make([]byte, sizeofInetDiagReq)
	request[0], request[1] = byte(sockets), unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(request[4:], 1<<tcpEstablished|1<<tcpListen)
	return append(request, nl.NewRtAttr(inetDiagReqBytecode, isLocal(addresses)).Serialize()...)
}

// isLocal is the program of the condition that a socket's local address is one of
// some (inet_diag_bc_run). An IPv4 address is also that of an IPv6 socket to which
// it is mapped, as Go's listeners have it.
//
// A socket that meets a condition comes to the jump behind it, or behind the last
// to the end of the program, and is accepted; one that does not goes past that, to
// the next condition or past the end, and is rejected.
func isLocal(addresses []netip.Addr) (program []byte) {
	sizeof := func(a netip.Addr) int { return sizeofInetDiagOp + sizeofInetDiagCond + a.BitLen()/8 }
	end := -sizeofInetDiagOp
	for _, a := range addresses {
		end += sizeof(a) + sizeofInetDiagOp
	}
	for _, a := range addresses {
		program = inetDiagOp(program, inetDiagBCSCond, sizeof(a), sizeof(a)+sizeofInetDiagOp)
		program = append(program, byte(family(a)), byte(a.BitLen()), 0, 0)
		program = binary.NativeEndian.AppendUint32(program, ^uint32(0)) // any port
		program = append(program, a.AsSlice()...)
		if left := end - len(program); left > 0 {
			program = inetDiagOp(program, inetDiagBCJmp, sizeofInetDiagOp, left)
		}
	}
	return program
}

// inetDiagOp appends a struct inet_diag_bc_op: how far to go if it is true, and if
// not. A jump is never true.
func inetDiagOp(program []byte, code byte, yes, no int) []byte {
	return binary.NativeEndian.AppendUint16(append(program, code, byte(yes)), uint16(no))
}

// inetDiagConnection reads a struct inet_diag_msg.
func inetDiagConnection(answer []byte) (Connection, bool) {
	const portsAt, localAt, peerAt, end = 4, 8, 24, 40
	if len(answer) < end {
		return Connection{}, false
	}
	length := 4
	if answer[0] == unix.AF_INET6 {
		length = 16
	}
	at := func(address, port int) netip.AddrPort {
		a, _ := netip.AddrFromSlice(answer[address : address+length])
		return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(answer[port:]))
	}
	return Connection{Local: at(localAt, portsAt), Peer: at(peerAt, portsAt+2)}, true
}
