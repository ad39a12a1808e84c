package node

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// becomeMachine makes the private mount, network and PID namespaces that this
// process was started in look like a machine, to a kubelet that writes below
// /var/lib and /proc/sys, and to programs that look for RDMA hardware.
//
// What is below the node's state folder stays when the namespaces end: its disk.
func (n *node) becomeMachine(ctx context.Context) error {
	for _, step := range []func() error{n.mountState, n.mountMemory, n.shieldKernel, n.mountDev, n.removeControlGroups, lowerMemlock} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := n.addHardware(ctx); err != nil {
		return err
	}
	// As systemd leaves them: what is mounted on a node, such as the namespace of
	// a pod, containers see that ask for it.
	return run("mount --make-rshared /")
}

// mountState mounts what a disk keeps. The rest of the root file system is this
// machine's, read and not written.
func (n *node) mountState() error {
	return run(fmt.Sprintf(`
mount --make-rprivate /
cd %s
mkdir -p lib log etc/{new,work} opt/{new,work}
mount --bind lib /var/lib
mount --bind log /var/log
for folder in etc opt; do
	mount -t overlay -o lowerdir=/$folder,upperdir=$folder/new,workdir=$folder/work overlay /$folder
done`, n.path(StateFolder)))
}

// mountMemory mounts what a reboot empties.
func (n *node) mountMemory() error { return run("mount -t tmpfs -o mode=755 run /run") }

// removeControlGroups removes those of containers that ended with an earlier life:
// a reboot leaves none, and for each the kubelet waits three seconds, twice. One
// with a process in it, of the other node, stays.
func (n *node) removeControlGroups() error {
	return run("find /sys/fs/cgroup -depth -type d -path '*/k8s.io/*' -exec rmdir {} + 2>/dev/null || true")
}

// shieldKernel keeps the kubelet's settings from the machine's kernel, and gives
// each life of the node a boot ID of its own.
func (n *node) shieldKernel() error {
	settings := map[string]string{"kernel/random/boot_id": n.BootID}
	for _, name := range []string{
		"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
		"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
	} {
		settings[name] = "0"
	}
	for name, value := range settings {
		private := filepath.Join("/run/sysctl", name)
		if err := os.MkdirAll(filepath.Dir(private), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(private, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(private, filepath.Join("/proc/sys", name), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// tellContainers gives containers the node's boot ID: their /proc is a new one, with
// the machine's kernel in it. Without it a program in a container takes what one on
// the node wrote in this boot for something of an earlier one.
func (n *node) tellContainers() error {
	out, err := exec.Command("ctr", "oci", "spec").Output()
	if err != nil {
		return fmt.Errorf("containerd's spec of a container: %w", err)
	}
	var spec map[string]json.RawMessage
	if err := json.Unmarshal(out, &spec); err != nil {
		return err
	}
	// It runs where the container's mounts are made already, and the node's are
	// still to be seen, in the container's root folder.
	// Source: prepareRootfs in runc 1.5.2, libcontainer/rootfs_linux.go.
	const bootID = "proc/sys/kernel/random/boot_id"
	spec["hooks"] = json.RawMessage(fmt.Sprintf(`{"createContainer": [{"path": "/bin/mount", "args": ["mount", "--bind", "/%[1]s", %[1]q]}]}`, bootID))
	if out, err = json.Marshal(spec); err != nil {
		return err
	}
	return os.WriteFile(containersSpec, out, 0o644)
}

// Memlock is what a container may lock that nothing is done for.
const Memlock = 64 << 10

// lowerMemlock lowers what programs, and with them containers, may lock: that some
// may lock more can be seen then without a right to raise this machine's own limit.
func lowerMemlock() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return err
	}
	limit.Cur = Memlock
	return unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit)
}

// mountDev mounts a /dev to which device nodes can be added.
func (n *node) mountDev() error {
	return run(`
mkdir /run/dev
mount -t tmpfs -o mode=755 dev /run/dev
cd /run/dev
cp -a /dev/{null,zero,full,random,urandom,tty,kmsg,ptmx} .
ln -s /proc/self/fd fd
mkdir pts shm mqueue
mount --bind /dev/pts pts
mount -t tmpfs shm shm
mount --move /run/dev /dev`)
}
