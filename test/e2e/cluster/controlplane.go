// Package cluster is a small real Kubernetes, seen from where its control plane
// runs: etcd, API server, scheduler and controller manager are processes of this
// machine, the nodes are machines of their own, in namespaces or in the lab.
//
// It knows nothing of what is tested on it.
package cluster

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/roce-k8s/roce-k8s/test/e2e/process"
)

// A ControlPlane is the cluster's control plane. It listens on the addresses of
// the network namespace that it was started in, which has to be a private one.
type ControlPlane struct {
	// Folder is where everything of the cluster is: keys, data, logs.
	Folder  string
	Address string // without a port
	peers   string // the folder of the programs

	processes []*process.Process
	registry  *http.Server
	// startAPI starts the API server, which is api.
	startAPI func() (*process.Process, error)
	api      *process.Process
}

// Port of the API server.
const port = 6443

// StartControlPlane starts a control plane and waits until it answers. peers is
// what test/peers/build prints, address one of this namespace's.
func StartControlPlane(ctx context.Context, folder, peers, address string) (*ControlPlane, error) {
	c := &ControlPlane{Folder: folder, Address: address, peers: peers}
	for _, step := range []func() error{c.writeKeys, c.startServers, func() error { return c.await(ctx) }} {
		if err := step(); err != nil {
			c.Stop()
			return nil, err
		}
	}
	return c, nil
}

func (c *ControlPlane) path(elem ...string) string {
	return filepath.Join(append([]string{c.Folder}, elem...)...)
}

// Server is the API server's URL.
func (c *ControlPlane) Server() string { return fmt.Sprintf("https://%s:%d", c.Address, port) }

// A user of the cluster, by its token.
type user struct{ name, groups string }

var users = []user{
	{"admin", "system:masters"},
	{"system:serviceaccount:kube-system:multus", "system:serviceaccounts"},
	{"system:serviceaccount:kube-system:whereabouts", "system:serviceaccounts"},
}

func (u user) file() string { return u.name[strings.LastIndex(u.name, ":")+1:] }

func (c *ControlPlane) writeKeys() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	var tokens strings.Builder
	for _, u := range users {
		fmt.Fprintf(&tokens, "token-of-%s,%s,uid-%s,%s\n", u.file(), u.name, u.file(), u.groups)
	}
	return errors.Join(
		os.MkdirAll(c.Folder, 0o755),
		os.WriteFile(c.path("service-accounts.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600),
		os.WriteFile(c.path("tokens.csv"), []byte(tokens.String()), 0o600),
	)
}

func (c *ControlPlane) startServers() error {
	kubeconfig := c.path("admin.kubeconfig")
	common := []string{
		"--kubeconfig", kubeconfig, "--authentication-kubeconfig", kubeconfig, "--authorization-kubeconfig", kubeconfig,
		"--bind-address", "127.0.0.1", "--leader-elect=false",
	}
	for _, server := range []struct {
		name string
		args []string
	}{
		{"etcd", []string{"--data-dir", c.path("etcd"), "--unsafe-no-fsync", "--log-level", "warn"}},
		{"kube-apiserver", []string{
			"--etcd-servers", "http://127.0.0.1:2379", "--secure-port", fmt.Sprint(port), "--advertise-address", c.Address,
			"--endpoint-reconciler-type", "none", "--cert-dir", c.path("certificates"), "--allow-privileged",
			"--service-account-issuer", c.Server(), "--service-account-key-file", c.path("service-accounts.pem"),
			"--service-account-signing-key-file", c.path("service-accounts.pem"), "--service-cluster-ip-range", "10.96.0.0/24",
			"--token-auth-file", c.path("tokens.csv"), "--authorization-mode", "RBAC",
			"--kubelet-preferred-address-types", "InternalIP",
		}},
		{"kube-controller-manager", append([]string{
			"--service-account-private-key-file", c.path("service-accounts.pem"), "--root-ca-file", c.path("certificates/apiserver.crt"),
			"--flex-volume-plugin-dir", c.path("volume-plugins"),
		}, common...)},
		{"kube-scheduler", common},
	} {
		if server.name == "kube-controller-manager" {
			// The API server has made its certificate when it serves.
			if err := c.writeKubeconfigs(); err != nil {
				return err
			}
		}
		start := func() (*process.Process, error) {
			return process.Start(c.path("logs", server.name), c.program("kubernetes", server.name), server.args...)
		}
		p, err := start()
		if err != nil {
			return err
		}
		if server.name == "kube-apiserver" {
			c.startAPI, c.api = start, p
			continue
		}
		c.processes = append(c.processes, p)
	}
	return nil
}

// WithoutAPI does something while the API server is away. The others wait for it.
func (c *ControlPlane) WithoutAPI(ctx context.Context, what func()) error {
	c.api.Kill()
	what()
	var err error
	if c.api, err = c.startAPI(); err != nil {
		return err
	}
	return c.await(ctx)
}

// writeKubeconfigs writes a kubeconfig for each user. It waits for the API
// server's certificate, which vouches for itself.
func (c *ControlPlane) writeKubeconfigs() error {
	certificate, err := c.certificate()
	if err != nil {
		return err
	}
	for _, u := range users {
		content := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "e2e",
  "clusters": [{"name": "e2e", "cluster": {"server": %q, "certificate-authority-data": %q}}],
  "users": [{"name": "e2e", "user": {"token": "token-of-%s"}}],
  "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e"}}]}
