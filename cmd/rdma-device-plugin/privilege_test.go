package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
	"github.com/roce-k8s/roce-k8s/test/standin/kubelet"
)

// TestMain lets a test run the program as a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv("ROCE_TEST_AS_PROGRAM") != "" {
		main()
	}
	os.Exit(m.Run())
}

func TestWithoutRescueTheProgramNeedsNoCapability(t *testing.T) {
	setpriv, err := exec.LookPath("setpriv")
	if err != nil || os.Getuid() != 0 {
		t.Skip("needs root and setpriv, to take the capabilities of root away")
	}
	dir, err := os.MkdirTemp("", "dp") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	tree, err := sysfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Add(sysfs.MLX5(0), sysfs.MLX5(1)); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "config.json")
	if err := os.WriteFile(config, []byte(`{"configList": [{"resourceName": "nic", "mode": "perDevice", "selectors": {"vendors": ["15b3"]}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := kubelet.Start(filepath.Join(dir, "device-plugins"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()

	var log bytes.Buffer
	program := exec.Command(setpriv, "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", os.Args[0],
		"--config-file="+config, "--kubelet-dir="+dir, "--sysfs-root="+tree.Sys(), "--dev-root="+tree.Dev(),
		"--state-dir="+filepath.Join(dir, "state"), "--metrics-address=", "--rescue=false")
	program.Env = append(os.Environ(), "ROCE_TEST_AS_PROGRAM=1")
	program.Stderr = &log
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = program.Process.Kill() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	failed := k.Wait(ctx, "rdma/nic", 2)
	if failed == nil {
		_, _, failed = k.Allocate("rdma/nic", 2)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", program.Process.Pid))
	if err != nil || !regexp.MustCompile(`(?m)^CapEff:\s0+$`).Match(status) {
		t.Errorf("it has capabilities: %v\n%s", err, status)
	}
	if err := program.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := program.Wait(); err != nil || failed != nil {
		t.Errorf("%v, end: %v\n%s", failed, err, &log)
	}
}
