package netdev

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestANamespaceIsToldByItsInodeWhateverNamesIt(t *testing.T) {
	const link = "/proc/self/ns/net"
	var own unix.Stat_t
	if err := unix.Stat(link, &own); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	names := map[string]uint64{
		link:                             own.Ino,
		filepath.Join(folder, "symlink"): own.Ino,
		filepath.Join(folder, "nothing"): 0,
		filepath.Join(folder, "broken"):  0,
		filepath.Join(folder, "fifo"):    0,
		filepath.Join(folder, "folder"):  0,
	}
	for name, to := range map[string]string{"symlink": link, "broken": "/nowhere"} {
		if err := os.Symlink(to, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(unix.Mkfifo(filepath.Join(folder, "fifo"), 0o600), os.Mkdir(filepath.Join(folder, "folder"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for name, want := range names {
		if got := inodeOf(name); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

func TestAMountPointIsReadAsTheKernelEscapesIt(t *testing.T) {
	for escaped, want := range map[string]string{
		`/run/netns/a`:       "/run/netns/a",
		`/tmp/with\040space`: "/tmp/with space",
		`/tmp/with\011tab`:   "/tmp/with\ttab",
		`/tmp/two\012lines`:  "/tmp/two\nlines",
		`/tmp/back\134slash`: `/tmp/back\slash`,
		`/tmp/\134040`:       `/tmp/\040`,
	} {
		if got := unescape(escaped); got != want {
			t.Errorf("%s is %q, want %q", escaped, got, want)
		}
	}
}

func TestAPodsNamespaceIsToldFromAPersonsByItsName(t *testing.T) {
	for path, want := range map[string]bool{
		"/run/netns/cni-4cc8a6c5-6bd5-9f4d-6c5f-0e1c5a0a4b7e": true,  // containerd
		"/var/run/netns/8a7d3c1e-52f0-4c39-9d0e-6b1f0a2c4d5e": true,  // CRI-O
		"/run/docker/netns/3f1c2a9b7d6e":                      true,  // Docker
		"/run/netns/blue":                                     false, // `ip netns add`
		"/run/netns/a-name-of-a-person-with-four-dashes":      false,
	} {
		if is := isNamedByRuntime(path); is != want {
			t.Errorf("%s: %v", path, is)
		}
	}
}
