// Package kernelfile reads the small files and the folders of proc and sysfs, of
// which there are thousands.
//
// It knows how to ask the kernel with few system calls. It must not know what
// the files say.
package kernelfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"iter"
	"slices"

	"golang.org/x/sys/unix"
)

// longestValue bounds what is read of a file, in bytes. A file may have a page;
// the longest one that is read here is a GID, of 40.
const longestValue = 256

// Read reads a file without the white space around it. Package os would
// register each with the runtime's poller: ten system calls a file instead of
// three.
func Read(path string) (string, error) {
	value, err := readAt(unix.AT_FDCWD, path, make([]byte, longestValue))
	return string(value), err
}

// A Folder is an open one, for whoever reads many of its files: the way to one may
// take longer than reading it.
type Folder struct {
	fd   int
	path string
}

// OpenFolder opens a folder.
func OpenFolder(path string) (Folder, error) {
	fd, err := Open(path, unix.O_DIRECTORY)
	return Folder{fd, path}, err
}

// Close closes the folder.
func (f Folder) Close() { _ = unix.Close(f.fd) }

// Read is Read of a file in the folder.
func (f Folder) Read(name string) (string, error) {
	value, err := f.ReadInto(name, make([]byte, longestValue))
	return string(value), err
}

// ReadInto is Read into room, of which the answer is a part.
func (f Folder) ReadInto(name string, room []byte) ([]byte, error) { return readAt(f.fd, name, room) }

// Dirents is Dirents of the folder.
func (f Folder) Dirents(answer []byte) ([]byte, error) {
	return appendOpen(f.fd, f.path, "readdir", unix.ReadDirent, answer)
}

func readAt(folder int, path string, room []byte) ([]byte, error) {
	fd, err := openAt(folder, path, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	n, err := IgnoringEINTR(func() (int, error) { return unix.Read(fd, room) })
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return bytes.TrimSpace(room[:n]), nil
}

// ReadAll reads a file of any length.
func ReadAll(path string) ([]byte, error) { return appendAll(path, 0, "read", unix.Read, nil) }

// Dirents adds what getdents64(2) says of a folder to answer, for Entries.
func Dirents(dir string, answer []byte) ([]byte, error) {
	return appendAll(dir, unix.O_DIRECTORY, "readdir", unix.ReadDirent, answer)
}

// atOnce is the room for one answer of the kernel.
const atOnce = 4096

// appendAll adds to answer what a call reads of a file until there is no more.
func appendAll(path string, flags int, name string, call func(fd int, free []byte) (int, error), answer []byte) ([]byte, error) {
	fd, err := Open(path, flags)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	return appendOpen(fd, path, name, call, answer)
}

func appendOpen(fd int, path, name string, call func(fd int, free []byte) (int, error), answer []byte) ([]byte, error) {
	for {
		answer = slices.Grow(answer, atOnce)
		free := answer[len(answer):cap(answer)]
		n, err := IgnoringEINTR(func() (int, error) { return call(fd, free) })
		if err != nil {
			return nil, &fs.PathError{Op: name, Path: path, Err: err}
		}
		if n <= 0 {
			return answer, nil
		}
		answer = answer[:len(answer)+n]
	}
}

// Entries goes through the names in an answer of getdents64(2), which they are
// parts of.
func Entries(answer []byte) iter.Seq[[]byte] {
	const sizeAt, nameAt = 16, 19 // in struct linux_dirent64
	return func(yield func(name []byte) bool) {
		for b := answer; len(b) > nameAt; {
			size := int(binary.NativeEndian.Uint16(b[sizeAt:]))
			if size <= nameAt || size > len(b) {
				return
			}
			name, _, _ := bytes.Cut(b[nameAt:size], []byte{0})
			if string(name) != "." && string(name) != ".." && !yield(name) {
				return
			}
			b = b[size:]
		}
	}
}

// Open opens a file or folder to read; the caller closes the descriptor.
func Open(path string, flags int) (int, error) { return openAt(unix.AT_FDCWD, path, flags) }

func openAt(folder int, path string, flags int) (int, error) {
	fd, err := IgnoringEINTR(func() (int, error) { return unix.Openat(folder, path, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0) })
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// IgnoringEINTR repeats a system call that one of the Go runtime's signals
// interrupted, as package os does.
func IgnoringEINTR(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
