package kernelfile_test

import (
	"errors"
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
