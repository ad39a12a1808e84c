package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/roce-k8s/roce-k8s/test/e2e/node"
	"github.com/roce-k8s/roce-k8s/test/e2e/process"
)

// Boot starts a node whose machine is made of namespaces, and plugs it into the
// management bridge. Its NICs come with Wire.
func (n *Node) Boot(ctx context.Context) error {
	var err error
	if n.BootID, err = bootID(); err != nil {
		return err
	}
	if err := n.Write(n.Folder); err != nil {
		return err
	}
	// bash is the namespace's first process: it reaps what others leave.
	n.machine, err = process.Start(n.path(node.LogsFolder, "node"), "unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc",
		"bash", "-c", `hostname "$1"; "$2" "$3"; exit $?`, "bash", n.Name, n.path(node.ProgramsFolder, "node"), n.Folder)
	if err != nil {
		return err
	}
	init, err := n.init(ctx)
	if err != nil {
		return err
	}
	return command(
		fmt.Sprintf("ip link add %s type veth peer name mgmt0 netns %d", n.uplink(), init),
		fmt.Sprintf("ip link set %s master %s up", n.uplink(), bridge),
	)
}

// init is the process ID of the machine's first process, here.
func (n *Node) init(ctx context.Context) (pid int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err = Eventually(ctx, func() error {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", n.machine.PID()))
		if err != nil {
			return err
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(children)))
		return err
	})
	return pid, err
}

// PowerOff ends the node's machine and all of its processes at once, without a
// word to anybody. Its state folder stays, its NICs do not.
func (n *Node) PowerOff() {
	n.machine.Kill()
	// The kernel takes the link with the namespace, some time later.
	_ = command("ip link delete " + n.uplink())
}

// uplink is this side's end of the node's management interface.
func (n *Node) uplink() string { return "mgmt-" + n.Name }

// bridge is where the control plane meets the nodes.
const bridge = "management"

// AddBridge makes the management bridge with an address in CIDR notation, by which
// pods of one node reach those of another.
func AddBridge(address string) error {
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return err
	}
	return command(
		"ip link set lo up",
		"ip link add "+bridge+" type bridge",
		"ip addr add "+address+" dev "+bridge,
		"ip link set "+bridge+" up",
	)
}

// Wire connects the NICs of two nodes, rail i of one to rail i of the other.
func Wire(ctx context.Context, a, b *Node) error {
	pidA, errA := a.init(ctx)
	pidB, errB := b.init(ctx)
	if err := errors.Join(errA, errB); err != nil {
		return err
	}
	for i := range a.NICs {
		end := func(nic node.NIC, pid int) string {
			return fmt.Sprintf("%s address %s mtu 9000 netns %d", nic.Name, nic.MAC, pid)
		}
		if err := command("ip link add " + end(a.NICs[i], pidA) + " type veth peer name " + end(b.NICs[i], pidB)); err != nil {
			return err
		}
	}
	for _, n := range []*Node{a, b} {
		for _, nic := range n.NICs {
			if _, err := n.Run(ctx, "ip link set "+nic.Name+" up"); err != nil {
				return err
			}
		}
	}
	return nil
}

// LosePower takes the power of nodes that are wired to each other, and waits until
// they are ready again. What is on disk stays; namespaces and processes are gone, and
// the hardware comes up as new.
func LosePower(ctx context.Context, a, b *Node) error {
	for _, n := range []*Node{a, b} {
		n.PowerOff()
	}
	for _, n := range []*Node{a, b} {
		if err := n.Boot(ctx); err != nil {
			return err
		}
	}
	for _, n := range []*Node{a, b} {
		if err := Eventually(ctx, func() error { _, err := n.Run(ctx, "true"); return err }); err != nil {
			return err
		}
	}
	if err := Wire(ctx, a, b); err != nil {
		return err
	}
	return errors.Join(a.AwaitReady(ctx), b.AwaitReady(ctx))
}

func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/uuid") // a new one at each look
	return strings.TrimSpace(string(id)), err
}

// command runs commands, none of which has a blank in a word.
func command(lines ...string) error {
	for _, line := range lines {
		words := strings.Fields(line)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", line, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// CollectLogs copies the logs of the control plane and the nodes to a folder.
func (c *ControlPlane) CollectLogs(to string) error {
	logs, err := filepath.Glob(c.path("*", node.LogsFolder))
	if err != nil {
		return err
	}
	containers, err := filepath.Glob(c.path("*", node.StateFolder, "log/pods"))
	if err != nil {
		return err
	}
	for _, from := range slices.Concat(logs, containers, []string{c.path(node.LogsFolder)}) {
		name, err := filepath.Rel(c.Folder, from)
		if err != nil {
			return err
		}
		if err := os.CopyFS(filepath.Join(to, name), os.DirFS(from)); err != nil {
			return err
		}
	}
	return nil
}
