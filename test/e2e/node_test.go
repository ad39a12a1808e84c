package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/roce-k8s/roce-k8s/test/e2e/cluster"
)

// netAdmin is CAP_NET_ADMIN alone, as /proc/PID/status has it.
const netAdmin = "0000000000001000"

// deploy applies the project's own manifests: base, or those of an overlay.
func (s *site) deploy(overlay string) {
	s.Helper()
	s.kubectl("apply", "-k", filepath.Join(os.Getenv("ROCE_E2E_ROOT"), "test/e2e/manifests", overlay))
	s.awaitRollout()
}

// deploys is what each node has once the manifests are applied.
func deploys(s *site) {
	s.deploy("base")
	s.expectDeployed()
}

// expectDeployed waits until the DaemonSet is on all nodes, and checks what each has
// by it.
func (s *site) expectDeployed() {
	s.Helper()
	s.awaitRollout()
	for _, n := range s.nodes {
		s.awaitCount(n, 8)
		if out := s.on(n, "CNI_COMMAND=VERSION /opt/cni/bin/roce-host-device"); !strings.Contains(out, `"1.1.0"`) {
			s.Errorf("VERSION of the installed CNI plugin: %s", out)
		}
		if out := s.on(n, "grep CapEff /proc/$(pgrep -nx rdma-device-plu)/status"); !strings.HasSuffix(out, netAdmin) {
			s.Errorf("the device plugin's capabilities: %s, want %s", out, netAdmin)
		}
	}
}

// awaitRollout waits until each node has the project as the API server has it.
func (s *site) awaitRollout() {
	s.Helper()
	s.kubectl("rollout", "status", "-n", "kube-system", "daemonset/roce-k8s", "--timeout", patience.String())
}

// count is the node's allocatable resource, -1 for none.
func (s *site) count(n *cluster.Node) (int, error) {
	out, err := s.Kubectl(s.context(), "get", "node", n.Name, "-o", "jsonpath={.status.allocatable."+resource+"}")
	if err != nil {
		return 0, err
	}
	if out == "" {
		return -1, nil
	}
	units := 0
	_, err = fmt.Sscan(out, &units)
	return units, err
}

func (s *site) awaitCount(n *cluster.Node, want int) {
	s.Helper()
	s.eventually(func() error {
		have, err := s.count(n)
		if err == nil && have != want {
			err = fmt.Errorf("%s has %d of %s, want %d", n.Name, have, resource, want)
		}
		return err
	})
}

// lowest watches the count of a node from now on; the function that it returns
// tells the lowest.
func (s *site) lowest(n *cluster.Node) func() int {
	stop, result := make(chan struct{}), make(chan int)
	go func() {
		lowest := 1 << 20
		for {
			if units, err := s.count(n); err == nil {
				lowest = min(lowest, units)
			}
			select {
			case <-stop:
				result <- lowest
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	return func() int { close(stop); return <-result }
}

// hostNICs describes the NICs of a node's host.
func (s *site) hostNICs(n *cluster.Node) string {
	s.Helper()
	return s.on(n, "ip -br link | awk '/^(ens|net|dev)/ { print $1, $3 }' | sed 's/@[^ ]*//' | sort; ip -o link show up | grep -c 'ens.*mtu 9000' || true")
}

// expectAllBack waits until a node has its NICs, up, and nobody has an address.
func (s *site) expectAllBack() {
	s.Helper()
	for _, n := range s.nodes {
		var want []string
		for _, nic := range n.NICs {
			want = append(want, nic.Name+" "+nic.MAC)
		}
		s.eventually(func() error {
			have := s.hostNICs(n)
			lines := strings.Split(have, "\n")
			if len(lines) != len(want)+1 || lines[len(want)] != "8" || !sameSet(lines[:len(want)], want) {
				return fmt.Errorf("%s has the NICs\n%s\nwant all of %v, up", n.Name, have, want)
			}
			if records := s.on(n, "ls /var/lib/cni/roce-host-device/attachments 2>/dev/null || true"); records != "" {
				return fmt.Errorf("%s has the records %s", n.Name, records)
			}
			return nil
		})
	}
	s.eventually(func() error {
		if taken := s.kubectl("get", "ippools.whereabouts.cni.cncf.io", "-A", "-o", "jsonpath={.items[*].spec.allocations.*.podref}"); taken != "" {
			return fmt.Errorf("addresses of %s", taken)
		}
		if taken := s.kubectl("get", "overlappingrangeipreservations.whereabouts.cni.cncf.io", "-A", "-o", "name"); taken != "" {
			return fmt.Errorf("reservations %s", taken)
		}
		return nil
	})
}

func sameSet(a, b []string) bool {
	have := map[string]int{}
	for _, s := range a {
		have[s]++
	}
	for _, s := range b {
		have[s]--
	}
	for _, n := range have {
		if n != 0 {
			return false
		}
	}
	return true
}
