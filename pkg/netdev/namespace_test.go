package netdev

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"

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

func TestARuleThatIsGoneIsDeletedAndOneThatCannotBeIsAnError(t *testing.T) {
	n, err := CurrentNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	rules := []Rule{{Source: netip.MustParseAddr("192.0.2.77"), Table: 7777, Priority: 777}}
	if err := n.DeleteRules(rules); err != nil && os.Getuid() == 0 {
		t.Error(err)
	}
	runtime.LockOSThread() // for good: the thread may do nothing any more
	header, none := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
	if err := unix.Capset(&header, &none[0]); err != nil {
		t.Fatal(err)
	}
	if err := n.DeleteRules(rules); !errors.Is(err, unix.EPERM) {
		t.Errorf("%v", err)
	}
}
