package netdev

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestAListThatWasInterruptedIsAskedForAgain(t *testing.T) {
	asked := 0
	list, err := Complete(t.Context(), func() ([]int, error) {
		if asked++; asked < 3 {
			return []int{1}, netlink.ErrDumpInterrupted
		}
		return []int{1, 2}, nil
	})
	if len(list) != 2 || err != nil || asked != 3 {
		t.Errorf("%v, %v after %d questions", list, err, asked)
	}
}

func TestAListThatKeepsChangingIsAnErrorThatSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list, err := Complete(t.Context(), func() ([]int, error) { return []int{1}, netlink.ErrDumpInterrupted })
		if list != nil || !errors.Is(err, netlink.ErrDumpInterrupted) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, %v", list, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		list, err = Complete(ctx, func() ([]int, error) { cancel(); return []int{1}, netlink.ErrDumpInterrupted })
		if list != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("nobody waits: %v, %v", list, err)
		}
		list, err = Complete(t.Context(), func() ([]int, error) { return []int{1}, unix.EPERM })
		if !errors.Is(err, unix.EPERM) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("another error: %v, %v", list, err)
		}
	})
}

// The file of a deleted `ip netns` namespace may outlive its mount.
func TestAFileThatIsNoNamespaceIsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "netns")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if ns, err := OpenNamespace(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, %v", ns, err)
	}
}

// dropPrivileges leaves the test's thread with none.
func dropPrivileges(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // for good: the thread may do nothing any more
	header, none := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
	if err := unix.Capset(&header, &none[0]); err != nil {
		t.Fatal(err)
	}
}

func TestANamespaceThatMayNotBeEnteredLeavesNothingOpen(t *testing.T) {
	dropPrivileges(t)
	open := func() int {
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	const often = 20
	before := open()
	for range often {
		if n, err := OpenNamespace("/proc/thread-self/ns/net"); !errors.Is(err, fs.ErrPermission) {
			t.Fatalf("%v, %v", n, err)
		}
	}
	if more := open() - before; more >= often {
		t.Errorf("%d more files are open", more)
	}
}

func TestARuleThatIsGoneIsDeletedAndOneThatCannotBeIsAnError(t *testing.T) {
	n, err := CurrentNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	rules := []Rule{{Source: netip.MustParseAddr("192.0.2.77"), Table: 7777, Priority: 777}, {Source: netip.MustParseAddr("192.0.2.78"), Table: 7777, Priority: 777}}
	if err := n.DeleteRules(rules); err != nil && os.Getuid() == 0 {
		t.Error(err)
	}
	dropPrivileges(t)
	if err := n.DeleteRules(rules); !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "delete rule from 192.0.2.77 ") || !strings.Contains(err.Error(), "delete rule from 192.0.2.78 ") {
		t.Errorf("%v", err)
	}
}
