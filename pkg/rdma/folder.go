package rdma

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"

	"github.com/roce-k8s/roce-k8s/pkg/kernelfile"
)

// A folder is one of sysfs that is read again and again, and nearly always has the
// same in it. The kernel's answer has the inode numbers, too: an entry gets a new
// one if it goes and comes back under the same name.
type folder struct {
	path   string
	names  []string // in order
	answer []byte   // the kernel's, that names are made of
}

// look reads a folder and tells whether what is in it has changed since last
// time. One that is not there is empty.
func (i *Inventory) look(f *folder) (changed bool, err error) {
	i.spare, err = readDirents(f.path, i.spare[:0])
	if err != nil || bytes.Equal(i.spare, f.answer) {
		return false, err
	}
	f.answer = bytes.Clone(i.spare)
	f.names = parseDirents(f.answer)
	return true, nil
}

// readDir lists a folder's names in order; a folder that is not there is empty.
func readDir(dir string) ([]string, error) {
	answer, err := readDirents(dir, nil)
	if err != nil {
		return nil, err
	}
	return parseDirents(answer), nil
}

// readDirents is kernelfile.Dirents; a folder that is not there is empty.
func readDirents(dir string, answer []byte) ([]byte, error) {
	found, err := kernelfile.Dirents(dir, answer)
	if errors.Is(err, fs.ErrNotExist) {
		return answer, nil
	}
	return found, err
}

// parseDirents are the names of an answer's entries, in order.
func parseDirents(answer []byte) (names []string) {
	for name := range kernelfile.Entries(answer) {
		names = append(names, string(name))
	}
	slices.Sort(names)
	return names
}
