package netdev

import (
	"context"
	"errors"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// survey lists the other namespaces that have a link like the one wanted, of
// all that this process can reach. A node has hundreds, so it opens no more of
// each than it needs, on a thread that goes from one to the next and then ends.
func (n *Namespace) survey(ctx context.Context, wanted func(answer []byte) bool) (found []string) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good
		var room []byte
		for path := range distinctNamespaces(ctx, false, n.ID) {
			s := enterWithSocket(path)
			if s == nil {
				continue // it ended since
			}
			s.room = room
			answers, err := dumpLinks(s)
			room = s.room
			s.Close()
			for _, answer := range answers {
				if wanted(answer) && (err == nil || errors.Is(err, netlink.ErrDumpInterrupted)) {
					found = append(found, path)
					break
				}
			}
		}
	}()
	<-done
	return found
}

// enterWithSocket takes the calling thread into a namespace and opens a socket
// there, nil if it cannot.
func enterWithSocket(path string) *Socket {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer func() { _ = unix.Close(fd) }()
	if unix.Setns(fd, unix.CLONE_NEWNET) != nil {
		return nil
	}
	s, err := newSocket(unix.NETLINK_ROUTE)
	if err != nil {
		return nil
	}
	return s
}
