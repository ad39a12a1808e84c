package delegate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"
)

// callerOf makes the test binary the caller of the plugin that it names, so
// that a test can kill the caller.
const callerOf = "DELEGATE_TEST_CALLER_OF"

func TestMain(m *testing.M) {
	if plugin := os.Getenv(callerOf); plugin != "" {
		_, err := (&Exec{}).ExecPlugin(context.Background(), plugin, []byte("{}\n"), os.Environ())
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// script makes a plugin of shell commands. In them $PIDS is a file that takes
// the numbers of processes that must be gone in the end.
func script(t *testing.T, commands string) (plugin, pids string) {
	t.Helper()
	dir := t.TempDir()
	plugin, pids = filepath.Join(dir, "hangs"), filepath.Join(dir, "pids")
	text := "#!/bin/sh\nPIDS=" + pids + "\n" + commands + "\n"
	if err := os.WriteFile(plugin, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return plugin, pids
}

// runScript runs a plugin of shell commands.
func runScript(t *testing.T, ctx context.Context, commands string) (answer string, pids string, err error) {
	t.Helper()
	plugin, pids := script(t, commands)
	b, err := (&Exec{}).ExecPlugin(ctx, plugin, []byte("{}"), os.Environ())
	return string(b), pids, err
}

// processes waits until a plugin has written down n processes.
func processes(t *testing.T, file string, n int) []int {
	t.Helper()
	for range 500 {
		b, _ := os.ReadFile(file)
		if words := strings.Fields(string(b)); len(words) == n && bytes.HasSuffix(b, []byte("\n")) {
			numbers := make([]int, n)
			for i, w := range words {
				numbers[i], _ = strconv.Atoi(w)
			}
			return numbers
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the plugin did not write down %d processes", n)
	return nil
}

func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(state, "Z")
}

// gone waits for the end of processes.
func gone(t *testing.T, pids ...int) {
	t.Helper()
	start := time.Now()
	for _, pid := range pids {
		for alive(pid) {
			if time.Since(start) > 5*time.Second {
				_ = unix.Kill(pid, unix.SIGKILL)
				t.Errorf("process %d is still there", pid)
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	t.Logf("gone after %s", time.Since(start).Round(time.Millisecond))
}

// nothingLeft checks at the end of a test that no descriptor and no child of
// this process remained.
func nothingLeft(t *testing.T) {
	t.Helper()
	count := func() int {
		fds, _ := os.ReadDir("/proc/self/fd")
		return len(fds)
	}
	// The first process brings descriptors of the Go runtime, which stay.
	if _, err := (&Exec{}).ExecPlugin(context.Background(), "/bin/true", nil, nil); err != nil {
		t.Fatal(err)
	}
	before := count()
	t.Cleanup(func() {
		if after := count(); after != before {
			t.Errorf("%d file descriptors, %d before", after, before)
		}
		if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
			t.Errorf("a child remained: %d, %v", pid, err)
		}
	})
}

func TestHangEndsWithContext(t *testing.T) {
	for _, test := range []struct {
		name, commands string
		processes      int  // written down
		escaped        bool // the last of them is out of reach
		within         time.Duration
	}{
		{"plugin", "echo $$ >$PIDS; exec sleep 100", 1, false, time.Second},
		{"does not read its configuration", "echo $$ >$PIDS; exec sleep 100 <&-", 1, false, time.Second},
		{"ignores signals", "trap '' TERM HUP INT PIPE; echo $$ >$PIDS; while :; do sleep 1; done", 1, false, time.Second},
		{"is stopped", "echo $$ >$PIDS; kill -STOP $$", 1, false, time.Second},
		{"its child", "sleep 100 & echo $$ $! >$PIDS; wait", 2, false, time.Second},
		{"double fork", "(sleep 100 & echo $! >$PIDS); exec sleep 100", 1, false, time.Second},
		{"child with a session of its own holds stdout", "setsid sleep 100 & echo $$ $! >$PIDS; wait", 2, true, 2 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			nothingLeft(t)
			ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
			defer cancel()
			start := time.Now()
			_, pids, err := runScript(t, ctx, test.commands)
			if d := time.Since(start); d > test.within+500*time.Millisecond {
				t.Errorf("took %s", d)
			}
			if want := "plugin hangs did not answer within 500ms and was killed"; err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v is not the context's", err)
			}
			left := processes(t, pids, test.processes)
			if test.escaped {
				last := len(left) - 1
				_ = unix.Kill(left[last], unix.SIGKILL)
				left = left[:last]
			}
			gone(t, left...)
		})
	}
}

func TestCancelled(t *testing.T) {
	nothingLeft(t)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(100*time.Millisecond, cancel)
	_, _, err := runScript(t, ctx, "exec sleep 100")
	if want := "plugin hangs was killed: context canceled"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	// A context that has ended before makes no difference.
	if _, _, err = runScript(t, ctx, "exec sleep 100"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func startCaller(t *testing.T, plugin string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	caller := exec.Command(self)
	caller.Env = append(os.Environ(), callerOf+"="+plugin)
	if err := caller.Start(); err != nil {
		t.Fatal(err)
	}
	return caller
}

func TestHangEndsWithCaller(t *testing.T) {
	for _, test := range []struct {
		name, commands string
		processes      int
	}{
		{"plugin", "echo $$ >$PIDS; exec sleep 100", 1},
		{"its child", "sleep 100 & echo $$ $! >$PIDS; wait", 2},
		{"its child alone", "sleep 100 & echo $! >$PIDS", 1},
		{"child without descriptors", "sleep 100 0<&- 1>&- 2>&- & echo $$ $! >$PIDS; wait", 2},
		{"double fork", "(sleep 100 & echo $! >$PIDS); exec sleep 100", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			nothingLeft(t)
			plugin, pids := script(t, "read config || exit; "+test.commands)
			caller := startCaller(t, plugin)
			left := processes(t, pids, test.processes)
			_ = caller.Process.Kill()
			_ = caller.Wait()
			gone(t, left...)
		})
	}
}

// A caller that is killed at any moment leaves nothing behind that has seen its
// configuration.
// In which order the kernel closes the files of a process that dies is its own
// business.
func TestEitherEndOfALeashHolds(t *testing.T) {
	for end := range 2 {
		l, err := newLeash()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sleep", "10")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if err := l.hold(cmd.Process.Pid); err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(l.ends[end])
		if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
			t.Errorf("end %d: %v", end, err)
		}
		_ = unix.Close(l.ends[1-end])
	}
}

func TestCallerKilledAnyTime(t *testing.T) {
	nothingLeft(t)
	const rounds = 60
	mark := fmt.Sprintf("10%d", os.Getpid())
	plugin, _ := script(t, fmt.Sprintf("read config || exit; sleep %s & exec sleep %s", mark, mark))
	for i := range rounds {
		caller := startCaller(t, plugin)
		time.Sleep(time.Duration(i) * 250 * time.Microsecond)
		_ = caller.Process.Kill()
		_ = caller.Wait()
	}
	time.Sleep(100 * time.Millisecond)
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		b, _ := os.ReadFile(file)
		if strings.Contains(string(b), plugin) || strings.Contains(string(b), "sleep\x00"+mark) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			_ = unix.Kill(pid, unix.SIGKILL)
			t.Errorf("process %d is left: %q", pid, b)
		}
	}
}

func TestChildKeepsStdout(t *testing.T) {
	nothingLeft(t)
	t.Run("for ever", func(t *testing.T) {
		answer, pids, err := runScript(t, context.Background(), "sleep 100 & echo $! >$PIDS; echo '{}'")
		if answer != "{}\n" || err != nil {
			t.Errorf("got %q, %v", answer, err)
		}
		gone(t, processes(t, pids, 1)...)
	})
	t.Run("for ever, after an error", func(t *testing.T) {
		_, _, err := runScript(t, context.Background(), `sleep 100 & echo '{"code":7,"msg":"no"}'; exit 1`)
		if err == nil || err.Error() != "no" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("to say the rest", func(t *testing.T) {
		answer, _, err := runScript(t, context.Background(), "(sleep 0.2; echo '{}') & exit 0")
		if answer != "{}\n" || err != nil {
			t.Errorf("got %q, %v", answer, err)
		}
	})
}

// A plugin that has answered leaves no process, or that one would live on for
// as long as this process does.
func TestChildEndsWithPlugin(t *testing.T) {
	nothingLeft(t)
	_, pids, err := runScript(t, context.Background(), "sleep 100 >/dev/null 2>&1 </dev/null & echo $! >$PIDS; echo '{}'")
	if err != nil {
		t.Error(err)
	}
	gone(t, processes(t, pids, 1)...)
}

func TestMuchOutput(t *testing.T) {
	nothingLeft(t)
	const size = "20971520"
	allocated := func(f func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	for _, test := range []struct{ name, commands, want string }{
		{"answer", "head -c " + size + " /dev/zero", "plugin hangs wrote more than 1024 KiB to its standard output and was killed"},
		{"answer a byte too long", "exec head -c 1048577 /dev/zero", "plugin hangs wrote more than 1024 KiB to its standard output and was killed"},
		{"endless answer", "exec cat /dev/zero", "plugin hangs wrote more than 1024 KiB to its standard output and was killed"},
		{"log", "head -c " + size + " /dev/zero >&2; echo '{}'", ""},
		{"log of a failure", "yes why | head -c " + size + " >&2; exit 3", "(cut off)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var err error
			// With the collector off, as main has it, all that is allocated stays.
			bytes := allocated(func() { _, _, err = runScript(t, context.Background(), test.commands) })
			t.Logf("%d KiB allocated", bytes>>10)
			if bytes > 8<<20 {
				t.Errorf("%d bytes allocated", bytes)
			}
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %.200v, want %q", err, test.want)
			}
			if err != nil && len(err.Error()) > 3*maxLog {
				t.Errorf("a message of %d bytes", len(err.Error()))
			}
		})
	}
}

func TestFailure(t *testing.T) {
	nothingLeft(t)
	for _, test := range []struct {
		name, commands string
		want           string
	}{
		{"its own words", `printf %s '{"code":42,"msg":"no\naddress","details":"of 10"}'; echo log >&2; exit 1`, "no; address; of 10"},
		{"status", "exit 3", "plugin hangs failed without a message: exit status 3"},
		{"log", "printf 'a\\nb\\n' >&2; exit 1", `plugin hangs failed (exit status 1): "a\nb"`},
		{"garbage", "echo garbage; echo log >&2; exit 1", `plugin hangs failed (exit status 1) and gave no reason but "garbage"`},
		{"a result", "echo '{}'; exit 1", `plugin hangs failed (exit status 1) and gave no reason but "{}"`},
		{"a long log", "head -c 5000 /dev/zero | tr '\\0' x >&2; exit 1", `plugin hangs failed (exit status 1): "` + strings.Repeat("x", maxLog) + `" (cut off)`},
		{"long garbage", "head -c 5000 /dev/zero | tr '\\0' x; exit 1", `plugin hangs failed (exit status 1) and gave no reason but "` + strings.Repeat("x", maxLog) + `" (cut off)`},
		{"garbage as long as it may be", "head -c 4096 /dev/zero | tr '\\0' x; exit 1", `plugin hangs failed (exit status 1) and gave no reason but "` + strings.Repeat("x", maxLog) + `"`},
		{"details in lines", `printf %s '{"code":42,"msg":"no","details":"a\nb"}'; exit 1`, "no; a; b"},
		{"signal", "kill -KILL $$", "plugin hangs failed without a message: signal: killed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := runScript(t, context.Background(), test.commands)
			var said *types.Error
			if !errors.As(err, &said) || err.Error() != test.want {
				t.Errorf("got %#v, want %s", err, test.want)
			}
			if test.name == "its own words" && said.Code != 42 {
				t.Errorf("code %d", said.Code)
			}
		})
	}
}

func TestSuccess(t *testing.T) {
	nothingLeft(t)
	t.Setenv("B", "ours")
	plugin, _ := script(t, "cat; echo $A$B; echo log >&2")
	var log bytes.Buffer
	answer, err := (&Exec{Stderr: &log}).ExecPlugin(context.Background(), plugin, []byte("in "), []string{"A=a"})
	if string(answer) != "in a\n" || log.String() != "log\n" || err != nil {
		t.Errorf("got %q, %q, %v", answer, log.String(), err)
	}
}

func TestFileBusy(t *testing.T) {
	nothingLeft(t)
	plugin, _ := script(t, "echo '{}'")
	f, err := os.OpenFile(plugin, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(500*time.Millisecond, func() { f.Close() })
	answer, err := (&Exec{}).ExecPlugin(context.Background(), plugin, nil, nil)
	if string(answer) != "{}\n" || err != nil {
		t.Errorf("got %q, %v", answer, err)
	}
	busy, err := os.OpenFile(plugin, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if _, err = (&Exec{}).ExecPlugin(ctx, plugin, nil, nil); !errors.Is(err, syscall.ETXTBSY) {
		t.Errorf("got %v", err)
	}
	ctx, cancel = context.WithTimeout(context.Background(), 3*busyTries*time.Second)
	defer cancel()
	if _, err = (&Exec{}).ExecPlugin(ctx, plugin, nil, nil); !errors.Is(err, syscall.ETXTBSY) || ctx.Err() != nil {
		t.Errorf("a file that stays busy: %v, %v", err, ctx.Err())
	}
	busy.Close()
}

// BenchmarkExec compares with what invoke does by itself.
func BenchmarkExec(b *testing.B) {
	for name, e := range map[string]invoke.Exec{
		"ours":   &Exec{},
		"invoke": &invoke.DefaultExec{RawExec: &invoke.RawExec{}},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := e.ExecPlugin(context.Background(), "/bin/true", []byte("{}"), nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
