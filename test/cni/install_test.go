package cni_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestInstallReplacesTheProgramInOneStep(t *testing.T) {
	pluginPath(t)
	dir := t.TempDir()
	target := filepath.Join(dir, "roce-host-device")
	run(t, "cp", "/bin/sleep", target)
	busy := exec.Command(target, "30") // "text file busy" for whoever writes to it
	must(t, busy.Start())
	defer func() { _ = busy.Process.Kill(); _ = busy.Wait() }()
	must(t, os.WriteFile(filepath.Join(dir, ".roce-host-device-123"), []byte("half a program"), 0o600)) // of an install that was killed
	run(t, plugin(), "install", "--to", dir)
	want, err := os.ReadFile(plugin())
	must(t, err)
	got, err := os.ReadFile(target)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes were installed that differ from the program's %d", len(got), len(want))
	}
	info, err := os.Stat(target)
	must(t, err)
	files, err := os.ReadDir(dir)
	must(t, err)
	if info.Mode().Perm() != 0o755 || len(files) != 1 {
		t.Errorf("mode %v, files %v", info.Mode(), files)
	}
	must(t, os.MkdirAll(filepath.Join(dir, "odd/roce-host-device/x"), 0o755))
	if out, err := exec.Command(plugin(), "install", "--to", filepath.Join(dir, "odd")).CombinedOutput(); err == nil {
		t.Errorf("a folder was replaced: %s", out)
	}
	if files, err := os.ReadDir(filepath.Join(dir, "odd")); err != nil || len(files) != 1 {
		t.Errorf("left behind: %v %v", files, err)
	}
	out, err := exec.Command(plugin(), "install", "--to", filepath.Join(dir, "missing")).CombinedOutput()
	if err == nil || strings.Count(strings.TrimSpace(string(out)), "\n") != 0 || !strings.Contains(string(out), "no such file or directory") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestInstallKeepsTheOldProgramOnAFullDisk(t *testing.T) {
	pluginPath(t)
	if os.Getuid() != 0 {
		skip(t, "netns", "a mount needs root")
	}
	dir := t.TempDir()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"))
	defer func() { must(t, unix.Unmount(dir, 0)) }()
	target := filepath.Join(dir, "roce-host-device")
	must(t, os.WriteFile(target, []byte("the old one"), 0o755))
	out, err := exec.Command(plugin(), "install", "--to", dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no space left on device") {
		t.Errorf("%v: %s", err, out)
	}
	if left := readFile(t, target); string(left) != "the old one" {
		t.Errorf("the old program is now %d bytes", len(left))
	}
	files, err := os.ReadDir(dir)
	must(t, err)
	if len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
}

// Kubespray gives the folder to a user of its own; root without capabilities
// can do no more there than any other user.
func TestInstallSaysWhoseAFolderIsThatItMayNotWriteTo(t *testing.T) {
	pluginPath(t)
	if os.Getuid() != 0 {
		skip(t, "netns", "giving a folder away needs root")
	}
	programs, dir := t.TempDir(), t.TempDir()
	run(t, "cp", plugin(), programs) // its own folder may be closed to others
	must(t, os.Chmod(filepath.Dir(programs), 0o755))
	must(t, os.Chown(dir, 987, 0))
	install := func(user uint32) (string, error) {
		cmd := exec.Command(filepath.Join(programs, "roce-host-device"), "install", "--to", dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user}}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := install(986); err == nil || !strings.Contains(out, "the folder belongs to user 987; run as that user") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := install(987); err != nil {
		t.Errorf("as its owner: %v: %s", err, out)
	}
}
