package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/roce-k8s/roce-k8s/test/standin/kubelet"
)

// patience bounds every wait.
const patience = 60 * time.Second

// A plugin is a program under measurement, running.
type plugin struct {
	cmd *exec.Cmd
	log bytes.Buffer
}

// start starts a program and waits until the kubelet has its units. It says
// how long that took.
func start(k *kubelet.Kubelet, program []string) (*plugin, time.Duration, error) {
	p := &plugin{cmd: exec.Command(program[0], program[1:]...)} //nolint:gosec // what we measure
	p.cmd.Env = append(os.Environ(), "HOME="+home)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	begin := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, 0, err
	}
	if err := wait(k, units); err != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		return nil, 0, fmt.Errorf("%s: %w\n%s", filepath.Base(program[0]), err, &p.log)
	}
	return p, time.Since(begin), nil
}

// stop asks the program to end and says how long that took.
func (p *plugin) stop() (time.Duration, error) {
	begin := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	late := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	if err := p.cmd.Wait(); err != nil {
		return 0, fmt.Errorf("SIGTERM: %w\n%s", err, &p.log)
	}
	return time.Since(begin), nil
}

func wait(k *kubelet.Kubelet, n int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return k.Wait(ctx, resource, n)
}

// cpu is the time that all threads of the program ran. The kernel counts it in
// nanoseconds here; /proc/PID/stat has ticks.
func (p *plugin) cpu() (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("no threads of process %d", p.cmd.Process.Pid)
	}
	sum := time.Duration(0)
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		ran, err := strconv.ParseInt(strings.Fields(string(b))[0], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ran)
	}
	return sum, nil
}

// rss is the resident memory in MB, that of files such as the program included.
func (p *plugin) rss() (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib * 1024 / 1e6, err
		}
	}
	return 0, fmt.Errorf("no VmRSS in %s", b)
}
