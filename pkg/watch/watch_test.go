package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// watched runs a watch on a folder and returns a function that waits for the
// next change.
func watched(t *testing.T, f Folder) (next func(what string)) {
	t.Helper()
	f.Log = slog.New(slog.DiscardHandler)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	changes := make(chan struct{}, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Run(ctx, func() { changes <- struct{}{} })
	}()
	t.Cleanup(func() { stop(); <-done })
	return func(what string) {
		t.Helper()
		select {
		case <-changes:
		case <-ctx.Done():
			t.Fatalf("not noticed: %s", what)
		}
		for len(changes) > 0 { // one change is several events
			<-changes
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAFolderIsFollowedThroughItsLives(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a/b/c")
	next := watched(t, Folder{Dir: dir})
	next("the start")
	for range 3 {
		must(t, os.MkdirAll(dir, 0o755))
		next("the folder is made")
		settle(t, next, filepath.Join(dir, "first"))
		must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
		next("a file is made")
		must(t, os.Rename(dir, dir+"-old"))
		must(t, os.MkdirAll(dir, 0o755))
		settle(t, next, filepath.Join(dir, "second"))
		must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
		next("a file is made in the folder that took its place")
		must(t, os.RemoveAll(filepath.Dir(dir)))
		next("the folder is removed")
	}
}

// inotify(7) follows a folder to its new name, and what comes in its place may have
// its inode number. (Here it is the same folder.)
func TestAFolderThatWasAwayForAMomentIsWatchedAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	must(t, os.Mkdir(dir, 0o755))
	next := watched(t, Folder{Dir: dir})
	next("the start")
	for i := range 20 {
		must(t, os.Rename(dir, dir+"-away"))
		must(t, os.Rename(dir+"-away", dir))
		next("it moved")
		settle(t, next, filepath.Join(dir, fmt.Sprint("file", i)))
	}
}

// settle makes a file until a change is seen, so that what comes after is not
// mixed up with what came before.
func settle(t *testing.T, next func(string), path string) {
	t.Helper()
	must(t, os.WriteFile(path, nil, 0o600))
	next(path)
	time.Sleep(10 * time.Millisecond)
}

func TestOnlyRelevantFilesMatter(t *testing.T) {
	dir := t.TempDir()
	var seen []string
	relevant := func(path string) bool {
		seen = append(seen, filepath.Base(path))
		return filepath.Ext(path) == ".sock"
	}
	next := watched(t, Folder{Dir: dir, Every: time.Hour, Relevant: relevant})
	next("the start")
	must(t, os.WriteFile(filepath.Join(dir, "checkpoint"), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "kubelet.sock"), nil, 0o600))
	next("the socket")
	if len(seen) < 2 || seen[0] != "checkpoint" {
		t.Errorf("asked about %v", seen)
	}
}

func TestAFolderIsTheSameWhateverIsInIt(t *testing.T) {
	w := follower{dir: t.TempDir()}
	defer w.close()
	for n, want := range []bool{true, false, false} {
		if moved, err := w.follow(); moved != want || err != nil {
			t.Errorf("look %d: moved %v, error %v", n, moved, err)
		}
		must(t, os.WriteFile(filepath.Join(w.dir, fmt.Sprint("file", n)), nil, 0o600))
	}
}

// Whatever took its place, no event need have said so.
func TestAFolderThatIsAnotherIsWatchedAnew(t *testing.T) {
	w := follower{dir: filepath.Join(t.TempDir(), "a")}
	defer w.close()
	for n, want := range []bool{true, true, false} {
		if want {
			_ = os.Rename(w.dir, w.dir+"-old")
			must(t, os.Mkdir(w.dir, 0o755))
		}
		if moved, err := w.follow(); moved != want || err != nil {
			t.Errorf("look %d: moved %v, error %v", n, moved, err)
		}
	}
}

func TestWithoutNotificationsTheFolderIsLookedAt(t *testing.T) {
	next := watched(t, Folder{
		Dir: t.TempDir(), Every: time.Millisecond,
		NewWatcher: func() (*fsnotify.Watcher, error) { return nil, errors.New("too many open files") },
	})
	next("a look")
	next("another look")
}

// What is mounted over a folder is no event.
func TestAFolderIsLookedAtWithoutAnEventToo(t *testing.T) {
	next := watched(t, Folder{Dir: t.TempDir(), Every: time.Millisecond})
	next("the start")
	next("a look")
	next("another look")
}

// All of a node's containers share the kernel's watches.
func TestWithoutAWatchTheFolderIsLookedAtAndThatIsSaidOnce(t *testing.T) {
	dir := t.TempDir()
	var log strings.Builder
	allowed := make(chan struct{})
	f := Folder{
		Dir: dir, Every: time.Millisecond, Log: slog.New(slog.NewTextHandler(&log, nil)),
		NewWatcher: func() (*fsnotify.Watcher, error) {
			select {
			case <-allowed:
				return fsnotify.NewWatcher()
			default:
				return nil, unix.EMFILE
			}
		},
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	looks := 0
	f.Run(ctx, func() {
		if looks++; looks == 3 {
			close(allowed) // there are some again
		}
		if looks == 100 {
			stop()
		}
	})
	if c := strings.Count(log.String(), "no file notifications"); looks != 100 || c != 1 || !strings.Contains(log.String(), "every=1ms") {
		t.Errorf("%d looks, logged:\n%s", looks, log.String())
	}
}

func TestEventsThatWereLostCountAsAChange(t *testing.T) {
	w, err := fsnotify.NewWatcher()
	must(t, err)
	next := watched(t, Folder{Dir: t.TempDir(), NewWatcher: func() (*fsnotify.Watcher, error) { return w, nil }})
	next("the start")
	w.Errors <- fsnotify.ErrEventOverflow
	next("an overflow")
}

func TestWatchesThatAreExhaustedAreNoSilence(t *testing.T) {
	w := follower{dir: t.TempDir()}
	if moved, err := w.follow(); !moved || err != nil {
		t.Fatal(moved, err)
	}
	defer w.close()
	must(t, w.watcher.Close()) // no watch can be added to it
	w.path = ""
	if moved, err := w.follow(); moved || err == nil {
		t.Errorf("moved %v, error %v", moved, err)
	}
}

func TestAFileThatIsReplacedIsAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if Identify(path) != (FileID{}) {
		t.Error("a file that is not there has an identity")
	}
	must(t, os.WriteFile(path, nil, 0o600))
	first := Identify(path)
	if first == (FileID{}) || first != Identify(path) {
		t.Error("a file is not the same as itself")
	}
	must(t, os.Rename(path, path+"-old"))
	must(t, os.WriteFile(path, nil, 0o600))
	if Identify(path) == first {
		t.Error("another file is taken for the first")
	}
}

func TestTheEndOfAWatchLeavesNothingOpen(t *testing.T) {
	var made []*fsnotify.Watcher
	ctx, stop := context.WithCancel(t.Context())
	f := Folder{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), NewWatcher: func() (*fsnotify.Watcher, error) {
		w, err := fsnotify.NewWatcher()
		made = append(made, w)
		return w, err
	}}
	f.Run(ctx, stop) // at the start
	if len(made) != 1 {
		t.Fatalf("%d watchers", len(made))
	}
	if err := made[0].Add(f.Dir); !errors.Is(err, fsnotify.ErrClosed) {
		t.Errorf("it is still open: %v", err)
	}
}

