package rdma

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/kernelfile"
)

func readString(dir, file string) (string, error) {
	return kernelfile.Read(filepath.Join(dir, file))
}

// readOptional reads a file that not every netdev has; it is "" if there is
// none, or the driver has nothing to say. An error means that it cannot be
// opened (a process may have only so many files open), which says neither yes
// nor no.
func readOptional(path string) (string, error) {
	s, err := kernelfile.Read(path)
	if saysNothing(err) {
		return "", nil
	}
	return s, err
}

// saysNothing tells whether an error is the kernel's answer about a netdev. To
// open a file of one that is just being removed is ENODEV (kernfs_fop_open in
// fs/kernfs/file.c).
func saysNothing(err error) bool {
	failed := (*fs.PathError)(nil)
	return errors.As(err, &failed) &&
		(failed.Op == "read" || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV))
}

// readState reads "4: ACTIVE" as "ACTIVE".
func readState(path string) string {
	s, _ := kernelfile.Read(path)
	_, state, _ := strings.Cut(s, ": ")
	return state
}

func readHexID(dir, file string) string {
	s, _ := readString(dir, file)
	return strings.TrimPrefix(s, "0x")
}
