package rdma

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

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

// direntsAtOnce is the room for the answer of one getdents64(2).
const direntsAtOnce = 4096

// readDirents adds what getdents64(2) says of a folder to answer.
func readDirents(dir string, answer []byte) ([]byte, error) {
	fd, err := kernelfile.Open(dir, unix.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) {
		return answer, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	return readOpenDirents(fd, dir, answer)
}

// readOpenDirents is readDirents for an open folder.
func readOpenDirents(fd int, dir string, answer []byte) ([]byte, error) {
	for {
		answer = slices.Grow(answer, direntsAtOnce)
		free := answer[len(answer):cap(answer)]
		n, err := kernelfile.IgnoringEINTR(func() (int, error) { return unix.ReadDirent(fd, free) })
		if err != nil {
			return nil, &fs.PathError{Op: "readdir", Path: dir, Err: err}
		}
		if n <= 0 {
			return answer, nil
		}
		answer = answer[:len(answer)+n]
	}
}

// parseDirents reads the entries of getdents64(2) and sorts them by name.
func parseDirents(b []byte) []object {
	var objects []object
	for inode, name := range dirents(b) {
		objects = append(objects, object{string(name), inode})
	}
	slices.SortFunc(objects, func(a, b object) int { return strings.Compare(a.name, b.name) })
	return objects
}

// dirents goes through the entries of getdents64(2), with inode number and name.
func dirents(b []byte) iter.Seq2[uint64, []byte] {
	return func(yield func(uint64, []byte) bool) {
		const inodeAt, sizeAt, nameAt = 0, 16, 19 // in struct linux_dirent64
		for len(b) > nameAt {
			size := int(binary.NativeEndian.Uint16(b[sizeAt:]))
			if size <= nameAt || size > len(b) {
				return
			}
			name, _, _ := bytes.Cut(b[nameAt:size], []byte{0})
			if string(name) != "." && string(name) != ".." && !yield(binary.NativeEndian.Uint64(b[inodeAt:]), name) {
				return
			}
			b = b[size:]
		}
	}
}
