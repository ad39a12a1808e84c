package doctor

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAFileIsWrittenThroughNoLinkThatWasThereBefore(t *testing.T) {
	dir := t.TempDir()
	path, victim := filepath.Join(dir, "rails.json"), filepath.Join(dir, "victim")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(victim, []byte("precious"), 0o600))
	for _, link := range []string{".rails.json.new", "rails.json"} {
		must(os.Symlink(victim, filepath.Join(dir, link)))
	}
	must(replace(path, []byte("{}")))
	if b, _ := os.ReadFile(victim); string(b) != "precious" {
		t.Errorf("the link's target is %q", b)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != 0o644 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// Who reads the folder passes over names that begin with a dot.
func TestNobodySeesHalfOfAFile(t *testing.T) {
	dir := t.TempDir()
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, dir, unix.IN_CREATE|unix.IN_MODIFY|unix.IN_MOVED_TO); err != nil {
		t.Fatal(err)
	}
	if err := replace(filepath.Join(dir, "features"), []byte("a=1\n")); err != nil {
		t.Fatal(err)
	}
	events := make([]byte, 4096)
	n, err := unix.Read(watch, events)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for at := 0; at < n; seen++ { // struct inotify_event: its mask, and the name behind 16 bytes
		mask := binary.NativeEndian.Uint32(events[at+4:])
		length := int(binary.NativeEndian.Uint32(events[at+12:]))
		name := unix.ByteSliceToString(events[at+16 : at+16+length])
		if whole := mask&unix.IN_MOVED_TO != 0; whole != (name == "features") || !whole && name[0] != '.' {
			t.Errorf("%s: %#x", name, mask)
		}
		at += 16 + length
	}
	if seen < 2 {
		t.Errorf("%d events", seen)
	}
}

func TestWhatCannotBeWrittenLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "taken", "by"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := replace(filepath.Join(dir, "taken"), []byte("{}")); err == nil {
		t.Error("a file has replaced a folder")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left: %v", entries)
	}
}
