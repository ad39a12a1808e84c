package cluster

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/roce-k8s/roce-k8s/test/e2e/node"
	"github.com/roce-k8s/roce-k8s/test/e2e/process"
)

// A Node is a node of the cluster as the outside sees it.
type Node struct {
	node.Config
	Folder  string
	cluster *ControlPlane
	machine *process.Process
}

// Parts are the files that a node is made of, beside the peers.
type Parts struct {
	Program string   // the command node
	Images  []string // container images that are on the node
	Pulled  []string // those that it pulls: OCI layouts
	Multus  string   // in the place of the peer's
	// ThickMultus: Multus is a DaemonSet, and nothing on a node before.
	ThickMultus bool
}

// NewNode prepares the folder of a node, and the way to its pods, which begins at the
// management bridge. Nothing runs yet.
func (c *ControlPlane) NewNode(config node.Config, parts Parts) (*Node, error) {
	config.ThickMultus = parts.ThickMultus
	n := &Node{Config: config, Folder: c.path(config.Name), cluster: c}
	for _, folder := range []string{node.ProgramsFolder, node.PluginsFolder, node.ImagesFolder, node.KeysFolder, node.LogsFolder, node.StateFolder} {
		if err := os.MkdirAll(n.path(folder), 0o755); err != nil {
			return nil, err
		}
	}
	files := map[string]string{parts.Program: node.ProgramsFolder}
	for _, name := range []string{"kubelet", "containerd", "containerd-shim-runc-v2", "ctr", "runc"} {
		files[c.program(peerOf(name), name)] = node.ProgramsFolder
	}
	for _, name := range []string{"whereabouts", "bridge", "host-local", "loopback", "host-device"} {
		files[c.program(peerOf(name), name)] = node.PluginsFolder
	}
	if !parts.ThickMultus {
		files[cmp.Or(parts.Multus, c.program("multus", "multus"))] = node.PluginsFolder
	}
	for _, image := range parts.Images {
		files[image] = node.ImagesFolder
	}
	for _, u := range users {
		files[c.path(u.file()+".kubeconfig")] = node.KeysFolder
	}
	for file, folder := range files {
		if err := n.Share(file, folder); err != nil {
			return nil, err
		}
	}
	address, _, _ := strings.Cut(config.Address, "/")
	return n, command("ip route add " + config.PodSubnet + " via " + address)
}

// peerOf is the peer that a program comes with.
func peerOf(program string) string {
	switch program {
	case "kubelet":
		return "kubernetes"
	case "containerd", "containerd-shim-runc-v2", "ctr":
		return "containerd"
	case "bridge", "host-local", "loopback", "host-device":
		return "plugins"
	}
	return program
}

// share gives a file another name, or a copy of it if that is on another disk.
func share(from, to string) error {
	if err := os.Link(from, to); err == nil || errors.Is(err, os.ErrExist) {
		return nil
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, info.Mode())
}

// Share puts a file into one of the node's folders, under its own name.
func (n *Node) Share(file, folder string) error {
	return share(file, n.path(folder, filepath.Base(file)))
}

func (n *Node) path(elem ...string) string {
	return filepath.Join(append([]string{n.Folder}, elem...)...)
}

// Running is an error once the node's machine has ended.
func (n *Node) Running() error { return n.machine.Ended() }

// AwaitReady waits until the cluster says that the node is ready, in this life of
// it.
func (n *Node) AwaitReady(ctx context.Context) error {
	err := Eventually(ctx, func() error {
		if err := n.Running(); err != nil {
			return fmt.Errorf("%w: %w", ErrFinal, err)
		}
		if _, err := n.Run(ctx, "true"); err != nil {
			return err
		}
		ready, err := n.cluster.Kubectl(ctx, "get", "node", n.Name, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.nodeInfo.bootID}`)
		if err == nil && !strings.HasPrefix(ready, "True "+n.BootID) {
			err = errors.New("not ready")
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	return nil
}

// Run runs a script on the node and returns what it printed. A status other than
// 0 is an error.
func (n *Node) Run(ctx context.Context, script string) (string, error) {
	body, err := n.post(ctx, "/run", script)
	if err != nil {
		return "", err
	}
	var answer node.Answer
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", err
	}
	if answer.Status != 0 {
		return answer.Output, fmt.Errorf("node %s: %s: status %d: %s", n.Name, script, answer.Status, strings.TrimSpace(answer.Output))
	}
	return answer.Output, nil
}

// AdvertiseGPUs has the node offer eight GPUs, as the guide's pods want them:
// there are none. A kubelet that restarts forgets them.
// Source: Kubernetes' "Advertise Extended Resources for a Node".
func (n *Node) AdvertiseGPUs(ctx context.Context) error {
	_, err := n.cluster.Kubectl(ctx, "patch", "node", n.Name, "--subresource=status", "--type=merge", "-p", `{"status":{"capacity":{"nvidia.com/gpu":"8"}}}`)
	return err
}

// RestartKubelet ends the kubelet in order and starts it again.
func (n *Node) RestartKubelet(ctx context.Context) error {
	_, err := n.post(ctx, "/kubelet/restart", "")
	return err
}

// KillKubelet does the same with SIGKILL.
func (n *Node) KillKubelet(ctx context.Context) error {
	_, err := n.post(ctx, "/kubelet/kill", "")
	return err
}

// RestartContainerd ends containerd, while its containers go on, and starts it again.
func (n *Node) RestartContainerd(ctx context.Context) error {
	_, err := n.post(ctx, "/containerd/restart", "")
	return err
}

// KillContainerd does the same with SIGKILL.
func (n *Node) KillContainerd(ctx context.Context) error {
	_, err := n.post(ctx, "/containerd/kill", "")
	return err
}

func (n *Node) post(ctx context.Context, path, body string) ([]byte, error) {
	address, _, _ := strings.Cut(n.Address, "/")
	url := fmt.Sprintf("http://%s:%d%s", address, node.Port, path)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, response.Status, bytes.TrimSpace(content))
	}
	return content, err
}
