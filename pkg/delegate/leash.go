package delegate

import (
	"sync"

	"golang.org/x/sys/unix"
)

// A leash ends a process group with SIGKILL when it is let go: by release, or
// by the kernel when this process dies, however that happens.
//
// It is a pipe of which this process alone has both ends. Each end is set to
// report (O_ASYNC, F_SETSIG) to the process group with SIGKILL instead of
// SIGIO. Closing one end is such an event for the other (pipe_release in
// fs/pipe.c calls kill_fasync for both sides), and it does not matter which is
// closed first. The kernel remembers the group and not its number (struct pid
// in f_setown of fs/fcntl.c), so that a leash never kills a stranger who got
// the number later.
type leash struct {
	ends [2]int
	once sync.Once
}

func newLeash() (*leash, error) {
	l := &leash{}
	if err := unix.Pipe2(l.ends[:], unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	err := l.set(unix.F_SETSIG, int(unix.SIGKILL))
	if err == nil {
		err = l.set(unix.F_SETFL, unix.O_ASYNC)
	}
	if err != nil {
		l.release()
		return nil, err
	}
	return l, nil
}

// hold puts the process group of that number on the leash. Its leader must not
// have been waited for.
func (l *leash) hold(group int) error { return l.set(unix.F_SETOWN, -group) }

func (l *leash) set(cmd, arg int) error {
	for _, end := range l.ends {
		if _, err := unix.FcntlInt(uintptr(end), cmd, arg); err != nil {
			return err
		}
	}
	return nil
}

// release ends what is on the leash. It can be called again.
func (l *leash) release() {
	l.once.Do(func() {
		_ = unix.Close(l.ends[0])
		_ = unix.Close(l.ends[1])
	})
}
