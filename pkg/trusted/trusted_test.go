package trusted_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/trusted"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("giving files away needs root")
	}
}

func file(t *testing.T, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(path, []byte("text"), 0o600))
	must(t, os.Chmod(path, mode))
	return path
}

func TestAFileOfRootIsReadAndOneThatIsNotThereIsMissing(t *testing.T) {
	needRoot(t)
	for _, mode := range []fs.FileMode{0o644, 0o600, 0o444, 0o755} {
		if b, err := trusted.ReadFile(file(t, mode), 4); string(b) != "text" || err != nil {
			t.Errorf("mode %o: %q, %v", mode, b, err)
		}
	}
	if _, err := trusted.ReadFile(filepath.Join(t.TempDir(), "none"), 4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("not there: %v", err)
	}
}

func TestAFileThatOthersCanHaveWrittenIsNotRead(t *testing.T) {
	needRoot(t)
	for name, tt := range map[string]struct {
		make func(path string)
		want string
	}{
		"of another user": {func(p string) { must(t, os.Chown(p, 1000, 0)) }, "user 1000's, not root's; find out who made it, then: chown root"},
		"of a group":      {func(p string) { must(t, os.Chmod(p, 0o664)) }, "users other than root (mode 0664); find out who allowed that, then: chmod go-w"},
		"of all":          {func(p string) { must(t, os.Chmod(p, 0o602)) }, "(mode 0602)"},
		"a link": {func(p string) {
			must(t, os.Rename(p, p+".real"))
			must(t, os.Symlink(p+".real", p))
		}, "is a symbolic link"},
		"a link to nothing": {func(p string) {
			must(t, os.Remove(p))
			must(t, os.Symlink("/none", p))
		}, "is a symbolic link"},
		"a folder": {func(p string) {
			must(t, os.Remove(p))
			must(t, os.Mkdir(p, 0o755))
		}, "is not a regular file"},
		"a FIFO without a writer": {func(p string) {
			must(t, os.Remove(p))
			must(t, syscall.Mkfifo(p, 0o600))
		}, "is not a regular file"},
		"a socket": {func(p string) {
			must(t, os.Remove(p))
			must(t, syscall.Mknod(p, syscall.S_IFSOCK|0o600, 0))
		}, "is not a regular file"},
		"too long": {func(p string) { must(t, os.WriteFile(p, []byte("texts"), 0o600)) }, "more than 4 bytes"},
	} {
		path := file(t, 0o600)
		tt.make(path)
		b, err := trusted.ReadFile(path, 4)
		var bad *trusted.Error
		if b != nil || !errors.As(err, &bad) || !strings.HasPrefix(err.Error(), path) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %q, %v, want %q", name, b, err, tt.want)
		}
	}
}

func TestAFolderInWhichOthersCouldPutFilesIsRefused(t *testing.T) {
	needRoot(t)
	for name, tt := range map[string]struct {
		make func(path string)
		want string // "" is fine
	}{
		"not there yet":   {func(p string) { must(t, os.Remove(p)) }, ""},
		"of root":         {func(string) {}, ""},
		"of another user": {func(p string) { must(t, os.Chown(p, 1000, 1000)) }, "user 1000's"},
		"of a group":      {func(p string) { must(t, os.Chmod(p, 0o775)) }, "(mode 0775)"},
		"an emptyDir":     {func(p string) { must(t, os.Chmod(p, 0o777|fs.ModeSticky)) }, "(mode 0777)"},
		"a link": {func(p string) {
			must(t, os.Rename(p, p+".real"))
			must(t, os.Symlink(p+".real", p))
		}, "is a symbolic link"},
		"a file": {func(p string) {
			must(t, os.Remove(p))
			must(t, os.WriteFile(p, nil, 0o600))
		}, "is not a folder"},
		"below a file": {func(p string) {
			must(t, os.Remove(p))
			must(t, os.WriteFile(p, nil, 0o600))
		}, "not a directory"},
	} {
		path := filepath.Join(t.TempDir(), "dir")
		must(t, os.Mkdir(path, 0o755))
		tt.make(path)
		if name == "below a file" {
			path = filepath.Join(path, "dir")
		}
		err := trusted.CheckDir(path)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// Whoever is not root has files of its own.
func TestAFileOfTheCallerIsReadAndOneOfAnotherUserIsNot(t *testing.T) {
	needRoot(t)
	const caller, other = 1000, 1001
	path := file(t, 0o644)
	must(t, os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755))
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread stays that user's
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, caller, caller, 0); errno != 0 {
			t.Error(errno)
			return
		}
		for owner, want := range map[int]bool{0: true, caller: true, other: false} {
			if err := chown(path, owner); err != nil {
				t.Error(err)
			}
			if _, err := trusted.ReadFile(path, 4); (err == nil) != want {
				t.Errorf("of user %d: %v", owner, err)
			}
		}
	}()
	<-done
}

// chown gives a file away, whoever the calling thread is.
func chown(path string, owner int) error {
	done := make(chan error)
	go func() { done <- os.Chown(path, owner, 0) }()
	return <-done
}

func TestAnErrorIsTransientWhereThereIsNoRoomToOpenTheFile(t *testing.T) {
	for err, want := range map[error]bool{
		syscall.EMFILE: true, syscall.ENFILE: true, syscall.ENOMEM: true,
		syscall.ENOENT: false, syscall.EACCES: false, syscall.EIO: false, &trusted.Error{Path: "/a"}: false,
	} {
		if is := trusted.Transient(&fs.PathError{Op: "open", Path: "/a", Err: err}); is != want {
			t.Errorf("%v: %v", err, is)
		}
	}
	if trusted.Transient(nil) {
		t.Error("no error is one")
	}
}

func TestAnErrorOfTheKernelSaysNothingOfAFileThatIsThere(t *testing.T) {
	for err, want := range map[error]bool{
		syscall.EIO: true, syscall.EACCES: true, syscall.ESTALE: true, syscall.EMFILE: true,
		syscall.ENOENT: false, syscall.ENOTDIR: false, syscall.EISDIR: false, syscall.ELOOP: false, syscall.ENXIO: false, syscall.ENAMETOOLONG: false,
		errors.New("no JSON"): false, &trusted.Error{Path: "/a"}: false,
	} {
		if is := trusted.Unread(&fs.PathError{Op: "open", Path: "/a", Err: err}); is != want {
			t.Errorf("%v: %v", err, is)
		}
	}
	if trusted.Unread(nil) {
		t.Error("no error is one")
	}
}

func TestAFileThatWasReadIsClosed(t *testing.T) {
	needRoot(t)
	open := func() int {
		files, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(files)
	}
	const often = 100
	good, bad, before := file(t, 0o600), file(t, 0o666), open()
	for range often {
		_, err := trusted.ReadFile(good, 4)
		must(t, err)
		if _, err := trusted.ReadFile(bad, 4); err == nil {
			t.Fatal("it was read")
		}
	}
	if more := open() - before; more >= often {
		t.Errorf("%d more files are open", more)
	}
}
