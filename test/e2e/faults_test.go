package e2e_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/roce-k8s/roce-k8s/test/e2e/cluster"
)

func kubeletRestarts(s *site) {
	s.unharmed(func() {
		s.must(s.nodes[0].RestartKubelet(s.context()))
		s.must(s.nodes[1].KillKubelet(s.context()))
		for _, n := range s.nodes {
			s.awaitRegistered(n)
		}
		for _, pod := range []string{guidePod1, guidePod2} {
			s.eventually(func() error { // a kubelet listens before it knows its pods
				_, err := s.exec(pod, "bash", "-c", "true")
				return err
			})
		}
	})
}

// awaitRegistered waits until the plugin on a node says that the kubelet listens
// to it.
func (s *site) awaitRegistered(n *cluster.Node) {
	s.Helper()
	s.eventually(func() error {
		_, err := n.Run(s.context(), "curl -sf localhost:9817/readyz")
		return err
	})
}

func rollout(s *site) {
	s.unharmed(func() {
		lowest := []func() int{s.lowest(s.nodes[0]), s.lowest(s.nodes[1])}
		s.kubectl("rollout", "restart", "-n", "kube-system", "daemonset/roce-k8s")
		s.awaitRollout()
		for i, units := range lowest {
			if units := units(); units != 8 {
				s.Errorf("%s had %d of %s for a while", s.nodes[i].Name, units, resource)
			}
		}
	})
}

func pluginKilled(s *site) {
	s.unharmed(func() {
		for _, n := range s.nodes {
			old := s.on(n, "pgrep -x rdma-device-plu")
			s.on(n, "kill -KILL "+old)
			s.eventually(func() error {
				if now, err := n.Run(s.context(), "pgrep -x rdma-device-plu"); err != nil || now == old+"\n" {
					return fmt.Errorf("%s: the plugin is not running again", n.Name)
				}
				return nil
			})
			s.awaitRegistered(n)
		}
	})
}

// driverReloads removes the folder with the HCAs' devices and makes another, as
// the kernel does when a driver is unloaded and loaded again.
func driverReloads(s *site) {
	// Here nothing says that devices came or went: a link that does is a
	// reason to look as well.
	const look = "ip link add look type veth peer name look2 && ip link delete look"
	s.unharmed(func() {
		for _, n := range s.nodes {
			s.on(n, "cp -a /dev/infiniband /run/infiniband && rm -r /dev/infiniband && "+look)
		}
		for _, n := range s.nodes {
			s.awaitCount(n, 0)
			s.on(n, "cp -a /run/infiniband /dev/infiniband && "+look)
		}
		for _, n := range s.nodes {
			s.awaitCount(n, 8)
		}
	})
}

func forcedDelete(s *site) {
	s.startGuidePods()
	s.kubectl("delete", "pod", guidePod1, guidePod2, "--force", "--grace-period", "0")
	s.expectAllBack()
	for _, n := range s.nodes {
		s.awaitCount(n, 8)
	}
}

// losePower takes both nodes' power.
func (s *site) losePower() {
	s.Helper()
	ctx, cancel := context.WithTimeoutCause(s.T.Context(), 3*patience, errors.New("nodes without power are not back"))
	defer cancel()
	s.must(cluster.LosePower(ctx, s.nodes[0], s.nodes[1]))
}

// powerLoss is one while pods hold all NICs.
func powerLoss(s *site) {
	s.startGuidePods()
	s.losePower()
	for _, n := range s.nodes {
		s.awaitRegistered(n)
		s.awaitCount(n, 8)
	}
	// The kubelet rejects pods that it finds before any device plugin can have
	// registered ("UnexpectedAdmissionError"); whoever made them makes new ones.
	s.deletePods(guidePod1, guidePod2)
	s.expectAllBack()
	s.startGuidePods()
	s.expectRails(guidePod1, guidePod2)
	s.deletePods(guidePod1, guidePod2)
	s.expectAllBack()
}
