package delegate

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/version"
	"golang.org/x/sys/unix"
)

const (
	// maxAnswer bounds a plugin's answer. One with a thousand addresses has
	// some hundred KiB.
	maxAnswer = 1 << 20
	// maxLog bounds what is kept of a plugin's standard error: the first lines,
	// because an event has no room for more, and a program that crashes
	// says why before it prints its stacks.
	maxLog = 4 << 10
	// goodbye bounds two waits: for what is left in the pipes when the plugin
	// has ended and a child still holds them, and for the end of a plugin
	// that was sent a SIGKILL.
	goodbye = time.Second
	// busyTries is how often a plugin whose file is just being written is
	// tried again, a second apart.
	busyTries = 5
)

// Exec runs plugins. It takes the place of invoke.DefaultExec.
type Exec struct {
	version.PluginDecoder
	// Stderr gets what a plugin that succeeded wrote to its standard error;
	// nil drops it.
	Stderr io.Writer
}

var _ invoke.Exec = (*Exec)(nil)

// ExecPlugin runs a plugin and returns what it wrote to its standard output.
// It returns soon after ctx is done, whatever the plugin does.
func (e *Exec) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	start := time.Now()
	for try := 0; ; try++ {
		answer, err := e.try(ctx, start, path, stdin, environ)
		if try == busyTries || !errors.Is(err, unix.ETXTBSY) {
			return answer, err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func (e *Exec) try(ctx context.Context, start time.Time, path string, stdin []byte, environ []string) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stdout := &output{limit: maxAnswer, full: func() { cancel(errTooMuch) }}
	stderr := &output{limit: maxLog}
	cmd := exec.Command(path)
	cmd.Env = environ
	cmd.Stdout = stdout
	cmd.Stderr = stderr
	cmd.WaitDelay = goodbye
	done := make(chan error, 1)
	go func() { done <- run(ctx, cmd, stdin) }()

	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		select {
		case err = <-done:
		case <-time.After(2 * goodbye): // it is in a system call that SIGKILL does not interrupt
			return nil, endedError(ctx, start, path, "could not be killed")
		}
	}
	switch {
	case stdout.cut:
		return nil, tooMuchError(path)
	case err != nil && ctx.Err() != nil:
		return nil, endedError(ctx, start, path, "was killed")
	case err != nil:
		return nil, failedError(path, err, stdout, stderr)
	}
	if e.Stderr != nil && len(stderr.kept) > 0 {
		_, _ = e.Stderr.Write(stderr.kept) // for information only
	}
	return stdout.kept, nil
}

// run starts a plugin and waits for it. When it returns, or ctx is done, or
// this process dies, the plugin and its process group end.
func run(ctx context.Context, cmd *exec.Cmd, stdin []byte) error {
	leash, err := newLeash()
	if err != nil {
		return &startError{err}
	}
	defer leash.release()
	in, err := cmd.StdinPipe()
	if err != nil {
		return &startError{err}
	}
	// The kernel sends the parent death signal when the thread that forked
	// ends (https://go.dev/issue/27505), so it must last as long as the plugin.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		return &startError{err}
	}
	if err := leash.hold(cmd.Process.Pid); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return &startError{err}
	}
	stop := context.AfterFunc(ctx, leash.release)
	defer stop()
	// Until now the plugin had the parent death signal only. It gets its
	// configuration once it is on the leash, so that neither what it does with
	// that, nor a child that does it, can outlive this process.
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = in.Write(stdin) // a plugin need not read it
		_ = in.Close()
	}()
	err = cmd.Wait() // closes the pipe, too, which ends a write
	<-written
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil // the plugin itself succeeded; a child kept a pipe open
	}
	return err
}
