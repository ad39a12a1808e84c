package crash_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tracedName is this program as the one that puts itself under a filter, then
// becomes the plugin: with the filter, the kernel stops the plugin before the
// system calls that change something, and before no others.
//
// ptrace(2), and not strace's inject: that one counts every thread for itself,
// and a Go program's calls come from whatever thread is free. The filter
// (seccomp(2)) makes it ten times as fast in the lab.
const tracedName = "traced"

// changing are the system calls after which another process may find something
// changed. Those that Go's runtime makes for itself are not among them.
var changing = map[uint64]string{
	unix.SYS_WRITE: "write", unix.SYS_PWRITE64: "pwrite", unix.SYS_WRITEV: "writev", unix.SYS_FTRUNCATE: "ftruncate",
	unix.SYS_OPENAT: "open", unix.SYS_CLOSE: "close", unix.SYS_FSYNC: "fsync", unix.SYS_FDATASYNC: "fdatasync", unix.SYS_FLOCK: "flock",
	unix.SYS_MKDIRAT: "mkdir", unix.SYS_UNLINKAT: "unlink", unix.SYS_LINKAT: "link", unix.SYS_SYMLINKAT: "symlink",
	unix.SYS_RENAMEAT: "rename", unix.SYS_RENAMEAT2: "rename", unix.SYS_FCHMOD: "fchmod", unix.SYS_FCHMODAT: "chmod",
	unix.SYS_SENDTO: "send", unix.SYS_SENDMSG: "send", unix.SYS_SETNS: "setns", unix.SYS_UNSHARE: "unshare", unix.SYS_MOUNT: "mount",
	unix.SYS_CLONE: "clone", unix.SYS_CLONE3: "clone", unix.SYS_EXIT_GROUP: "exit",
}

// becomeTraced installs the filter in this thread and becomes the program.
// Everything that it starts inherits the filter, and must be traced, too.
func becomeTraced(program string) error {
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}} // seccomp_data.nr
	for nr := range changing {
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: uint32(nr)},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_TRACE})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0); err != nil {
		return fmt.Errorf("install the filter: %w", err)
	}
	return unix.Exec(program, []string{program}, os.Environ())
}

// A tracee is a run of the plugin, and whatever it starts.
type tracee struct {
	testing.TB
	pid      int
	stateDir string
	point    int // kill there
	seen     func(change string)
	death
	died chan<- death // gets the death of the plugin, before those of its orphans
}

// run lets all of them run to their ends.
func (t *tracee) run() {
	var status unix.WaitStatus
	if _, err := unix.Wait4(t.pid, &status, 0, nil); err != nil || !status.Stopped() {
		t.Errorf("the plugin did not start: %v, status %x", err, status)
	}
	const options = unix.PTRACE_O_TRACESECCOMP | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK |
		unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(t.pid, options); err != nil {
		t.Errorf("trace the plugin: %v", err)
	}
	for tid, signal := t.pid, 0; ; {
		// A thread that was killed meanwhile cannot go on; that is not an
		// error.
		if err := unix.PtraceCont(tid, signal); err != nil && err != unix.ESRCH {
			t.Errorf("go on: %v", err)
		}
		if tid, signal = t.next(); tid == 0 {
			return
		}
	}
}

// next waits for a thread that stops, and says with what signal it is to go
// on. There is none when all have ended.
func (t *tracee) next() (tid, signal int) {
	for {
		var status unix.WaitStatus
		tid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, 0
		case !status.Stopped():
			if tid == t.pid {
				t.died <- t.death
			}
		case status.TrapCause() == unix.PTRACE_EVENT_SECCOMP:
			t.look(tid)
			return tid, 0
		case status.TrapCause() > 0 || status.StopSignal() == unix.SIGSTOP: // a new thread or program
			return tid, 0
		default:
			return tid, int(status.StopSignal())
		}
	}
}

// look counts a system call, and kills the plugin if it is the one. It will
// not be made then.
func (t *tracee) look(tid int) {
	if t.at != "" || unix.Access(fmt.Sprintf("/proc/%d/task/%d", t.pid, tid), unix.F_OK) != nil {
		return
	}
	change := t.change(tid)
	if change == "" {
		return
	}
	if t.seen != nil {
		t.seen(change)
	}
	if t.points++; t.points == t.point {
		t.at = change
		_ = unix.Kill(t.pid, unix.SIGKILL)
	}
}

// syscallInfo is struct ptrace_syscall_info of linux/ptrace.h (Linux 5.3).
type syscallInfo struct {
	_    uint8 // what kind of stop
	_    uint32
	_    [2]uint64 // instruction and stack pointer
	nr   uint64
	args [6]uint64
	_    uint64
}

// change names the system call before which a thread has stopped, "" if it
// changes nothing.
func (t *tracee) change(tid int) string {
	var info syscallInfo
	if _, _, err := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(info),
		uintptr(unsafe.Pointer(&info)), 0, 0); err != 0 {
		return ""
	}
	name := changing[info.nr]
	switch info.nr {
	case unix.SYS_CLONE:
		if info.args[0]&unix.CLONE_THREAD != 0 {
			return ""
		}
		return name
	case unix.SYS_OPENAT:
		if info.args[2]&(unix.O_CREAT|unix.O_TRUNC) == 0 {
			return ""
		}
		return name + " " + text(tid, info.args[1])
	case unix.SYS_MKDIRAT, unix.SYS_UNLINKAT:
		return name + " " + text(tid, info.args[1])
	case unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2:
		return name + " " + text(tid, info.args[1]) + " to " + text(tid, info.args[3])
	case unix.SYS_CLONE3, unix.SYS_EXIT_GROUP:
		return name
	}
	target, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, info.args[0]))
	switch info.nr {
	case unix.SYS_SENDTO:
		if strings.HasPrefix(target, "socket:") && isQuestion(tid, info.args[1]) {
			return ""
		}
	case unix.SYS_WRITE: // to wake the runtime's own poller
		if strings.HasSuffix(target, "[eventfd]") {
			return ""
		}
	case unix.SYS_CLOSE: // closing a lock releases it
		if !strings.HasPrefix(target, filepath.Join(t.stateDir, "locks")) {
			return ""
		}
	}
	return name + " " + target
}

// isQuestion tells whether a netlink message, of rtnetlink, only asks: of the
// four types that each subject has, NEW, DEL, GET and SET, it is GET.
func isQuestion(tid int, addr uint64) bool {
	b := make([]byte, 6) // nlmsg_len, nlmsg_type
	if _, err := unix.PtracePeekData(tid, uintptr(addr), b); err != nil {
		return false
	}
	kind := binary.NativeEndian.Uint16(b[4:])
	return kind >= unix.RTM_BASE && kind <= unix.RTM_MAX && (kind-unix.RTM_BASE)%4 == 2
}

// text reads a string of a stopped thread's memory.
func text(tid int, addr uint64) string {
	b := make([]byte, 256)
	n, err := unix.PtracePeekData(tid, uintptr(addr), b)
	if n == 0 && err != nil {
		return "?"
	}
	s, _, _ := strings.Cut(string(b[:n]), "\x00")
	return s
}
