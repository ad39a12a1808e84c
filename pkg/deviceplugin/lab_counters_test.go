package deviceplugin

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// A count is a series of a NIC.
type count struct{ metric, device, pod string }

// counts are the values of all counters of RDMA devices and their netdevs.
func (n *testNode) counts(address string) map[count]float64 {
	n.Helper()
	_, body := n.ask(address, "/metrics")
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	n.Must(err)
	counts := map[count]float64{}
	for name, f := range families {
		if strings.HasPrefix(name, "rdma_device_plugin_") {
			continue
		}
		for _, m := range f.Metric {
			c := count{metric: name}
			for _, l := range m.Label {
				switch l.GetName() {
				case "device":
					c.device = l.GetValue()
				case "pod":
					c.pod = l.GetValue()
				}
			}
			counts[c] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return counts
}

// pingpong sends messages over a reliable connection from one namespace to
// another.
func (n *testNode) pingpong(from, to, toAddress string, devices map[string]string) {
	n.Helper()
	command := func(namespace string, more ...string) *exec.Cmd {
		// Soft-RoCE has the first IPv4 address behind the link-local GID.
		return exec.CommandContext(n.Ctx, "ip", append([]string{"netns", "exec", namespace, "ibv_rc_pingpong", "-n", "20", "-s", "512", "-d", devices[namespace], "-g", "1"}, more...)...)
	}
	server := command(to)
	n.Must(server.Start())
	defer func() { _ = server.Process.Kill() }()
	var out []byte
	var err error
	for range 60 { // until the server listens
		time.Sleep(500 * time.Millisecond)
		if out, err = command(from, toAddress).CombinedOutput(); err == nil {
			n.Must(server.Wait())
			return
		}
	}
	n.Fatalf("no traffic from %s to %s: %v\n%s", from, to, err, out)
}

func TestInTheLabTrafficCountsForThePodThatMakesIt(t *testing.T) {
	n := newLabNode(t)
	exclusive := os.Getenv("ROCE_LAB_MODE") == string(rdma.Exclusive)
	host, err := netdev.CurrentNamespace()
	n.Must(err)
	defer host.Close()
	o := n.options()
	o.Proc, o.MetricsAddress, o.Rescue = "/proc", freeAddress(t), true
	o.CountersSocket = filepath.Join(n.Dir, "counters.sock")
	n.startWith(o)
	n.Until("it is alive", func() bool { status, _ := n.ask(o.MetricsAddress, "/healthz"); return status == 200 })

	// Both ends of one rail, and a NIC of another without traffic.
	devices := map[string]string{}
	nics := []string{"ens12np0", "ens22np0", "ens11np0"}
	defer func() { // the tests that follow need them
		for pod := range devices {
			n.command("ip netns delete " + pod)
		}
		n.Until("the NICs are rescued", func() bool { return strings.Count(n.Logs.String(), "rescued a NIC") == len(devices) })
	}()
	for i, nic := range nics {
		pod, ifName := []string{"one", "two", "idle"}[i], fmt.Sprintf("net%d", i)
		d, err := deviceOf(nic)
		n.Must(err)
		n.command("ip netns add " + pod)
		devices[pod] = d.Name
		n.moveToPod(host, nic, pod, ifName)
		n.command(fmt.Sprintf("ip -n %s address add 172.31.0.%d/24 dev %s", pod, i+1, ifName))
	}
	at := func(metric, pod string) count { return count{metric, devices[pod], pod} }
	n.Until("each NIC is its pod's", func() bool {
		counts := n.counts(o.MetricsAddress)
		for pod := range devices {
			if counts[at("rdma_netdev_tx_packets_total", pod)] == 0 {
				return false
			}
		}
		return true
	})
	if _, there := n.counts(o.MetricsAddress)[at("rdma_sent_pkts_total", "one")]; there == exclusive {
		t.Errorf("without the container that may enter namespaces, exclusive %v: the counters of a device in a pod are there: %v", exclusive, there)
	}
	ctx, cancel := context.WithCancel(n.Ctx)
	done := make(chan error, 1)
	go func() { done <- Counters(ctx, o) }()
	defer func() {
		cancel()
		n.Must(<-done)
	}()
	n.Until("there are counters of all", func() bool {
		counts := n.counts(o.MetricsAddress)
		for pod := range devices {
			if _, ok := counts[at("rdma_sent_pkts_total", pod)]; !ok {
				return false
			}
		}
		return true
	})

	before := n.counts(o.MetricsAddress)
	n.pingpong("one", "two", "172.31.0.2", devices)
	after := n.counts(o.MetricsAddress)
	for _, pod := range []string{"one", "two"} {
		for _, metric := range []string{"rdma_sent_pkts_total", "rdma_rcvd_pkts_total", "rdma_netdev_tx_bytes_total", "rdma_netdev_rx_bytes_total"} {
			if c := at(metric, pod); after[c] < before[c]+20 {
				t.Errorf("%v: %g, was %g", c, after[c], before[c])
			}
		}
	}
	rxe := 0
	for c, value := range after {
		if _, ok := before[c]; !ok {
			t.Errorf("new: %v", c)
		}
		if c.pod == "one" || c.pod == "two" || !strings.HasPrefix(c.metric, "rdma_sent_") && !strings.HasPrefix(c.metric, "rdma_rcvd_") {
			continue
		}
		if rxe++; value != before[c] {
			t.Errorf("%v: %g, was %g, and it had no traffic", c, value, before[c])
		}
	}
	if rxe < labNICs-2 {
		t.Errorf("counters of %d devices without traffic", rxe)
	}
	for metric, want := range map[string]float64{"rdma_port_state": 4, "rdma_port_info": 1} {
		if value := after[at(metric, "one")]; value != want {
			t.Errorf("%s %g", metric, value)
		}
	}
}
