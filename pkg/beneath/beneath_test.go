package beneath_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/beneath"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tree lists what is below a folder: path, type, mode, and a file's content or
// a link's target.
func tree(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		must(t, err)
		info, err := e.Info()
		must(t, err)
		rel, _ := filepath.Rel(root, path)
		fmt.Fprintf(&b, "%s %v", rel, info.Mode())
		switch {
		case info.Mode().IsRegular():
			content, err := os.ReadFile(path)
			must(t, err)
			fmt.Fprintf(&b, " %q", content)
		case info.Mode().Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			must(t, err)
			fmt.Fprintf(&b, " -> %s", target)
		}
		b.WriteByte('\n')
		return nil
	}))
	return b.String()
}

func TestAFileIsWrittenWithItsFoldersReplacedAndRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "k8s.cni.cncf.io/devinfo")
	path := filepath.Join(dir, "cni/default-net1.json")
	defer unix.Umask(unix.Umask(0o077)) // a runtime may have any
	for _, content := range []string{"one", "two, longer", ""} {
		must(t, beneath.Write(dir, path, []byte(content)))
		b, err := os.ReadFile(path)
		must(t, err)
		info, err := os.Stat(path)
		must(t, err)
		if string(b) != content || info.Mode().Perm() != 0o444 {
			t.Errorf("%q with mode %v, want %q", b, info.Mode(), content)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); len(entries) != 1 || err != nil {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	must(t, beneath.Remove(dir, path))
	must(t, beneath.Remove(dir, path))
	if _, err := os.Lstat(path); err == nil {
		t.Error("still there")
	}
}

func TestWhatAnInterruptedWriteLeftIsCleared(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.json")
	must(t, os.WriteFile(path+".new", []byte("half"), 0o444))
	must(t, beneath.Write(dir, path, []byte("whole")))
	must(t, os.WriteFile(path+".new", []byte("half"), 0o444))
	must(t, beneath.Remove(dir, path))
	if entries, err := os.ReadDir(dir); len(entries) != 0 || err != nil {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestNothingIsThereToRemoveBelowAFolderThatIsNotThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	for _, path := range []string{dir + "/a", dir + "/b/c"} {
		must(t, beneath.Remove(dir, path))
	}
	if _, err := os.Lstat(dir); err == nil {
		t.Error("Remove made the folder")
	}
}

func TestTheFolderItselfMayLeadThroughALink(t *testing.T) {
	root := t.TempDir()
	must(t, os.Mkdir(root+"/run", 0o755))
	must(t, os.Symlink("run", root+"/var-run"))
	must(t, beneath.Write(root+"/var-run/devinfo", root+"/var-run/devinfo/a", []byte("x")))
	if _, err := os.Stat(root + "/run/devinfo/a"); err != nil {
		t.Error(err)
	}
	must(t, beneath.Remove(root+"/var-run/devinfo", root+"/var-run/devinfo/a"))
}

// Whatever path is asked for, and whatever lies in the folder, nothing changes.
func TestNothingOutsideTheFolderAndNoFileOfAnotherSortIsTouched(t *testing.T) {
	for _, tt := range []struct {
		path string // below root
		want string
	}{
		{"victim", "not a path below"},
		{"dir", "not a path below"},
		{"dir/", "not a path below"},
		{"dir/../victim", "not a path below"},
		{"dir/sub/../../victim", "not a path below"},
		{"dir/./file", "not a path below"},
		{"dir//file", "not a path below"},
		{"dir2/file", "not a path below"},
		{"dir/out/victim", `"out" is a symbolic link or not a folder`},
		{"dir/in/file", `"in" is a symbolic link or not a folder`},
		{"dir/proc/self/root/victim", `"proc" is a symbolic link or not a folder`},
		{"dir/file/x", `"file" is a symbolic link or not a folder`},
		{"dir/pipe/x", `"pipe" is a symbolic link or not a folder`},
		{"dir/link", "is not a regular file"},
		{"dir/dangling", "is not a regular file"},
		{"dir/sub", "is not a regular file"},
		{"dir/pipe", "is not a regular file"},
		{"dir/" + strings.Repeat("n", 300), "file name too long"},
		{"dir/nul\x00byte", "invalid argument"},
	} {
		root := t.TempDir()
		dir := root + "/dir"
		must(t, os.MkdirAll(dir+"/sub", 0o755))
		must(t, os.Mkdir(root+"/dir2", 0o755))
		must(t, os.WriteFile(root+"/victim", []byte("keep"), 0o644))
		must(t, os.WriteFile(dir+"/file", []byte("keep"), 0o644))
		must(t, os.Symlink("..", dir+"/out"))
		must(t, os.Symlink("sub", dir+"/in"))
		must(t, os.Symlink("/proc", dir+"/proc"))
		must(t, os.Symlink("../victim", dir+"/link"))
		must(t, os.Symlink(root+"/new", dir+"/dangling"))
		must(t, syscall.Mkfifo(dir+"/pipe", 0o600))
		before := tree(t, root)
		path := root + "/" + tt.path
		for what, err := range map[string]error{"write": beneath.Write(dir, path, []byte("x")), "remove": beneath.Remove(dir, path)} {
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s %q: %v, want %q", what, tt.path, err, tt.want)
			}
		}
		if after := tree(t, root); after != before {
			t.Errorf("%q changed\n%s\ninto\n%s", tt.path, before, after)
		}
	}
	t.Chdir(t.TempDir())
	for _, dir := range []string{t.TempDir(), "."} {
		for _, path := range []string{"", "file", "../x", "./file"} {
			if beneath.Write(dir, path, nil) == nil || beneath.Remove(dir, path) == nil {
				t.Errorf("%q below %s was accepted", path, dir)
			}
		}
	}
	if beneath.Write("dir", "dir/file", nil) == nil || beneath.Remove("dir", "dir/file") == nil {
		t.Error("a path that is not absolute was accepted")
	}
}

func TestALinkInPlaceOfTheUnfinishedFileIsNotFollowed(t *testing.T) {
	root := t.TempDir()
	dir := root + "/dir"
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.WriteFile(root+"/victim", []byte("keep"), 0o644))
	must(t, os.Symlink("../victim", dir+"/a.new"))
	must(t, beneath.Write(dir, dir+"/a", []byte("x")))
	if b, err := os.ReadFile(root + "/victim"); string(b) != "keep" || err != nil {
		t.Errorf("the victim has %q, %v", b, err)
	}
}

