// Package trusted reads files that root acts upon: it trusts only what
// nobody but root can have written.
//
// It knows owners, modes and links. It must not know what is in the files.
package trusted

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// An Error says why a file or folder is not trusted.
type Error struct {
	Path   string
	What   string // what is wrong with it
	Advice string
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s; %s", e.Path, e.What, e.Advice) }

// othersWrite are the mode bits that let others than the owner write.
const othersWrite = 0o022

// ReadFile reads a file of at most limit bytes. The file must be a regular one,
// not a link, owned by root (or the caller), and not writable by others: an
// *Error says what it is instead. A file that is not there is fs.ErrNotExist.
func ReadFile(path string, limit int64) ([]byte, error) {
	// Without O_NONBLOCK a FIFO would have us wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, syscall.ELOOP):
		return nil, &Error{path, "is a symbolic link", "put the file itself there"}
	case errors.Is(err, syscall.ENXIO): // a socket
		return nil, &Error{path, "is not a regular file", "remove it"}
	case err != nil:
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &Error{path, "is not a regular file", "remove it"}
	}
	if err := check(path, info); err != nil {
		return nil, err
	}
	b := bytes.NewBuffer(make([]byte, 0, min(info.Size(), limit)+bytes.MinRead)) // read at once
	if _, err := b.ReadFrom(io.LimitReader(f, limit+1)); err != nil {
		return nil, err
	}
	if int64(b.Len()) > limit {
		return nil, &Error{path, fmt.Sprintf("has more than %d bytes", limit), "is it the right file?"}
	}
	return b.Bytes(), nil
}

// Transient tells whether an error of ReadFile says nothing about the file: the
// process, or the kernel, has no room to open it. Whoever takes such a file for
// a bad or a missing one loses what it says.
func Transient(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// Unread tells whether an error of ReadFile is the kernel's and not about what is
// in that place: a disk that fails, a security module that does not allow it, no
// room to open it. The file may be as good as ever.
func Unread(err error) bool {
	var errno syscall.Errno
	switch errors.As(err, &errno); errno {
	case 0, syscall.ENOENT, syscall.ENOTDIR, syscall.EISDIR, syscall.ELOOP, syscall.ENXIO, syscall.ENAMETOOLONG:
		return false
	}
	return true
}

// CheckDir refuses a folder in which users other than root could put files: it
// must be a folder, not a link, owned by root (or the caller), and not writable
// by others. One that is not there is fine: root will make it.
func CheckDir(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() == fs.ModeSymlink:
		return &Error{path, "is a symbolic link", "name the folder that it leads to"}
	case !info.IsDir():
		return &Error{path, "is not a folder", "remove it, or name another folder"}
	}
	return check(path, info)
}

func check(path string, info fs.FileInfo) error {
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		owner := "another user's"
		if ok {
			owner = fmt.Sprintf("user %d's", st.Uid)
		}
		return &Error{path, "is " + owner + ", not root's", "find out who made it, then: chown root " + path}
	}
	if mode := info.Mode().Perm(); mode&othersWrite != 0 {
		return &Error{path, fmt.Sprintf("is writable by users other than root (mode %04o)", mode), "find out who allowed that, then: chmod go-w " + path}
	}
	return nil
}
