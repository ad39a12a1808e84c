// Package watch watches folders that may come, go, and be replaced.
//
// It knows files and their identity. It must not know what they are for.
package watch

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// A FileID tells a file from another one that has, or had, the same path.
// The zero FileID is that of no file.
type FileID struct {
	device, inode uint64
	// modified, because some file systems use inode numbers again at once.
	// A socket keeps the time at which it was made.
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
	// says nothing of what is mounted over a folder, and loses events when
	// there are many.
	Every time.Duration
	// Relevant tells, by its path, whether a change to a file matters; nil:
	// all do.
	Relevant func(path string) bool
	Log      *slog.Logger
	// NewWatcher makes the inotify instance; nil is for fsnotify.NewWatcher.
	NewWatcher func() (*fsnotify.Watcher, error)
}

// Run calls changed whenever something in the folder may have changed, until
// ctx ends. The folder need not exist.
func (f Folder) Run(ctx context.Context, changed func()) {
	newWatcher := f.NewWatcher
	if newWatcher == nil {
		newWatcher = fsnotify.NewWatcher
	}
	var tick <-chan time.Time
	if f.Every > 0 {
		ticker := time.NewTicker(f.Every)
		defer ticker.Stop()
		tick = ticker.C
	}
	w := follower{dir: f.Dir}
	var err error
	if w.Watcher, err = newWatcher(); err != nil {
		f.Log.Warn("no file notifications; looking from time to time", "folder", f.Dir, "every", f.Every.String(), "err", err)
		poll(ctx, tick, changed)
		return
	}
	defer func() { _ = w.Close() }()
	for {
		if w.follow() {
			changed() // what happened before the watch was there
		}
		select {
		case <-ctx.Done():
			return
		case event := <-w.Events:
			if event.Name == w.path && event.Has(fsnotify.Remove|fsnotify.Rename) {
				w.drop() // a new folder may get the inode number of this one
			}
			// Events of the folders above matter while this one is missing.
			if filepath.Dir(event.Name) != f.Dir || f.Relevant == nil || f.Relevant(event.Name) {
				changed()
			}
		case err := <-w.Errors: // an overflow: events were lost
			f.Log.Debug("file notifications", "folder", f.Dir, "err", err)
			changed()
		case <-tick:
			changed()
		}
	}
}

func poll(ctx context.Context, tick <-chan time.Time, changed func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
			changed()
		}
	}
}

// A follower keeps an inotify watch on a folder that comes and goes: while it
// is away, on the nearest folder above it.
type follower struct {
	*fsnotify.Watcher
	dir  string
	path string // what is watched
	id   FileID // what path was when the watch was set
}

// follow sets the watch where it belongs now and tells whether it moved.
func (w *follower) follow() (moved bool) {
	// Again, because the folder may have been made just before the watch on
	// the one above it was there to see it.
	for w.step() {
		moved = true
	}
	return moved
}

func (w *follower) step() bool {
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
		return false
	}
	w.drop()
	if w.Add(path) != nil {
		return false // gone again, or no watches left: the ticker tries again
	}
	w.path, w.id = path, id
	return true
}

func (w *follower) drop() {
	if w.path != "" {
		_ = w.Remove(w.path) // it may have gone with its folder
	}
	w.path = ""
}
