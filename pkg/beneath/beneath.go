// Package beneath writes and removes files below a folder whose names somebody
// else chooses. Whatever the name, and whatever the folder holds, nothing
// outside of it is touched.
//
// It knows paths and folders. It must not know what is in the files.
package beneath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	dirMode  = 0o755
	fileMode = 0o444
	// newSuffix marks a file that is being written. A crash may leave one; the
	// next Write or Remove of the same path clears it.
	newSuffix = ".new"
)

// Write puts content into the file path, which must be absolute and below the
// folder dir. It appears whole or not at all, with the folders that it needs.
// A regular file that is there is replaced, anything else is an error.
//
// dir itself may lead through symbolic links, as /var/run does: they are the
// administrator's. What is beneath may not.
func Write(dir, path string, content []byte) error {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	folder, name, err := open(dir, path, true)
	if err != nil {
		return err
	}
	defer folder.Close()
	if _, err := isFile(folder, name, path); err != nil {
		return err
	}
	if err := create(folder, name+newSuffix, content); err != nil {
		return fmt.Errorf("write %s: %w", path+newSuffix, err)
	}
	// Whatever has the name by now: a rename replaces a link instead of
	// following it, and it does not replace a folder.
	if err := unix.Renameat(int(folder.Fd()), name+newSuffix, int(folder.Fd()), name); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), unix.Unlinkat(int(folder.Fd()), name+newSuffix, 0))
	}
	return nil
}

// Remove removes the file path, which must be absolute and below the folder
// dir, and what an interrupted Write of it left. It removes regular files
// only. A file that is not there is not an error.
func Remove(dir, path string) error {
	folder, name, err := open(dir, path, false)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer folder.Close()
	for _, name := range []string{name + newSuffix, name} {
		there, err := isFile(folder, name, filepath.Join(filepath.Dir(path), name))
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		if err := unix.Unlinkat(int(folder.Fd()), name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove %s: %w", path, err)
		}
	}
	return nil
}

// open opens the folder that has the file path, for the calls whose names end
// in "at", and returns the file's name in it.
//
// Each step is one name, opened in the folder before it without following a
// link: what openat2(2) does with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS. That
// call could not make the folders that are missing, and needs Linux 5.6.
func open(dir, path string, create bool) (folder *os.File, name string, err error) {
	rel, below := strings.CutPrefix(path, filepath.Clean(dir)+"/")
	if !below || !filepath.IsAbs(path) || path != filepath.Clean(path) {
		return nil, "", fmt.Errorf("%q is not a path below %s; use one, without \"..\"", path, dir)
	}
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	folder, err = os.OpenFile(dir, flags, 0)
	if err != nil {
		return nil, "", err
	}
	steps := strings.Split(rel, "/")
	name = steps[len(steps)-1]
	for _, step := range steps[:len(steps)-1] {
		if create {
			err = unix.Mkdirat(int(folder.Fd()), step, dirMode)
		}
		next := -1
		if err == nil || errors.Is(err, unix.EEXIST) {
			next, err = unix.Openat(int(folder.Fd()), step, flags|unix.O_NOFOLLOW, 0)
		}
		folder.Close()
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			return nil, "", fmt.Errorf("open %s: %q is a symbolic link or not a folder; below %s only real folders are allowed, so remove it", path, step, dir)
		}
		if err != nil {
			return nil, "", fmt.Errorf("open folder %q of %s: %w", step, path, err)
		}
		folder = os.NewFile(uintptr(next), step)
	}
	return folder, name, nil
}

// isFile tells whether a name is there. If so, it must be a regular file.
func isFile(folder *os.File, name, path string) (there bool, err error) {
	var st unix.Stat_t
	err = unix.Fstatat(int(folder.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look for %s: %w", path, err)
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return false, fmt.Errorf("%s is not a regular file, so it is not ours; remove it", path)
	}
	return true, nil
}

// create writes a new file in a folder.
func create(folder *os.File, name string, content []byte) error {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(int(folder.Fd()), name, flags, fileMode)
	if errors.Is(err, unix.EEXIST) { // of a Write that was interrupted
		if err := unix.Unlinkat(int(folder.Fd()), name, 0); err != nil {
			return err
		}
		fd, err = unix.Openat(int(folder.Fd()), name, flags, fileMode)
	}
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(fileMode), f.Close()) // the mode, whatever the umask
	if err != nil {
		return errors.Join(err, unix.Unlinkat(int(folder.Fd()), name, 0))
	}
	return nil
}
