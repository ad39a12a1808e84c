package scenario

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// program is the path of rdma-device-plugin. Without it there is nothing to
// test.
func program(t *testing.T) string {
	t.Helper()
	dir, reason := os.Getenv("ROCE_PROGRAMS"), "ROCE_PROGRAMS does not name the folder with rdma-device-plugin"
	if dir != "" {
		path, err := filepath.Abs(filepath.Join(dir, "rdma-device-plugin"))
		if err == nil {
			_, err = os.Stat(path)
		}
		if err == nil {
			return path
		}
		reason = err.Error()
	}
	for need := range strings.SplitSeq(os.Getenv("ROCE_TEST_REQUIRE"), ",") {
		if need == "programs" {
			t.Fatal(reason)
		}
	}
	t.Skip(reason)
	return ""
}

// A plugin is one life of the program.
type plugin struct {
	cmd *exec.Cmd
	log *tail
}

func startPlugin(t *testing.T, args ...string) *plugin {
	t.Helper()
	p := &plugin{cmd: exec.Command(program(t), args...), log: &tail{}} //nolint:gosec // the program under test
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	// A test that panics cleans nothing up.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// terminate asks the program to end, and says how long that took.
func (p *plugin) terminate(t *testing.T) time.Duration {
	t.Helper()
	const patience = 10 * time.Second
	begin := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("the plugin is not there to be ended: %v\n%s", err, p.log)
	}
	late := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("the plugin did not end with 0 within %s of SIGTERM: %v\n%s", patience, err, p.log)
	}
	return time.Since(begin)
}

// kill ends the program without its knowing.
func (p *plugin) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// A tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 16 << 10

func (w *tail) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, b...)
	if len(w.text) > 2*tailSize {
		w.text = append([]byte(nil), w.text[len(w.text)-tailSize:]...)
	}
	return len(b), nil
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.text)
}
