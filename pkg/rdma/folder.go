package rdma

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/kernelfile"
)

// An object is an entry of a folder of sysfs. Each has its own inode number,
// and gets a new one if it goes and comes back under the same name; a renamed
// one keeps it.
type object struct {
	name  string
	inode uint64
}

// A folder is one that is read again and again, and nearly always has the same
// in it.
type folder struct {
	path    string
	objects []object // in the order of their names
	answer  []byte   // the kernel's, that objects are made of
}

// look reads a folder and tells whether what is in it has changed since last
// time. One that is not there is empty.
func (i *Inventory) look(f *folder) (changed bool, err error) {
	i.spare, err = readDirents(f.path, i.spare[:0])
	if err != nil || bytes.Equal(i.spare, f.answer) {
		return false, err
	}
	f.answer = bytes.Clone(i.spare)
	f.objects = parseDirents(f.answer)
	return true, nil
}

// readDir lists a folder's names in order; a folder that is not there is empty.
func readDir(dir string) ([]string, error) {
	answer, err := readDirents(dir, nil)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, o := range parseDirents(answer) {
		names = append(names, o.name)
	}
	return names, nil
}

// readDirents is kernelfile.Dirents; a folder that is not there is empty.
func readDirents(dir string, answer []byte) ([]byte, error) {
	found, err := kernelfile.Dirents(dir, answer)
	if errors.Is(err, fs.ErrNotExist) {
		return answer, nil
	}
	return found, err
}

// parseDirents sorts the entries of an answer by name.
func parseDirents(answer []byte) (objects []object) {
	for name, inode := range kernelfile.Entries(answer) {
		objects = append(objects, object{string(name), inode})
	}
	slices.SortFunc(objects, func(a, b object) int { return strings.Compare(a.name, b.name) })
	return objects
}
