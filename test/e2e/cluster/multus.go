package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// thickSuffix is that of the file with all of a thick Multus.
const thickSuffix = "-thick.yml"

// InstallThickMultus deploys Multus as its authors would have it: a daemon in a
// container, with namespaces of its own and the host's root in a folder, which
// runs the CNI plugins there, and a shim in the folder of the CNI plugins. It
// waits until the daemon has put itself before the network that the nodes have.
func (p *Pair) InstallThickMultus(ctx context.Context) error {
	files, err := filepath.Glob(filepath.Join(p.peers, "multus@*", "manifests", "*"+thickSuffix))
	if err != nil {
		return err
	}
	if len(files) != 1 {
		return fmt.Errorf("want one manifest of a thick Multus, not %v", files)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		return err
	}
	if _, err := p.Apply(ctx, p.Reachable(string(b))); err != nil {
		return err
	}
	if _, err := p.Kubectl(ctx, "rollout", "status", "-n", "kube-system", "daemonset/kube-multus-ds"); err != nil {
		return err
	}
	for _, n := range p.Nodes {
		err := Eventually(ctx, func() error { _, err := n.Run(ctx, "test -e /etc/cni/net.d/00-multus.conf"); return err })
		if err != nil {
			return err
		}
	}
	return nil
}

// Reachable has a DaemonSet's containers that have an environment ask for the API
// server where it is: nothing here makes a Service's address lead there.
func (c *ControlPlane) Reachable(manifest string) string {
	return regexp.MustCompile(`(?m)^( +env:\n)( +)- `).ReplaceAllString(manifest, fmt.Sprintf(
		"${1}${2}- {name: KUBERNETES_SERVICE_HOST, value: %q}\n${2}- {name: KUBERNETES_SERVICE_PORT, value: \"%d\"}\n${2}- ", c.Address, port))
}
