package attachment

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockWait bounds the wait for a lock. An ADD holds a NIC for as long as its
// IPAM plugin takes, which may be seconds; a runtime gives up on the whole pod
// after minutes.
const lockWait = 20 * time.Second

// A Lock is an exclusive flock(2) on a file of the state folder. The kernel
// releases it when the process ends, however it ends; an IPAM plugin that it
// started does not hold it, and dies with it (package delegate).
//
// Locks are taken in this order: attachment, NIC, RDMA moves. Whoever needs
// several NICs at once takes their locks in the order of the keys; otherwise it
// is never two of a kind by one goroutine.
type Lock struct{ f *os.File }

// A HeldError says who holds a lock that could not be taken in time.
type HeldError struct {
	What   string // "NIC ens12np0"
	Holder string // what the holder wrote of itself, "" if nothing
}

func (e *HeldError) Error() string {
	holder := e.Holder
	if holder == "" {
		holder = "another process"
	}
	return fmt.Sprintf("%s is being changed by %s", e.What, holder)
}

// containerLocks is how many lock files the containers share. It bounds the
// folder's size without ever deleting a lock file, which would race; two
// containers that share a file wait for each other, no more.
const containerLocks = 64

// LockContainer keeps two operations on what one container has apart, such as a DEL
// that comes while the ADD that timed out is still running. It is not for each
// attachment: one call makes several, and who finds one of them, or what is left of
// its record, need not know which call that was.
func (j *Journal) LockContainer(ctx context.Context, id, holder string) (*Lock, error) {
	return j.lock(ctx, lockWait, containerLock(id), "the network of container "+id, holder)
}

func containerLock(id string) string {
	h := fnv.New32a()
	h.Write([]byte(id))
	return fmt.Sprintf("container-%02d", h.Sum32()%containerLocks)
}

// LockNIC keeps two pods from being given one NIC. key is the netdev's
// Identity.Key, what is its name in an error.
func (j *Journal) LockNIC(ctx context.Context, key, what, holder string) (*Lock, error) {
	return j.lock(ctx, lockWait, nicLock(key), "NIC "+what, holder)
}

func nicLock(key string) string { return "nic-" + fileName(key) }

// TryContainer and TryNIC are for a program that lives on and can come again: they
// do not wait, and the error is a HeldError if somebody has the lock.
func (j *Journal) TryContainer(id, holder string) (*Lock, error) {
	return j.lock(context.Background(), 0, containerLock(id), "the network of container "+id, holder)
}

// TryNIC is explained at TryContainer.
func (j *Journal) TryNIC(key, what, holder string) (*Lock, error) {
	return j.lock(context.Background(), 0, nicLock(key), "NIC "+what, holder)
}

// fileName turns a NIC's key into a file name.
func fileName(key string) string { return strings.NewReplacer("/", "_", ":", ".").Replace(key) }

// LockRDMAMoves serialises moves of RDMA devices on the node: two at a time
// may swap the numbers of their character devices.
func (j *Journal) LockRDMAMoves(ctx context.Context, holder string) (*Lock, error) {
	return j.lock(ctx, lockWait, "rdma-moves", "the node's RDMA devices", holder)
}

func (j *Journal) lock(ctx context.Context, wait time.Duration, name, what, holder string) (*Lock, error) {
	path := filepath.Join(j.dir, "locks", name)
	f, err := openLock(path)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", what, err)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	err = flock(f, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = awaitFlock(ctx, f)
	}
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			b, _ := os.ReadFile(path)
			holder, _, _ := strings.Cut(string(b), "\n")
			return nil, &HeldError{What: what, Holder: holder}
		}
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", what, err)
	}
	// The holder's name is only for a message; failing to write it is no reason
	// to fail. The rest of a longer name stays after the line: ext4 takes a
	// file that is truncated and rewritten for one whose content is being
	// replaced, and makes the next one to truncate it wait for the disk.
	_, _ = f.WriteAt([]byte(holder+"\n"), 0)
	return &Lock{f}, nil
}

// awaitFlock waits for the lock of f in the kernel: dozens of processes that ask
// again and again, as after the start of a node, would take the processor from the
// one that has the lock. flock(2) cannot be interrupted from Go: if ctx ends first
// this returns the error of ctx, and the wait goes on until its turn, which closes f,
// or the end of the process. A program that lives on would have a thread more for
// each try while a CNI plugin hangs that has the lock; it does not wait.
func awaitFlock(ctx context.Context, f *os.File) error {
	if ctx.Err() != nil {
		f.Close()
		return ctx.Err()
	}
	locked := make(chan error)
	go func() {
		err := flock(f, unix.LOCK_EX)
		select {
		case locked <- err:
		case <-ctx.Done():
			f.Close()
		}
	}()
	select {
	case err := <-locked:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// openLock opens a lock file, and makes it and its folder if they are missing.
// On a file system that has become read-only it is enough that they exist: the
// NIC of an earlier ADD can still be given back.
func openLock(path string) (*os.File, error) {
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err != nil && !errors.Is(err, unix.EROFS) {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, unix.EROFS) {
		f, err = os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	}
	return f, err
}

// Unlock gives the lock back. Calling it on a nil Lock does nothing.
func (l *Lock) Unlock() {
	if l != nil {
		l.f.Close()
	}
}