// The node's containers may have used up what the kernel has of notifications.
func TestWithoutNotificationsAFolderWithoutAPauseIsLookedAtEveryHalfMinute(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		f := Folder{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil)), NewWatcher: func() (*fsnotify.Watcher, error) { return nil, unix.EMFILE }}
		ctx, stop := context.WithCancel(t.Context())
		looks := make(chan struct{}, 100)
		done := make(chan struct{})
		go func() { f.Run(ctx, func() { looks <- struct{}{} }); close(done) }()
		time.Sleep(5*time.Minute + time.Second) // of the test's own clock
		stop()
		<-done
		if len(looks) != 10 || strings.Count(log.String(), "no file notifications") != 1 || !strings.Contains(log.String(), "every=30s") {
			t.Errorf("%d looks, logged:\n%s", len(looks), log.String())
		}
	})
}

// As kubelets mount a ConfigMap.
func TestAFileIsKnownByWhatItsLinkLeadsTo(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"first", "second"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	link := filepath.Join(dir, "link")
	for _, name := range []string{"first", "second"} {
		_ = os.Remove(link)
		must(t, os.Symlink(name, link))
		if Identify(link) != Identify(filepath.Join(dir, name)) {
			t.Errorf("the link to %s is another file", name)
		}
	}
}

// The descriptors of a watch are the node's: what is not watched any more is let go.
func TestOnlyTheNearestFolderIsWatched(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	w := follower{dir: dir}
	defer w.close()
	for _, want := range []string{filepath.Dir(dir), dir, filepath.Dir(dir)} {
		if moved, err := w.follow(); !moved || err != nil {
			t.Fatal(moved, err)
		}
		if list := w.watcher.WatchList(); len(list) != 1 || list[0] != want {
			t.Errorf("watched are %q, want %s", list, want)
		}
		if want == dir {
			must(t, os.Remove(dir))
		} else {
			must(t, os.MkdirAll(dir, 0o755))
		}
	}
}
