package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/test/e2e/process"
)

// A node is this machine.
type node struct {
	Config
	folder string

	mu                  sync.Mutex
	containerd, kubelet *process.Process
}

// Run makes this machine the node that its folder describes, and serves requests
// from the outside until the context ends.
func Run(ctx context.Context, folder string) error {
	c, err := read(folder)
	if err != nil {
		return err
	}
	n := &node{Config: c, folder: folder}
	if err := os.Setenv("PATH", n.path(ProgramsFolder)+":"+os.Getenv("PATH")); err != nil {
		return err
	}
	if c.inNamespaces() {
		if err := n.becomeMachine(ctx); err != nil {
			return fmt.Errorf("make a machine of namespaces: %w", err)
		}
	} else if err := n.prepareMachine(); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{n.configureNetwork, n.writeFiles, n.startRuntime, n.startKubelet} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return n.serve(ctx)
}

func (n *node) path(elem ...string) string {
	return filepath.Join(append([]string{n.folder}, elem...)...)
}

// configureNetwork waits for the management interface, which the outside puts
// here, and configures it.
func (n *node) configureNetwork(ctx context.Context) error {
	for run("ip link show mgmt0") != nil {
		if err := pause(ctx); err != nil {
			return err
		}
	}
	return run(fmt.Sprintf("ip link set lo up; ip addr add %s dev mgmt0; ip link set mgmt0 up; ip route add default via %s", n.Address, n.Gateway))
}

// prepareMachine gives a machine its name, and a disk in memory for want of another.
func (n *node) prepareMachine() error {
	if err := unix.Sethostname([]byte(n.Name)); err != nil {
		return fmt.Errorf("name the machine: %w", err)
	}
	return run("mount -t tmpfs -o mode=755 disk /var/lib")
}

// writeFiles puts the CNI plugins and the configuration of the pod network to
// their places.
func (n *node) writeFiles(context.Context) error {
	for _, folder := range []string{cniPlugins, cniConfig, "/var/lib/kubelet", "/etc/containerd"} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	if err := run(fmt.Sprintf("cp %s/* %s", n.path(PluginsFolder), cniPlugins)); err != nil {
		return err
	}
	for path, content := range n.files() {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			return err
		}
	}
	if n.inNamespaces() {
		return n.tellContainers()
	}
	return nil
}

// startRuntime starts containerd and gives it the images that no registry has.
func (n *node) startRuntime(ctx context.Context) error {
	if err := n.startContainerd(ctx); err != nil {
		return err
	}
	return run(fmt.Sprintf("for image in %s/*.tar; do ctr -n k8s.io images import $image; done", n.path(ImagesFolder)))
}

func (n *node) startContainerd(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	p, err := process.Start(n.path(LogsFolder, "containerd"), "containerd", "--config", containerdConfig)
	if err != nil {
		return err
	}
	n.containerd = p
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for run("ctr version") != nil {
		if err := errors.Join(p.Ended(), pause(ctx)); err != nil {
			return fmt.Errorf("containerd does not answer: %w", err)
		}
	}
	return nil
}

// pause passes the time until the next look.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(100 * time.Millisecond):
		return nil
	}
}

func (n *node) startKubelet(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	address, _, _ := strings.Cut(n.Address, "/")
	var err error
	n.kubelet, err = process.Start(n.path(LogsFolder, "kubelet"), "kubelet", "--config", kubeletConfig,
		"--kubeconfig", n.path(KeysFolder, "admin.kubeconfig"), "--hostname-override", n.Name, "--node-ip", address, "--v", "2")
	return err
}

// run runs commands with bash, until one fails.
func run(commands string) error {
	if out, err := exec.Command("bash", "-ec", commands).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", commands, err, strings.TrimSpace(string(out)))
	}
	return nil
}
