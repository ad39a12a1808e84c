package durable_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/durable"
)

func TestAFolderIsSyncedAndWhatIsNoneIsAnError(t *testing.T) {
	dir := t.TempDir()
	if err := durable.SyncFolder(dir); err != nil {
		t.Error(err)
	}
	if err := durable.SyncFolder(filepath.Join(dir, "absent")); err == nil {
		t.Error("a folder that is not there was synced")
	}
	// The kernel has nothing to write of proc's, and says so to whoever asks for it.
	if err := durable.SyncFolder("/proc/self"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("proc: %v", err)
	}
}

func TestAFolderThatWasSyncedIsClosed(t *testing.T) {
	open := func() int {
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	const often = 100
	dir, before := t.TempDir(), open()
	for range often {
		if err := durable.SyncFolder(dir); err != nil {
			t.Fatal(err)
		}
	}
	if more := open() - before; more >= often {
		t.Errorf("%d more files are open", more)
	}
}
