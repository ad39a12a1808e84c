package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
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

// A process is the program on a simulated node with two NICs, which the
// kubelet has.
type process struct {
	*exec.Cmd
	t       *testing.T
	ctx     context.Context
	kubelet *kubelet.Kubelet
	log     string // file
}

// startProcess starts the program, through a command that runs others, if any
// is given.
func startProcess(t *testing.T, behind ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	p := &process{t: t, ctx: ctx}
	dir, err := os.MkdirTemp("", "dp") // t.TempDir is too long for a socket's path
	p.must(err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	tree, err := sysfs.New(dir)
	p.must(err)
	p.must(tree.Add(sysfs.MLX5(0), sysfs.MLX5(1)))
	config := filepath.Join(dir, "config.json")
	p.must(os.WriteFile(config, []byte(`{"configList": [{"resourceName": "nic", "mode": "perDevice", "selectors": {"vendors": ["15b3"]}}]}`), 0o600))
	p.kubelet, err = kubelet.Start(filepath.Join(dir, "device-plugins"), slog.New(slog.DiscardHandler))
	p.must(err)
	t.Cleanup(p.kubelet.Close)

	p.log = filepath.Join(dir, "log")
	log, err := os.Create(p.log)
	p.must(err)
	defer log.Close()
	command := append(behind, os.Args[0], "--config-file="+config, "--kubelet-dir="+dir, "--sysfs-root="+tree.Sys(), "--dev-root="+tree.Dev(),
		"--state-dir="+filepath.Join(dir, "state"), "--metrics-address=", "--rescue=false")
	p.Cmd = exec.Command(command[0], command[1:]...)
	p.Env = append(os.Environ(), "ROCE_TEST_AS_PROGRAM=1")
	p.Stderr = log
	p.must(p.Start())
	t.Cleanup(func() { _ = p.Process.Kill() })
	p.must(p.kubelet.Wait(ctx, "rdma/nic", 2))
	return p
}

func (p *process) must(err error) {
	p.t.Helper()
	if err != nil {
		logged, _ := os.ReadFile(p.log)
		p.t.Fatalf("%v\n%s", err, logged)
	}
}

func (p *process) awaitLog(text string) {
	p.t.Helper()
	for logged := ""; !strings.Contains(logged, text); time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(p.log)
		p.must(err)
		p.must(p.ctx.Err())
		logged = string(b)
	}
}

// end asks the program to end, as Kubernetes does.
func (p *process) end() {
	p.t.Helper()
	p.must(p.Process.Signal(syscall.SIGTERM))
	p.must(p.Wait())
}

func TestWithoutRescueTheProgramNeedsNoCapability(t *testing.T) {
	setpriv, err := exec.LookPath("setpriv")
	if err != nil || os.Getuid() != 0 {
		t.Skip("needs root and setpriv, to take the capabilities of root away")
	}
	p := startProcess(t, setpriv, "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil || !regexp.MustCompile(`(?m)^CapEff:\s0+$`).Match(status) {
		t.Errorf("it has capabilities: %v\n%s", err, status)
	}
	_, _, err = p.kubelet.Allocate("rdma/nic", 2)
	p.must(err)
	p.end()
}

func TestSignalsReloadAndEndTheProgram(t *testing.T) {
	p := startProcess(t)
	p.must(p.Process.Signal(syscall.SIGHUP))
	p.awaitLog("the configuration is the one in force")
	if _, allocatable := p.kubelet.Allocatable("rdma/nic"); allocatable != 2 {
		t.Errorf("%d units after SIGHUP", allocatable)
	}
	p.end()
	p.awaitLog("msg=stopped")
}
