package netdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A Socket is a netlink socket. It does two things that the netlink package's
// requests do not: it reads an answer whole, however long it is (a link's
// alternative names alone may be 64 KiB), and an error has the kernel's own
// words (NETLINK_EXT_ACK), not only its number.
type Socket struct {
	mutex sync.Mutex
	fd    int
	last  uint32 // the number of the last request
	room  []byte // for an answer; it grows
}

// answerTimeout is for a kernel that does not answer: it does so before the
// request's system call ends.
const answerTimeout = time.Minute

// OpenSocket opens a socket in a namespace. For the caller's own it needs no
// privilege; entering any other does.
func OpenSocket(ns netns.NsHandle, protocol int) (*Socket, error) {
	if IsOwn(ns) {
		ns = netns.None()
	}
	return openSocket(ns, protocol)
}

// openSocket opens a socket in a namespace, None() being the caller's.
func openSocket(at netns.NsHandle, protocol int) (s *Socket, err error) {
	if !at.IsOpen() {
		return newSocket(protocol)
	}
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer home.Close()
	if err = netns.Set(at); err == nil {
		s, err = newSocket(protocol)
	}
	if back := netns.Set(home); back != nil {
		return nil, errors.Join(err, back) // and never use this thread again
	}
	runtime.UnlockOSThread()
	return s, err
}

// newSocket opens a socket in the namespace of the calling thread.
func newSocket(protocol int) (*Socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, err
	}
	for _, option := range []int{unix.NETLINK_EXT_ACK, unix.NETLINK_CAP_ACK} {
		// A kernel that has no words for its errors can do without.
		_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, option, 1)
	}
	limit := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	return &Socket{fd: fd}, nil
}

// Close closes the socket.
func (s *Socket) Close() { _ = unix.Close(s.fd) }

// raw is a part of a message as it is sent.
type raw []byte

func (r raw) Len() int          { return len(r) }
func (r raw) Serialize() []byte { return r }

// Request sends one message and returns what the kernel answers. For a list
// that changed while the kernel wrote it, the error is
// netlink.ErrDumpInterrupted, and what there is of the list is returned with
// it.
func (s *Socket) Request(command, flags int, parts ...nl.NetlinkRequestData) (answers [][]byte, err error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	r := nl.NewNetlinkRequest(command, flags)
	for _, part := range parts {
		r.AddData(part)
	}
	s.last++
	r.Seq = s.last
	if err := unix.Sendto(s.fd, r.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	return gather(r.Seq, flags, s.receive)
}

// gather returns the answers to the request with a number, sent with flags.
func gather(to uint32, flags int, receive func() ([]syscall.NetlinkMessage, error)) (answers [][]byte, err error) {
	interrupted := false
	for {
		messages, err := receive()
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			if m.Header.Seq != to {
				continue // to a request that was given up
			}
			interrupted = interrupted || m.Header.Flags&unix.NLM_F_DUMP_INTR != 0
			switch m.Header.Type {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				if err := errorOf(m); err != nil {
					return nil, err
				}
				if interrupted {
					return answers, netlink.ErrDumpInterrupted
				}
				return answers, nil
			default:
				answers = append(answers, m.Data)
			}
			if m.Header.Flags&unix.NLM_F_MULTI == 0 && flags&unix.NLM_F_ACK == 0 {
				return answers, nil
			}
		}
	}
}

// The kernel puts as much of a list into one datagram as there was room for before,
// up to mostRoom (netlink_dump), and mostly fills all of that with zeros first
// (init_on_alloc): most lists are short. firstRoom and what the kernel adds to it
// fit into 8 KiB.
//
// So the room also bounds one message of a list. Of one that does not fit, such as
// a route with hundreds of next hops, the kernel says nothing in one empty datagram
// after the other; some of those are on their way when the room has grown.
const (
	firstRoom = 7 << 10
	mostRoom  = 32 << 10
	mostEmpty = 100
)

// receive reads the messages of one datagram, after a look at its length.
func (s *Socket) receive() ([]syscall.NetlinkMessage, error) {
	if s.room == nil {
		s.room = make([]byte, firstRoom)
	}
	for empty := 0; ; {
		n, _, err := unix.Recvfrom(s.fd, s.room, unix.MSG_PEEK|unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, err
		case n > len(s.room):
			s.room = make([]byte, n)
		default:
			datagram := append(make([]byte, 0, n), s.room[:n]...)
			if _, _, err := unix.Recvfrom(s.fd, nil, 0); err != nil {
				return nil, err
			}
			if n == 0 {
				if empty++; empty > mostEmpty {
					return nil, unix.EMSGSIZE
				}
				s.room = make([]byte, max(len(s.room), mostRoom))
				continue
			}
			if n > len(s.room)/2 && len(s.room) < mostRoom { // a long list
				s.room = make([]byte, min(2*len(s.room), mostRoom))
			}
			return syscall.ParseNetlinkMessage(datagram)
		}
	}
}

// errorOf reads the errno of a message that ends an answer, and the kernel's
// words (struct nlmsgerr; NLMSGERR_ATTR_MSG).
func errorOf(m syscall.NetlinkMessage) error {
	if len(m.Data) < 4 {
		return nil // NLMSG_DONE of old
	}
	number := -int32(binary.NativeEndian.Uint32(m.Data))
	if number == 0 {
		return nil
	}
	err := error(syscall.Errno(number))
	rest := m.Data[4:]
	if m.Header.Type == unix.NLMSG_ERROR { // the request follows, or its header
		quoted := unix.NLMSG_HDRLEN
		if m.Header.Flags&unix.NLM_F_CAPPED == 0 && len(rest) >= quoted {
			quoted = align(int(binary.NativeEndian.Uint32(rest)))
		}
		rest = rest[min(quoted, len(rest)):]
	}
	if m.Header.Flags&unix.NLM_F_ACK_TLVS == 0 {
		return err
	}
	if words := valueAt(rest, nl.NLMSGERR_ATTR_MSG); words != nil {
		return fmt.Errorf("%w: %s", err, unix.ByteSliceToString(words))
	}
	return err
}
