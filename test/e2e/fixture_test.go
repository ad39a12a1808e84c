// Package e2e_test deploys the project on a real Kubernetes, as a platform team
// does, and lives through what happens to a cluster: etcd, API server, scheduler,
// controller manager, two kubelets, containerd, runc, Multus and Whereabouts are
// the real ones, and so are image and manifests.
//
// The nodes are namespaces; veth ends are their NICs, rail i of one wired to rail i
// of the other. This machine's kernel has no RDMA: a stand-in sysfs has the HCAs,
// and the networks say "rdma": "none". What that cannot show, the replay of the
// guide does.
package e2e_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roce-k8s/roce-k8s/test/e2e/cluster"
)

var rails = cluster.Rails()

const (
	resource = "rdma/hca_gpu"
	patience = 90 * time.Second
)

// A site is a cluster with two nodes, and the place to ask it from. Its methods
// end the test that is running when something does not work.
type site struct {
	*testing.T
	*cluster.ControlPlane
	nodes []*cluster.Node
}

// in is the site as a subtest sees it.
func (s *site) in(t *testing.T) *site { return &site{t, s.ControlPlane, s.nodes} }

// newSite starts the cluster and installs what the guide takes for granted, and
// its Multus and Whereabouts.
func newSite(t *testing.T) *site {
	folder := os.Getenv("ROCE_E2E_FOLDER")
	if folder == "" {
		t.Skip("needs private namespaces: run the tests with `make e2e`")
	}
	s := &site{T: t}
	ctx := s.context()
	images, err := filepath.Glob(filepath.Join(os.Getenv("ROCE_E2E_IMAGES"), "*.tar"))
	s.must(err)
	// What a release has, the nodes pull, by the names of the release.
	var pulled []string
	images = slices.DeleteFunc(images, func(image string) bool {
		ours := slices.Contains([]string{"roce-k8s.tar", "roce-k8s-dra.tar", "rdma-tools.tar"}, filepath.Base(image))
		if ours {
			pulled = append(pulled, image)
		}
		return ours
	})
	pair, err := cluster.StartPair(ctx, folder, os.Getenv("ROCE_E2E_PEERS"), cluster.Parts{
		Program: os.Getenv("ROCE_E2E_NODE"), Images: images, Pulled: pulled, ThickMultus: os.Getenv("ROCE_E2E_MULTUS_MODE") == "thick",
	})
	s.ControlPlane, s.nodes = pair.ControlPlane, pair.Nodes
	t.Cleanup(func() {
		if t.Failed() && s.ControlPlane != nil {
			s.collect()
		}
		pair.Stop()
	})
	s.must(err)
	return s
}

func (s *site) context() context.Context {
	ctx, cancel := context.WithTimeoutCause(s.T.Context(), patience, errors.New("waited for "+patience.String()))
	s.Cleanup(cancel)
	return ctx
}

func (s *site) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// eventually waits for a condition.
func (s *site) eventually(condition func() error) {
	s.Helper()
	s.must(cluster.Eventually(s.context(), condition))
}

// kubectl runs kubectl and returns what it prints.
func (s *site) kubectl(args ...string) string {
	s.Helper()
	out, err := s.Kubectl(s.context(), args...)
	s.must(err)
	return out
}

func (s *site) apply(manifests string) {
	s.Helper()
	_, err := s.Apply(s.context(), manifests)
	s.must(err)
}

// file is a file of the project.
func (s *site) file(path string) string {
	s.Helper()
	b, err := os.ReadFile(filepath.Join(os.Getenv("ROCE_E2E_ROOT"), path))
	s.must(err)
	return string(b)
}

// on runs a script on a node.
func (s *site) on(n *cluster.Node, script string) string {
	s.Helper()
	out, err := n.Run(s.context(), script)
	s.must(err)
	return strings.TrimSpace(out)
}

// exec runs a command in a pod.
func (s *site) exec(pod string, command ...string) (string, error) {
	return s.Kubectl(s.context(), append([]string{"exec", pod, "--"}, command...)...)
}

// collect writes down what explains a failure.
func (s *site) collect() {
	to := filepath.Join(os.Getenv("ROCE_E2E_LOGS"), regexp.MustCompile(`\W+`).ReplaceAllString(s.Name(), "-"))
	_ = os.RemoveAll(to)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.CollectLogs(to); err != nil {
		s.Log("collect logs:", err)
	}
	for name, args := range map[string][]string{
		"pods":    {"get", "pods", "-A", "-o", "wide"},
		"nodes":   {"get", "nodes", "-o", "yaml"},
		"events":  {"get", "events", "-A", "--sort-by=.lastTimestamp"},
		"plugin":  {"logs", "-n", "kube-system", "-l", "app.kubernetes.io/name=roce-k8s", "--tail=-1", "--prefix"},
		"driver":  {"logs", "-n", "kube-system", "-l", "app.kubernetes.io/name=roce-k8s-dra", "--all-containers", "--tail=-1", "--prefix"},
		"slices":  {"get", "resourceslices,resourceclaims,deviceclasses", "-A", "-o", "yaml"},
		"ippools": {"get", "ippools.whereabouts.cni.cncf.io", "-A", "-o", "yaml"},
	} {
		out, err := s.Kubectl(ctx, args...)
		if err != nil {
			out += err.Error() + "\n"
		}
		_ = os.WriteFile(filepath.Join(to, name), []byte(out), 0o644)
	}
	s.Log("logs and events are in", to)
}
