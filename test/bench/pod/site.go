package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/roce-k8s/roce-k8s/test/e2e/cluster"
)

// patience bounds each step.
const patience = 2 * time.Minute

// A site is the cluster, with all networks, and the node that pods start on.
type site struct {
	*cluster.Pair
	*cluster.Pods
	node *cluster.Node
	made int // pods so far
}

// newSite starts the cluster, deploys the project as its users do, and makes the
// networks. The caller stops it, also after an error.
func newSite(ctx context.Context) (*site, error) {
	starting, cancel := within(ctx)
	defer cancel()
	images, err := filepath.Glob(filepath.Join(os.Getenv("ROCE_E2E_IMAGES"), "*.tar"))
	if err != nil {
		return nil, err
	}
	pair, err := cluster.StartPair(starting, os.Getenv("ROCE_E2E_FOLDER"), os.Getenv("ROCE_E2E_PEERS"), cluster.Parts{Program: os.Getenv("ROCE_E2E_NODE"), Images: images})
	s := &site{Pair: pair}
	if err != nil {
		return s, err
	}
	s.node = s.Nodes[0]
	if _, err := s.Kubectl(starting, "apply", "-k", filepath.Join(os.Getenv("ROCE_E2E_ROOT"), "test/e2e/manifests/base")); err != nil {
		return s, err
	}
	if _, err := s.Kubectl(starting, "rollout", "status", "-n", "kube-system", "daemonset/roce-k8s", "--timeout", patience.String()); err != nil {
		return s, err
	}
	for _, c := range contenders()[1:] {
		manifests, err := c.manifests()
		if err != nil {
			return s, err
		}
		if err := cluster.Eventually(starting, func() error { // until the new kind is served
			_, err := s.Apply(starting, manifests)
			return err
		}); err != nil {
			return s, err
		}
	}
	s.Pods, err = s.WatchPods(ctx)
	return s, err
}

func within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, patience, errors.New("waited for "+patience.String()))
}

// life starts a pod and removes it.
func (s *site) life(ctx context.Context, c contender) (start, end time.Duration, err error) {
	ctx, cancel := within(ctx)
	defer cancel()
	if err := s.reset(ctx, c); err != nil {
		return 0, 0, fmt.Errorf("before a pod with %s: %w", c, err)
	}
	s.made++
	name := fmt.Sprintf("bench-%d", s.made)
	if start, err = s.Start(ctx, name, c.pod(name, s.node.Name)); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", c, err)
	}
	if err := s.checkRails(ctx, c); err != nil {
		return 0, 0, err
	}
	settle()
	end, err = s.Remove(ctx, name)
	return start, end, err
}

// settle lets what comes after a pod pass, the kernel's too. No two rounds shall
// begin at the same moment between the ticks of whatever looks every second.
func settle() { time.Sleep(500*time.Millisecond + rand.N(time.Second)) }

// reset gives every pod the same begin: NICs that are up, with addresses for a pod
// that keeps them alone. host-device leaves them down.
func (s *site) reset(ctx context.Context, c contender) error {
	var script strings.Builder
	for i, nic := range cluster.Rails() {
		fmt.Fprintf(&script, "ip link set %s up && ip -4 addr flush dev %[1]s || exit\n", nic)
		if c.ipam == keep {
			fmt.Fprintf(&script, "ip addr add 172.31.%d.1/24 dev %s || exit\n", i+1, nic)
		}
	}
	if err := cluster.Eventually(ctx, func() error {
		_, err := s.node.Run(ctx, script.String())
		return err
	}); err != nil {
		return err
	}
	settle()
	return nil
}

// checkRails makes sure that what was measured happened: that the pod has the
// NICs.
func (s *site) checkRails(ctx context.Context, c contender) error {
	out, err := s.node.Run(ctx, "ip -br link | grep -c '^ens' || true")
	want := len(cluster.Rails())
	if c.plugin != "" {
		want = 0
	}
	if have := strings.TrimSpace(out); err == nil && have != fmt.Sprint(want) {
		err = fmt.Errorf("%s: the host has %s NICs, want %d", c, have, want)
	}
	return err
}