// A hard link to a file elsewhere is replaced, not written through.
func TestAFileThatIsLinkedElsewhereKeepsItsContentThere(t *testing.T) {
	root := t.TempDir()
	dir := root + "/dir"
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.WriteFile(root+"/victim", []byte("keep"), 0o644))
	must(t, os.Link(root+"/victim", dir+"/a"))
	must(t, beneath.Write(dir, dir+"/a", []byte("x")))
	if b, err := os.ReadFile(root + "/victim"); string(b) != "keep" || err != nil {
		t.Errorf("the victim has %q, %v", b, err)
	}
}

// Somebody who may write in the folder swaps a folder for a link, again and
// again, while files are written and removed through it.
func TestARaceWithALinkLeadsNowhere(t *testing.T) {
	root := t.TempDir()
	dir, outside := root+"/dir", root+"/outside"
	must(t, os.MkdirAll(dir+"/real", 0o755))
	must(t, os.Mkdir(outside, 0o755))
	must(t, os.WriteFile(outside+"/victim", []byte("keep"), 0o644))
	must(t, os.Symlink("../outside", dir+"/link"))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, dir+"/real", unix.AT_FDCWD, dir+"/link", unix.RENAME_EXCHANGE)
			}
		}
	}()
	for range 2000 {
		_ = beneath.Write(dir, dir+"/real/victim", []byte("x"))
		_ = beneath.Remove(dir, dir+"/real/victim")
	}
	close(stop)
	<-done
	if got := tree(t, outside); !strings.Contains(got, `victim -rw-r--r-- "keep"`) || strings.Count(got, "\n") != 2 {
		t.Errorf("outside became\n%s", got)
	}
}

func TestTheFoldersOfAFileAreOpenToAll(t *testing.T) {
	defer unix.Umask(unix.Umask(0o022))
	root := t.TempDir()
	must(t, beneath.Write(root+"/made", root+"/made/a/b/file", []byte("x")))
	if got, want := tree(t, root+"/made"), ". drwxr-xr-x\na drwxr-xr-x\na/b drwxr-xr-x\na/b/file -r--r--r-- \"x\"\n"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestNothingStaysOpenWhateverBecomesOfAFile(t *testing.T) {
	open := func() int {
		files, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(files)
	}
	const often = 100
	dir, before := t.TempDir(), open()
	must(t, os.Mkdir(dir+"/folder", 0o755))
	must(t, os.Symlink("folder", dir+"/link"))
	for range often {
		must(t, beneath.Write(dir, dir+"/a/b/c", []byte("x")))
		must(t, beneath.Remove(dir, dir+"/a/b/c"))
		must(t, beneath.Remove(dir, dir+"/none/c"))
		for _, path := range []string{"/folder", "/link/a", "/folder/" + strings.Repeat("n", 300)} {
			if beneath.Write(dir, dir+path, nil) == nil || beneath.Remove(dir, dir+path) == nil {
				t.Fatal(path)
			}
		}
	}
	if more := open() - before; more >= often {
		t.Errorf("%d more files are open", more)
	}
}

// On a disk of two pages, which only this thread sees. What is mounted upon cannot be
// replaced.
func TestNothingIsLeftOfAFileThatCannotBeWrittenOrPutInItsPlace(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root for a mount namespace")
	}
	runtime.LockOSThread() // for good: the thread ends with the test
	dir := t.TempDir()
	must(t, unix.Unshare(unix.CLONE_NEWNS))
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must(t, unix.Mount("small", dir, "tmpfs", 0, "size=8192"))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	if err := beneath.Write(dir, dir+"/a", make([]byte, 1<<16)); !errors.Is(err, unix.ENOSPC) || !strings.HasPrefix(err.Error(), "write "+dir+"/a.new: ") {
		t.Errorf("%v", err)
	}
	if entries, err := os.ReadDir(dir); len(entries) != 0 || err != nil {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	must(t, beneath.Write(dir, dir+"/a", []byte("short")))
	must(t, unix.Mount(dir+"/a", dir+"/a", "", unix.MS_BIND, ""))
	if err := beneath.Write(dir, dir+"/a", []byte("other")); !errors.Is(err, unix.EBUSY) || !strings.HasPrefix(err.Error(), "write "+dir+"/a: ") {
		t.Errorf("%v", err)
	}
	if entries, err := os.ReadDir(dir); len(entries) != 1 || err != nil {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestAnUnfinishedFileThatIsAFolderIsNoneOfOurs(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(dir+"/a.new", 0o755))
	if err := beneath.Remove(dir, dir+"/a"); err == nil || !strings.HasPrefix(err.Error(), dir+"/a.new is not a regular file") {
		t.Errorf("%v", err)
	}
	if err := beneath.Write(dir, dir+"/a", nil); err == nil || !strings.HasPrefix(err.Error(), "write "+dir+"/a.new: ") {
		t.Errorf("%v", err)
	}
}
