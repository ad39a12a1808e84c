package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/roce-k8s/roce-k8s/test/e2e/cluster"
)

// patience bounds each step.
const patience = 3 * time.Minute

func within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, patience, errors.New("waited for "+patience.String()))
}

// A site is the cluster with both drivers, and the node that they serve in turns.
// The other node has the far ends of its NICs.
type site struct {
	*cluster.Pair
	*cluster.Pods
	node *cluster.Node
	made int // pods so far
}

// newSite starts the cluster and installs both drivers as their users do. The caller
// stops it, also after an error.
func newSite(ctx context.Context, o options) (*site, error) {
	starting, cancel := within(ctx)
	defer cancel()
	images := []string{o.image}
	for _, image := range []string{"pause.tar", "roce-k8s.tar", "roce-k8s-dra.tar"} {
		images = append(images, filepath.Join(os.Getenv("ROCE_E2E_IMAGES"), image))
	}
	pair, err := cluster.StartPair(starting, os.Getenv("ROCE_E2E_FOLDER"), os.Getenv("ROCE_E2E_PEERS"),
		cluster.Parts{Program: os.Getenv("ROCE_E2E_NODE"), Images: images})
	s := &site{Pair: pair}
	if err != nil {
		return s, err
	}
	s.node = s.Nodes[0]
	if _, err := s.Kubectl(starting, "apply", "-k", filepath.Join(os.Getenv("ROCE_E2E_ROOT"), "test/e2e/manifests/dra")); err != nil {
		return s, err
	}
	// Where the label says neither driver: not here.
	if _, err := s.Kubectl(starting, "delete", "-n", "kube-system", "daemonset/roce-k8s"); err != nil {
		return s, err
	}
	manifest, err := dranetManifest(o.manifest)
	if err != nil {
		return s, err
	}
	ours, theirs := drivers()
	for _, m := range []string{s.Reachable(manifest), ours.manifests(), theirs.manifests()} {
		if _, err := s.Apply(starting, m); err != nil {
			return s, err
		}
	}
	s.Pods, err = s.WatchPods(ctx)
	return s, err
}

// serve has a driver serve the node, and the other not, and waits until all NICs are
// offered.
func (s *site) serve(ctx context.Context, d driver) error {
	ctx, cancel := within(ctx)
	defer cancel()
	if _, err := s.Kubectl(ctx, "label", "node", s.node.Name, "--overwrite", allocation+"="+d.serves); err != nil {
		return err
	}
	ours, theirs := drivers()
	other := ours
	if d == ours {
		other = theirs
	}
	if err := cluster.Eventually(ctx, func() error {
		if _, err := s.node.Run(ctx, "pgrep -f '"+other.process+"'"); err == nil {
			return errors.New(other.title + " is still here")
		}
		return nil
	}); err != nil {
		return err
	}
	return s.offers(ctx, d)
}

// offers waits until a driver is here and offers all NICs, on the host and not taken.
func (s *site) offers(ctx context.Context, d driver) error {
	return cluster.Eventually(ctx, func() error {
		if _, err := s.node.Run(ctx, "pgrep -f '"+d.process+"'"); err != nil {
			return fmt.Errorf("%s is not here: %w", d.title, err)
		}
		out, err := s.Kubectl(ctx, "get", "resourceslices", "--field-selector", "spec.driver="+d.name+",spec.nodeName="+s.node.Name,
			"-o", `jsonpath={range .items[*].spec.devices[*]}{.attributes.ifName.string}{.attributes.dra\.net/ifName.string}{" "}{.taints}{"\n"}{end}`)
		if err != nil {
			return err
		}
		offered := 0
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, "ens") && !strings.Contains(line, "taken") {
				offered++
			}
		}
		if offered != rails {
			return fmt.Errorf("%s offers %d NICs:\n%s", d.title, offered, out)
		}
		return nil
	})
}

// ready gives every pod the same begin: all NICs on the host, new ones if the driver
// lost some, as the administrator has them, and offered. Then what comes of that
// passes: a driver may look every two seconds.
func (s *site) ready(ctx context.Context, d driver) (nics, error) {
	there, err := s.ofHost(ctx)
	if err != nil {
		return nil, err
	}
	usual := 0
	for _, nic := range there {
		for _, rail := range cluster.Rails() {
			if nic[name] == rail {
				usual++
			}
		}
	}
	if usual != rails {
		if err := s.replace(ctx); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(s.configure(ctx), s.offers(ctx, d)); err != nil {
		return nil, err
	}
	time.Sleep(3 * time.Second)
	return s.ofHost(ctx)
}

// start starts a pod and says what it has.
func (s *site) start(ctx context.Context, d driver) (pod string, took time.Duration, has nics, err error) {
	s.made++
	pod = fmt.Sprintf("bench-%d", s.made)
	if took, err = s.Start(ctx, pod, d.pod(pod, s.node.Name)); err != nil {
		return pod, 0, nil, fmt.Errorf("%s: %w", d.title, err)
	}
	has, err = s.ofPods(ctx)
	return pod, took, has, err
}

// explain keeps what explains a failure.
func (s *site) explain(err error) {
	if err == nil || s.ControlPlane == nil {
		return
	}
	to := os.Getenv("ROCE_E2E_LOGS") + "/bench-dra"
	_ = os.RemoveAll(to)
	if err := s.CollectLogs(to); err != nil {
		fmt.Fprintln(os.Stderr, "bench: collect logs:", err)
	}
	fmt.Fprintln(os.Stderr, "bench: logs are in", to)
}
