package chain

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/durable"
	"github.com/roce-k8s/roce-k8s/pkg/retry"
	"github.com/roce-k8s/roce-k8s/pkg/watch"
)

// part is what a file is called while it is written. Runtimes do not read one that
// ends so, and nor does Multus' installer.
const part = ".roce-host-device-*"

// errOvertaken says that a file was changed while its next content was made.
var errOvertaken = errors.New("somebody else has just changed it")

// replace gives a file another content, in one step: it is the old or the new one
// for whoever reads it, and after a loss of power. Its owner and mode stay.
func (f *file) replace(text []byte) error {
	before := watch.Identify(f.path)
	// What is there now may be another program's next word.
	if now, err := readFile(f.path); err != nil || string(now.text) != string(f.text) {
		return errors.Join(fmt.Errorf("%s: %w", f.path, errOvertaken), err)
	}
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(f.path), part)
	if err != nil {
		return err
	}
	err = errors.Join(fill(temp, text, info), temp.Close())
	if err == nil && watch.Identify(f.path) != before {
		err = fmt.Errorf("%s: %w", f.path, errOvertaken)
	}
	if err == nil {
		err = os.Rename(temp.Name(), f.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return durable.SyncFolder(filepath.Dir(f.path))
}

func fill(f *os.File, text []byte, like os.FileInfo) error {
	if _, err := f.Write(text); err != nil {
		return err
	}
	if st, ok := like.Sys().(*syscall.Stat_t); ok {
		if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	if err := f.Chmod(like.Mode()); err != nil {
		return err
	}
	return f.Sync()
}

// lockWait is how long another installer may take.
const lockWait = 10 * time.Second

// alone does something to a folder while no other installer does, and clears up
// what one left that was killed.
func alone(path string, do func() error) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close() // which unlocks it
	ctx, cancel := context.WithTimeout(context.Background(), lockWait)
	defer cancel()
	err = retry.Until(ctx, time.Millisecond, 100*time.Millisecond, func() (bool, error) {
		return unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%s is locked by another program: %w", path, err)
	}
	stale, _ := filepath.Glob(filepath.Join(path, part))
	for _, file := range stale {
		_ = os.Remove(file)
	}
	return do()
}

func isLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().Type() == os.ModeSymlink
}