`, c.Server(), certificate, u.file())
		if err := os.WriteFile(c.path(u.file()+".kubeconfig"), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// await waits until the API server is ready and the defaults are there that
// pods need.
func (c *ControlPlane) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return Eventually(ctx, func() error {
		for _, p := range append(slices.Clone(c.processes), c.api) {
			if err := p.Ended(); err != nil {
				return fmt.Errorf("%w: %w", ErrFinal, err)
			}
		}
		_, err := c.Kubectl(ctx, "get", "serviceaccount/default", "configmap/kube-root-ca.crt")
		return err
	})
}

// program is one of the peers' programs.
func (c *ControlPlane) program(peer, name string) string {
	found, _ := filepath.Glob(filepath.Join(c.peers, peer+"@*", name))
	if len(found) == 0 {
		return name
	}
	slices.Sort(found)
	return found[len(found)-1]
}

// Kubectl runs kubectl as the cluster's administrator and returns what it
// printed on standard output.
func (c *ControlPlane) Kubectl(ctx context.Context, args ...string) (string, error) {
	return c.command(ctx, "", c.program("kubernetes", "kubectl"), args...)
}

// Apply applies manifests, with further flags if need be.
func (c *ControlPlane) Apply(ctx context.Context, manifests string, flags ...string) (string, error) {
	return c.command(ctx, manifests, c.program("kubernetes", "kubectl"), append([]string{"apply", "-f", "-"}, flags...)...)
}

// Helm does with helm what Kubectl does with kubectl. What helm starts finds kubectl.
func (c *ControlPlane) Helm(ctx context.Context, args ...string) (string, error) {
	return c.command(ctx, "", c.program("helm", "helm"), args...)
}

func (c *ControlPlane) command(ctx context.Context, stdin, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(),
		"HOME="+c.Folder, // for caches
		"KUBECONFIG="+c.path("admin.kubeconfig"),
		"PATH="+filepath.Dir(c.program("kubernetes", "kubectl"))+":"+os.Getenv("PATH"))
	cmd.Stdin = strings.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// Stop ends the control plane.
func (c *ControlPlane) Stop() {
	if c.registry != nil {
		_ = c.registry.Close()
	}
	if c.api != nil {
		c.api.Kill()
	}
	for _, p := range slices.Backward(c.processes) {
		p.Kill()
	}
}
