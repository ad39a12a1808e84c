package crash_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A death is how a run of the plugin ended.
type death struct {
	points int           // system calls that would have changed something
	at     string        // where it was killed, "" if it came to its end
	group  int           // its process group
	orphan bool          // it left something running in it: its IPAM plugin
	traced chan struct{} // closed when nothing is traced any more
	output string        // what it wrote
}

// killAt runs the plugin and kills it when it is about to make its nth system
// call that changes something; 0 never kills it. With orphans set the programs
// that it started die with it, as when a whole control group is killed;
// otherwise they go on, as when the plugin alone is.
func (n *node) killAt(point int, orphans bool, verb string, p pod, config map[string]any) death {
	n.Helper()
	died := make(chan death)
	traced := make(chan struct{})
	r := n.prepare(verb, p, config)
	go func() {
		// All of ptrace(2) is for the thread that started the tracee. It ends
		// with its goroutine, after the last orphan.
		n.enter()
		defer close(traced)
		defer close(died)
		r.start(tracedName, true)
		must(n, r.input.Close())
		t := &tracee{TB: n, pid: r.pid, stateDir: n.stateDir, point: point, seen: n.seen, died: died}
		t.run()
	}()
	d := <-died
	d.traced = traced
	return r.end(d, orphans)
}

// killAfter kills the plugin some time after it has got its configuration.
func (n *node) killAfter(delay time.Duration, orphans bool, verb string, p pod, config map[string]any) death {
	n.Helper()
	r := n.prepare(verb, p, config)
	r.start("", false)
	// It waits for the end of its input: until then it has only started.
	for unread := 1; unread > 0; time.Sleep(100 * time.Microsecond) {
		var err error
		unread, err = unix.IoctlGetInt(int(r.stdin.Fd()), unix.TIOCINQ)
		must(n, err)
	}
	must(n, r.input.Close())
	time.Sleep(delay)
	_ = unix.Kill(r.pid, unix.SIGKILL)
	var status unix.WaitStatus
	if _, err := unix.Wait4(r.pid, &status, 0, nil); err != nil {
		n.Fatalf("wait for the plugin: %v", err)
	}
	var d death
	if status.Signaled() {
		d.at = fmt.Sprint("after ", delay)
	}
	return r.end(d, orphans)
}

// awaitOrphans waits for the end of what a death left running, which is a
// child of this process now.
func (d death) awaitOrphans() {
	if d.traced != nil {
		<-d.traced // first: waiting here for a tracee would take its stops from its tracer
	}
	for d.orphan {
		if _, err := unix.Wait4(-d.group, nil, 0, nil); err != nil && err != unix.EINTR {
			break
		}
	}
}

// A doomed process is a run of the plugin that will be killed.
type doomed struct {
	*node
	path                 string
	env                  []string
	stdin, input, output *os.File
	pid                  int
}

func (n *node) prepare(verb string, p pod, config map[string]any) *doomed {
	n.Helper()
	cmd := n.command(verb, p, "net1", config)
	r := &doomed{node: n, path: cmd.Path, env: append(cmd.Env, "ROCE_CRASH_THINK="+thinkingTime.String())}
	var err error
	r.stdin, r.input, err = os.Pipe()
	must(n, err)
	must(n, json.NewEncoder(r.input).Encode(config)) // a pipe holds it all
	fd, err := unix.MemfdCreate("output", unix.MFD_CLOEXEC)
	must(n, err)
	r.output = os.NewFile(uintptr(fd), "output")
	return r
}

// start starts the plugin in a process group of its own, through one of this
// program's other selves if one is named.
func (r *doomed) start(self string, traced bool) {
	path := r.path
	if self != "" {
		path = selves + "/" + self
	}
	process, err := os.StartProcess(path, []string{path, r.path}, &os.ProcAttr{
		Env: r.env, Files: []*os.File{r.stdin, r.output, r.output},
		Sys: &syscall.SysProcAttr{Ptrace: traced, Setpgid: true},
	})
	must(r, err)
	r.pid = process.Pid
	must(r, process.Release()) // it is waited for by hand
}

func (r *doomed) end(d death, orphans bool) death {
	d.group, d.orphan = r.pid, unix.Kill(-r.pid, 0) == nil
	if orphans && d.orphan {
		_ = unix.Kill(-r.pid, unix.SIGKILL)
	}
	out, err := io.ReadAll(io.NewSectionReader(r.output, 0, 1<<20))
	must(r, err)
	d.output = string(out)
	r.stdin.Close()
	r.output.Close()
	return d
}
