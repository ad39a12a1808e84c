package kernelfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

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
	answer, err := kernelfile.Dirents(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, inode := range kernelfile.Entries(answer) {
		if !want[string(name)] || inode == 0 {
			t.Errorf("%s, inode %d", name, inode)
		}
		delete(want, string(name))
	}
	if len(want) > 0 {
		t.Errorf("%d files are missing", len(want))
	}
	if got, err := kernelfile.ReadAll(filepath.Join(dir, "a-process-with-a-long-name-7")); !bytes.Equal(got, content) || err != nil {
		t.Errorf("%d bytes of %d, %v", len(got), len(content), err)
	}
}
