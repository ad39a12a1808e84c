package netdev

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/kernelfile"
)

// AllNamespaces opens, one after another, every network namespace that this
// process can reach, those of container runtimes first. Each comes once and is
// closed after the loop's body. It is the slow way to find a netdev that is in
// none of the places where it should be.
//
// One that cannot be opened comes as an error, unless it ended meanwhile or may
// not be entered; so does the end of ctx, which ends the loop early. What a
// deep search without an error did not find is in no namespace that this
// process may enter.
//
// deep is slower still, and finds namespaces in which no process is: those that
// only a file descriptor of a process holds, or a mount elsewhere.
func AllNamespaces(ctx context.Context, deep bool) iter.Seq2[*Namespace, error] {
	return func(yield func(*Namespace, error) bool) {
		for path, sandbox := range distinctNamespaces(ctx, deep) {
			ns, err := OpenNamespace(path)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, fs.ErrPermission) {
				continue
			}
			if err == nil {
				ns.Sandbox = sandbox
			}
			more := yield(ns, err)
			if err == nil {
				ns.Close()
			}
			if !more {
				return
			}
		}
		if ctx.Err() != nil {
			yield(nil, fmt.Errorf("look into all network namespaces: %w", ctx.Err()))
		}
	}
}

// distinctNamespaces goes through namespacePaths, with one path for each
// namespace, and leaves out those with the inodes in but.
func distinctNamespaces(ctx context.Context, deep bool, but ...uint64) iter.Seq2[string, bool] {
	return func(yield func(string, bool) bool) {
		seen := map[uint64]bool{}
		for _, inode := range but {
			seen[inode] = true
		}
		for path, sandbox := range namespacePaths(deep) {
			if ctx.Err() != nil {
				return
			}
			inode := inodeOf(path)
			if inode == 0 || seen[inode] {
				continue
			}
			seen[inode] = true
			if !yield(path, sandbox) {
				return
			}
		}
	}
}

// inodeOf is the inode of the namespace that a file stands for, 0 if there is
// none. A process's link says it (ns_get_name in fs/nsfs.c), and reading that
// takes a third of the time of following it: a node has thousands of processes.
func inodeOf(path string) uint64 {
	text := make([]byte, len("net:[18446744073709551615]"))
	if n, err := unix.Readlink(path, text); err == nil && isNetworkNamespace(string(text[:n])) {
		inode, _ := strconv.ParseUint(strings.Trim(string(text[:n]), "net:[]"), 10, 64)
		return inode
	}
	// Anything may lie in those folders, and to open a FIFO would be to wait.
	var st unix.Stat_t
	var in unix.Statfs_t
	if unix.Statfs(path, &in) != nil || in.Type != unix.NSFS_MAGIC || unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Ino
}

// SandboxNumbered returns the file of the namespace with a number (nsid) in
// this one, if a container runtime made it for a pod; "" if none did.
func (n *Namespace) SandboxNumbered(number int) (path string, err error) {
	for path, kept := range namespacePaths(false) {
		if !kept {
			break // those come first
		}
		if !isNamedByRuntime(path) || inodeOf(path) == 0 {
			continue
		}
		handle, err := netns.GetFromPath(path)
		if err != nil {
			continue
		}
		its, err := n.numberOf(handle)
		handle.Close()
		switch {
		case errors.Is(err, unix.EINVAL): // a file without a namespace
		case err != nil:
			return "", err
		case its == number:
			return path, nil
		}
	}
	return "", nil
}

// isNamedByRuntime tells a pod's namespace from one that a person made with
// `ip netns`: containerd names it cni- and a UUID, CRI-O a UUID, and Docker
// has a folder of its own.
func isNamedByRuntime(path string) bool {
	name := filepath.Base(path)
	uuid := len(name) == 36 && strings.Count(name, "-") == 4
	return uuid || strings.HasPrefix(name, "cni-") || strings.HasPrefix(path, "/run/docker/")
}

// namespacePaths goes through the files that may be network namespaces, with
// whether they are where runtimes keep those of pods.
func namespacePaths(deep bool) iter.Seq2[string, bool] {
	return func(yield func(string, bool) bool) {
		// Container runtimes bind-mount the namespaces of pods there, and
		// `ip netns` an administrator's.
		seen := map[[2]uint64]bool{} // mostly /var/run is a link to /run
		for _, folder := range []string{"/run/netns", "/var/run/netns", "/run/docker/netns"} {
			var st unix.Stat_t
			if unix.Stat(folder, &st) != nil || seen[[2]uint64{st.Dev, st.Ino}] {
				continue
			}
			seen[[2]uint64{st.Dev, st.Ino}] = true
			answer, _ := kernelfile.Dirents(folder, nil)
			for name := range kernelfile.Entries(answer) {
				if !yield(filepath.Join(folder, string(name)), true) {
					return
				}
			}
		}
		sources := []iter.Seq[string]{processNamespaces}
		if deep {
			sources = append(sources, openNamespaces, mountedNamespaces)
		}
		for _, source := range sources {
			for path := range source {
				if !yield(path, false) {
					return
				}
			}
		}
	}
}

// processNamespaces are those with a process in them.
func processNamespaces(yield func(string) bool) {
	for _, process := range processes() {
		if !yield(process + "/ns/net") {
			return
		}
	}
}

// processes are the /proc folders of the processes that may have a namespace of
// their own. Kernel threads have none, and are most of what an idle node runs.
func processes() (folders []string) {
	answer, _ := kernelfile.Dirents("/proc", nil)
	threads := kernelThreads()
	for entry := range kernelfile.Entries(answer) {
		name := string(entry)
		if strings.Trim(name, "0123456789") == "" && !threads[name] {
			folders = append(folders, "/proc/"+name)
		}
	}
	return folders
}

// kernelThreads are the children of kthreadd, which is process 2 unless this is
// the PID namespace of a container. A running program, unlike a kernel thread,
// has an executable (proc_exe_link in fs/proc/base.c).
func kernelThreads() map[string]bool {
	if _, err := os.Readlink("/proc/2/exe"); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	children, _ := kernelfile.ReadAll("/proc/2/task/2/children") // CONFIG_PROC_CHILDREN
	threads := map[string]bool{}
	for _, child := range strings.Fields(string(children)) {
		threads[child] = true
	}
	return threads
}

// openNamespaces are those that a process has a file descriptor for.
func openNamespaces(yield func(string) bool) {
	paths, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, path := range paths {
		if target, err := os.Readlink(path); err == nil && isNetworkNamespace(target) && !yield(path) {
			return
		}
	}
}

// mountedNamespaces are those that a mount of any mount namespace holds.
func mountedNamespaces(yield func(string) bool) {
	seen := map[string]bool{} // mount namespaces
	for _, process := range processes() {
		mounts, err := os.Readlink(filepath.Join(process, "ns/mnt"))
		if err != nil || seen[mounts] {
			continue
		}
		seen[mounts] = true
		table, err := os.ReadFile(filepath.Join(process, "mountinfo"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(table)) {
			// ID, parent, device, root, mount point (proc_pid_mountinfo(5)).
			fields := strings.Fields(line)
			if len(fields) > 4 && isNetworkNamespace(fields[3]) && !yield(filepath.Join(process, "root", unescape(fields[4]))) {
				return
			}
		}
	}
}

func isNetworkNamespace(nsfs string) bool { return strings.HasPrefix(nsfs, "net:[") }

// unescape is the way back from mangle in fs/proc_namespace.c.
func unescape(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}
