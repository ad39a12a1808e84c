package rdma

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// longestValue bounds what is read of a file of sysfs, in bytes. A file may
// have a page; the longest one that is read here is a GID, of 40.
const longestValue = 256

func readString(dir, file string) (string, error) {
	return readFile(filepath.Join(dir, file))
}

// readFile reads a file of sysfs without the white space around it. Package
// os would offer each of the thousands of small files to the runtime's poller:
// ten system calls a file where three do.
func readFile(path string) (string, error) {
	fd, err := open(path, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(fd) }()
	buf := make([]byte, longestValue)
	n, err := ignoringEINTR(func() (int, error) { return unix.Read(fd, buf) })
	if err != nil {
		return "", &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return strings.TrimSpace(string(buf[:n])), nil
}

func open(path string, flags int) (int, error) {
	fd, err := ignoringEINTR(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0) })
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// ignoringEINTR repeats a system call that one of the Go runtime's signals
// interrupted, as package os does.
func ignoringEINTR(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// readState reads "4: ACTIVE" as "ACTIVE".
func readState(path string) string {
	s, _ := readFile(path)
	_, state, _ := strings.Cut(s, ": ")
	return state
}

func readHexID(dir, file string) string {
	s, _ := readString(dir, file)
	return strings.TrimPrefix(s, "0x")
}
