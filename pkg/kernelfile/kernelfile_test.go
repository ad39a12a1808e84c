package kernelfile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/kernelfile"
)

func TestALongValueIsReadWhole(t *testing.T) {
	path, gid := filepath.Join(t.TempDir(), "gid"), "0000:0000:0000:0000:0000:ffff:ac1f:0101"
	if err := os.WriteFile(path, []byte(gid+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := kernelfile.Read(path); s != gid || err != nil {
		t.Errorf("%q, %v", s, err)
	}
}

func TestNothingThatIsReadStaysOpen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	if err := os.WriteFile(path, []byte("4: ACTIVE\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const often = 100
	open := func() int {
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	for name, read := range map[string]func() error{
		"Read":    func() error { _, err := kernelfile.Read(path); return err },
		"ReadAll": func() error { _, err := kernelfile.ReadAll(path); return err },
		"Dirents": func() error { _, err := kernelfile.Dirents(dir, nil); return err },
		"a folder": func() error {
			folder, err := kernelfile.OpenFolder(dir)
			if err != nil {
				return err
			}
			defer folder.Close()
			_, err = folder.Read("state")
			return err
		},
	} {
		before := open()
		for range often {
			if err := read(); err != nil {
				t.Fatal(err)
			}
		}
		if more := open() - before; more >= often {
			t.Errorf("%s: %d more files are open", name, more)
		}
	}
}

func TestAFileIsReadWithoutTheSpaceAroundIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(path, []byte(" 4: ACTIVE\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := kernelfile.Read(path); s != "4: ACTIVE" || err != nil {
		t.Errorf("%q, %v", s, err)
	}
	if _, err := kernelfile.Read(path + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestAFolderAndAFileAreReadWholeWhateverTheirLength(t *testing.T) {
	dir, content, want := t.TempDir(), bytes.Repeat([]byte("child "), 2000), map[string]bool{}
	for i := range 500 {
		name := fmt.Sprintf("a-process-with-a-long-name-%d", i)
		want[name] = true
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, before := range []string{"", "before"} { // the kernel fills the room, or not
		answer, err := kernelfile.Dirents(dir, []byte(before))
		if err != nil {
			t.Fatal(err)
		}
		answer, ok := bytes.CutPrefix(answer, []byte(before))
		if !ok {
			t.Error("what was there before is gone")
		}
		found := map[string]bool{}
		for name := range kernelfile.Entries(answer) {
			if !want[string(name)] || found[string(name)] {
				t.Errorf("there is no %s, or it comes twice", name)
			}
			found[string(name)] = true
		}
		if len(found) != len(want) {
			t.Errorf("%d of %d files", len(found), len(want))
		}
	}
	if got, err := kernelfile.ReadAll(filepath.Join(dir, "a-process-with-a-long-name-7")); !bytes.Equal(got, content) || err != nil {
		t.Errorf("%d bytes of %d, %v", len(got), len(content), err)
	}
}

func TestFilesOfAFolderAreReadByTheirNamesInIt(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"state": " 4: ACTIVE\n", "rate": "100 Gb/sec\n", "empty": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	folder, err := kernelfile.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	for name, want := range map[string]string{"state": "4: ACTIVE", "rate": "100 Gb/sec", "empty": ""} {
		if s, err := folder.Read(name); s != want || err != nil {
			t.Errorf("%s: %q, %v", name, s, err)
		}
		room := make([]byte, 64)
		if b, err := folder.ReadInto(name, room); string(b) != want || err != nil || want != "" && !bytes.Contains(room, b) {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	names := map[string]bool{}
	answer, err := folder.Dirents(nil)
	for name := range kernelfile.Entries(answer) {
		names[string(name)] = true
	}
	if len(names) != 3 || !names["state"] || err != nil {
		t.Errorf("%v, %v", names, err)
	}
}

func TestAnErrorNamesWhatWasDoneAndTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	folder, err := kernelfile.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	for want, read := range map[string]func() error{
		"read " + dir + ": is a directory":              func() error { _, err := kernelfile.Read(dir); return err },
		"open " + path + "x: no such file or directory": func() error { _, err := kernelfile.ReadAll(path + "x"); return err },
		"open " + path + ": not a directory":            func() error { _, err := kernelfile.Dirents(path, nil); return err },
		"open none: no such file or directory":          func() error { _, err := folder.Read("none"); return err },
	} {
		if err := read(); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if f, err := kernelfile.OpenFolder(path); err == nil {
		f.Close()
		t.Error("a file was opened as a folder")
	}
}

func TestAProgramThatIsStartedHasNoFileOfOurs(t *testing.T) {
	fd, err := kernelfile.Open(t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 || err != nil {
		t.Errorf("flags %x, %v", flags, err)
	}
}

func TestACallIsRepeatedWhenASignalInterruptedItAndNotOtherwise(t *testing.T) {
	for _, tt := range []struct {
		errs  []error
		calls int
	}{{[]error{nil}, 1}, {[]error{unix.EINTR, unix.EINTR, nil}, 3}, {[]error{unix.EINTR, unix.EIO, nil}, 2}} {
		calls := 0
		n, err := kernelfile.IgnoringEINTR(func() (int, error) { calls++; return 10 + calls, tt.errs[calls-1] })
		if calls != tt.calls || n != 10+calls || !errors.Is(err, tt.errs[calls-1]) {
			t.Errorf("%v: %d calls, %d, %v", tt.errs, calls, n, err)
		}
	}
}

func TestADamagedListOfAFolderEnds(t *testing.T) {
	entry := func(size uint16, name string) []byte {
		b := binary.NativeEndian.AppendUint64(nil, 7)
		b = binary.NativeEndian.AppendUint16(append(b, make([]byte, 8)...), size)
		return append(append(b, 0), name...)
	}
	whole := entry(24, "a\x00\x00\x00\x00")
	for what, damaged := range map[string][]byte{
		"nothing": nil, "cut off": whole[:18], "of no length": entry(0, "b\x00\x00\x00\x00"), "longer than the list": entry(25, "b\x00\x00\x00\x00"), "without a name": entry(19, "b\x00"),
	} {
		names := ""
		for name := range kernelfile.Entries(append(bytes.Clone(whole), damaged...)) {
			names += string(name) + " "
		}
		if names != "a " {
			t.Errorf("%s: %s", what, names)
		}
	}
	for range kernelfile.Entries(append(bytes.Clone(whole), whole...)) {
		break // the loop may end early
	}
}
