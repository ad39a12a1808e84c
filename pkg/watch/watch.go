// Package watch watches folders that may come, go, and be replaced.
//
// It knows files and their identity, and how a loop hears of a change. It must not
// know what they are for.
package watch

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// A FileID tells a file from another that has, or had, the same path. The zero
// FileID is that of no file.
type FileID struct {
	device, inode uint64
	// modified, because some file systems reuse inode numbers at once. A socket
	// keeps the time at which it was made.
	modified unix.Timespec
}

// Identify returns the identity of the file at path, following links.
func Identify(path string) FileID {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return FileID{}
	}
	return FileID{st.Dev, st.Ino, st.Mtim}
}

// A Folder is what to watch.
type Folder struct {
	Dir string
	// Every is the pause between looks without an event, 0 for none: inotify
	// does not report what is mounted over a folder, and loses events when
	// there are many.
	Every time.Duration
	// Relevant tells, by its path, whether a change to a file matters; nil:
	// all do.
	Relevant func(path string) bool
	Log      *slog.Logger
	// NewWatcher makes the inotify instance; nil is for fsnotify.NewWatcher.
	NewWatcher func() (*fsnotify.Watcher, error)
}

// withoutEvents is the pause between looks where the kernel gives no
// notifications (fs.inotify.max_user_instances and max_user_watches are for all
// of the node's containers together), unless the folder has one of its own.
const withoutEvents = 30 * time.Second

// Run calls changed whenever something in the folder may have changed, until
// ctx ends. The folder need not exist.
func (f Folder) Run(ctx context.Context, changed func()) {
	every := f.Every
	if every == 0 {
		every = withoutEvents
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	w := follower{dir: f.Dir, newWatcher: f.NewWatcher}
	defer w.close()
	said := false
	for {
		moved, err := w.follow()
		if moved {
			changed() // what happened before the watch was there
		}
		if err != nil && !said {
			f.Log.Warn("no file notifications; polling instead", "folder", f.Dir, "every", every.String(), "err", err)
		}
		said = err != nil
		select {
		case <-ctx.Done():
			return
		case event := <-w.events():
			if event.Name == w.path && event.Has(fsnotify.Remove|fsnotify.Rename) {
				w.drop() // a new folder may get the inode number of this one
			}
			// Events of the folders above matter while this one is missing.
			if filepath.Dir(event.Name) != f.Dir || f.Relevant == nil || f.Relevant(event.Name) {
				changed()
			}
		case err := <-w.errors(): // an overflow: events were lost
			f.Log.Debug("file notifications", "folder", f.Dir, "err", err)
			changed()
		case <-ticker.C:
			if f.Every > 0 || err != nil {
				changed()
			}
		}
	}
}

// A follower keeps an inotify watch on a folder that comes and goes: while it
// is away, on the nearest folder above it.
type follower struct {
	newWatcher func() (*fsnotify.Watcher, error)
	watcher    *fsnotify.Watcher // nil while there is none to be had
	dir        string
	path       string // what is watched
	id         FileID // what path was when the watch was set
}

// follow sets the watch where it belongs now and tells whether it moved. An
// error says that there are no notifications, until another try.
func (w *follower) follow() (moved bool, err error) {
	if w.watcher == nil {
		newWatcher := w.newWatcher
		if newWatcher == nil {
			newWatcher = fsnotify.NewWatcher
		}
		if w.watcher, err = newWatcher(); err != nil {
			w.watcher = nil
			return false, err
		}
	}
	// Again, because the folder may have been made just before the watch on
	// the one above it was there to see it.
	for {
		again, err := w.step()
		if !again {
			return moved, err
		}
		moved = true
	}
}

func (w *follower) step() (moved bool, err error) {
	path := w.dir
	id := Identify(path)
	for id == (FileID{}) && path != filepath.Dir(path) {
		path = filepath.Dir(path)
		id = Identify(path)
	}
	// A folder that was replaced has the path of the old one, and the watch
	// stayed with the old one. Its time changes with every file in it.
	id.modified = unix.Timespec{}
	if path == w.path && id == w.id {
		return false, nil
	}
	w.drop()
	switch err := w.watcher.Add(path); {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil // gone again; what is above it is there
	case err != nil:
		return false, err
	}
	w.path, w.id = path, id
	return true, nil
}

func (w *follower) drop() {
	if w.path != "" {
		_ = w.watcher.Remove(w.path) // it may have gone with its folder
	}
	w.path = ""
}

func (w *follower) close() {
	if w.watcher != nil {
		_ = w.watcher.Close()
	}
}

// events and errors are what the watcher says; without one, nothing.
func (w *follower) events() <-chan fsnotify.Event {
	if w.watcher == nil {
		return nil
	}
	return w.watcher.Events
}

func (w *follower) errors() <-chan error {
	if w.watcher == nil {
		return nil
	}
	return w.watcher.Errors
}
