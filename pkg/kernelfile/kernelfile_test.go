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
