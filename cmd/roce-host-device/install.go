package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// install copies this program into a CNI plugin folder: an init container's
// job, in an image that has no shell. The copy appears whole or not at all, and
// a program that is running is replaced, not written to.
func install(args []string) error {
	flags := flag.NewFlagSet("roce-host-device install", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	to := flags.String("to", "/opt/cni/bin", "the CNI plugin `folder`")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%w; use: roce-host-device install [--to DIR]", err)
	}
	// What installs left that were killed in the middle.
	stale, _ := filepath.Glob(filepath.Join(*to, tempPattern))
	for _, path := range stale {
		_ = os.Remove(path)
	}
	temp, err := copyTo(*to)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; %w", err, owner(*to))
	}
	if err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(*to, "roce-host-device")); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return syncFolder(*to)
}

// owner explains why root without capabilities may not write to a folder.
func owner(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return err
	}
	return fmt.Errorf("the folder is user %d's; run as that user (runAsUser of the init container)", st.Uid)
}

// tempPattern hides the copy while it is written: runtimes list the folder.
const tempPattern = ".roce-host-device-*"

// copyTo writes this program to a temporary file in a folder and returns its
// path.
func copyTo(dir string) (path string, err error) {
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", err
	}
	defer from.Close()
	temp, err := os.CreateTemp(dir, tempPattern)
	if err != nil {
		return "", err
	}
	defer func() {
		if err = errors.Join(err, temp.Close()); err != nil {
			err = errors.Join(err, os.Remove(temp.Name()))
		}
	}()
	if _, err := io.Copy(temp, from); err != nil {
		return "", err
	}
	if err := temp.Chmod(0o755); err != nil {
		return "", err
	}
	return temp.Name(), temp.Sync()
}

// syncFolder makes a rename in a folder survive a loss of power.
func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
