// Package kernelfile reads the small files and the folders of proc and sysfs, of
// which there are thousands.
//
// It knows how to ask the kernel with few system calls. It must not know what
// the files say.
package kernelfile

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// longestValue bounds what is read of a file, in bytes. A file may have a page;
// the longest one that is read here is a GID, of 40.
const longestValue = 256

// Read reads a file without the white space around it. Package os would
// register each with the runtime's poller: ten system calls a file instead of
// three.
func Read(path string) (string, error) {
	fd, err := Open(path, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(fd) }()
	buf := make([]byte, longestValue)
	n, err := IgnoringEINTR(func() (int, error) { return unix.Read(fd, buf) })
	if err != nil {
		return "", &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return strings.TrimSpace(string(buf[:n])), nil
}

// ReadIn is Read for a file of an open folder: it spares the kernel the way
// there. What it returns is in room.
func ReadIn(folder int, name string, room []byte) ([]byte, error) {
	fd, err := IgnoringEINTR(func() (int, error) { return unix.Openat(folder, name, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	n, err := IgnoringEINTR(func() (int, error) { return unix.Read(fd, room) })
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return bytes.TrimSpace(room[:n]), nil
}

// Open opens a file or folder to read; the caller closes the descriptor.
func Open(path string, flags int) (int, error) {
	fd, err := IgnoringEINTR(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0) })
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
