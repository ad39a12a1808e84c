package cni_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestInstallReplacesTheProgramInOneStep(t *testing.T) {
	pluginPath(t)
	dir := t.TempDir()
	target := filepath.Join(dir, "roce-host-device")
	run(t, "cp", "/bin/sleep", target)
	busy := exec.Command(target, "30") // "text file busy" for whoever writes to it
	must(t, busy.Start())
	defer func() { _ = busy.Process.Kill(); _ = busy.Wait() }()
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
	out, err := exec.Command(plugin(), "install", "--to", filepath.Join(dir, "missing")).CombinedOutput()
	if err == nil || strings.Count(strings.TrimSpace(string(out)), "\n") != 0 || !strings.Contains(string(out), "no such file or directory") {
		t.Errorf("%v: %s", err, out)
	}
}
