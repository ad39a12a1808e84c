package chain

import (
	"os"

	"golang.org/x/sys/unix"
)

// installers are those of a node: each has a shared lock on the folder of the CNI
// plugins while it lives, which the kernel releases when it dies.
type installers struct{ folder *os.File }

// join adds this process to the node's installers.
func join(folder string) installers {
	f, err := os.Open(folder)
	if err != nil {
		return installers{} // of a folder that is not there
	}
	_ = unix.Flock(int(f.Fd()), unix.LOCK_SH)
	return installers{f}
}

// last tells whether no other is left.
func (i installers) last() bool {
	return i.folder == nil || unix.Flock(int(i.folder.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}

func (i installers) leave() {
	if i.folder != nil {
		_ = i.folder.Close()
	}
}
