package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/policy"
)

func TestInstallPutsThisProgramIntoTheFolderWholeOrNotAtAll(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077)) // modes are ours to choose
	self, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/roce-host-device", []byte("an older one"), 0o600))
	must(t, os.WriteFile(dir+"/.roce-host-device-123", []byte("half of one"), 0o600))
	must(t, os.WriteFile(dir+"/.another-123", nil, 0o600))
	for range 2 {
		must(t, install([]string{"--to", dir}))
		got, err := os.ReadFile(dir + "/roce-host-device")
		must(t, err)
		info, err := os.Stat(dir + "/roce-host-device")
		must(t, err)
		if !bytes.Equal(got, self) || info.Mode() != 0o755 {
			t.Errorf("%d bytes of %d, mode %v", len(got), len(self), info.Mode())
		}
		entries, err := os.ReadDir(dir)
		must(t, err)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if !slices.Equal(names, []string{".another-123", "roce-host-device"}) {
			t.Errorf("%q", names)
		}
	}
	folder := t.TempDir() + "/roce-host-device"
	must(t, os.MkdirAll(folder+"/something", 0o755))
	if err := install([]string{"--to", filepath.Dir(folder)}); err == nil {
		t.Error("installed in the place of a folder")
	}
	if left, err := os.ReadDir(filepath.Dir(folder)); len(left) != 1 || err != nil {
		t.Errorf("left over: %v, %v", left, err)
	}
	for want, args := range map[string][]string{
		"no such file or directory":                       {"--to", dir + "/none"},
		`unexpected argument "x"; usage: ` + installUsage: {"--to", dir, "x"},
		"flag provided but not defined: -too; usage: ":    {"--too", dir},
		"roce-host-device/x: not a directory":             {"--to", dir, "--policy", dir + "/roce-host-device/x"},
	} {
		if err := install(args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", args, err, want)
		}
	}
}

func TestThePolicyIsRootsAndReadableForAll(t *testing.T) {
	needRoot(t)
	defer syscall.Umask(syscall.Umask(0o022))
	etc := filepath.Join(t.TempDir(), "etc/cni")
	must(t, installPolicy(etc, []byte("{}")))
	for path, want := range map[string]os.FileMode{etc: 0o755 | os.ModeDir, filepath.Join(etc, filepath.Base(policy.File)): 0o644} {
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode() != want {
			t.Errorf("%s: %v, want %v", path, info.Mode(), want)
		}
	}
	must(t, os.WriteFile(etc+"/file", nil, 0o600))
	if err := installPolicy(etc+"/file", []byte("{}")); err == nil {
		t.Error("installed into a file")
	}
}

// A container without capabilities is root in name only.
func TestWhoMayNotWriteToAFolderIsToldWhoMay(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	must(t, errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755)))
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	must(t, unix.Setfsuid(1000))
	program, policy := install([]string{"--to", dir}), installPolicy(dir, []byte("{}"))
	must(t, unix.Setfsuid(0))
	for want, err := range map[string]error{
		"the folder belongs to user 0; run as that user (runAsUser of the init container)": program,
		"the folder must belong to root: chown root " + dir + " on the node":               policy,
	} {
		if err == nil || !strings.HasSuffix(err.Error(), want) || !strings.Contains(err.Error(), "permission denied; ") {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("nobody reads") }

func TestWhatNobodyCouldReadIsAnError(t *testing.T) {
	if err := validate([]string{configMap(t, "{}")}, brokenPipe{}); err == nil {
		t.Error("a file is said to be valid")
	}
	if err := validateNode(t.TempDir()+"/none.json", brokenPipe{}); err == nil {
		t.Error("the defaults are said to apply")
	}
	var out bytes.Buffer
	file := t.TempDir() + "/none.json"
	if err := validateNode(file, &out); err != nil || out.String() != "there is no "+file+": the defaults apply\n" {
		t.Errorf("%v, %q", err, &out)
	}
}
