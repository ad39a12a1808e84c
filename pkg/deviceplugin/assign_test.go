package deviceplugin

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/logging"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

const clashing = `{"periodicUpdateInterval": 1, "configList": [
{"resourceName": "even", "rdmaHcaMax": 2, "selectors": {"ifNames": ["ens11np0", "ens13np0"]}},
{"resourceName": "odd", "rdmaHcaMax": 3, "selectors": {"ifNames": ["ens12np0", "ens13np0"]}}]}`

// One file serves many nodes; a mistake that only this node's hardware shows
// must not take its resources away.
func TestADeviceInTwoResourcesStaysWithTheFirstFromTheStart(t *testing.T) {
	for name, inPods := range map[string][]sysfs.HCA{"on the host": nil, "in a pod": node.Eight()} {
		t.Run(name, func(t *testing.T) {
			n := newTestNode(t, node.Eight()...)
			n.Attach(rdma.Exclusive, inPods...)
			n.Write("config.json", clashing)
			o := n.options()
			o.ProbeSocket = filepath.Join(n.Dir, "probe.sock")
			k := n.kubelet()
			n.startWith(o)
			n.wait(k, "rdma/even", 2)
			n.wait(k, "rdma/odd", 3)
			response, _, err := k.Allocate("rdma/even", 1)
			n.Must(err)
			node.CheckDevices(t, response, node.CharDevices("uverbs0", "umad0", "issm0", "uverbs2", "umad2", "issm2", "rdma_cm"))
			want := `config.json:3:1: resources rdma/even (line 2) and rdma/odd both select ens13np0/mlx5_2 (0000:0e:00.0); a device can be in one only`
			if c := strings.Count(n.Logs.String(), want); c != 1 {
				t.Errorf("said %d times:\n%s", c, n.Logs)
			}
			n.Until("it is ready", func() bool { return Probe(n.Ctx, o.ProbeSocket, "/readyz") == nil })
			var out strings.Builder
			if err := Explain(n.Ctx, n.options(), &out); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("explain: %v", err)
			}
		})
	}
}

func TestADeviceThatClashesWhenItComesStaysWithTheFirstResource(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0), sysfs.MLX5(1))
	n.Write("config.json", clashing)
	k := n.kubelet()
	n.start()
	n.wait(k, "rdma/even", 2)
	n.wait(k, "rdma/odd", 3)
	n.Must(n.Add(sysfs.MLX5(2)))
	n.Until("the clash is logged", func() bool { return strings.Contains(n.Logs.String(), "both select ens13np0/mlx5_2") })
	// The HCA came file by file, and a look in between sees a part of it.
	n.Until("the first resource has all of it", func() bool {
		response, ids, err := k.Allocate("rdma/even", 1)
		n.Must(err)
		k.Free("rdma/even", ids...)
		return len(response.Devices) == len(node.CharDevices("uverbs0", "umad0", "issm0", "uverbs2", "umad2", "issm2", "rdma_cm"))
	})
	response, _, err := k.Allocate("rdma/even", 1)
	n.Must(err)
	node.CheckDevices(t, response, node.CharDevices("uverbs0", "umad0", "issm0", "uverbs2", "umad2", "issm2", "rdma_cm"))
	response, _, err = k.Allocate("rdma/odd", 1)
	n.Must(err)
	node.CheckDevices(t, response, node.CharDevices("uverbs1", "umad1", "issm1", "rdma_cm"))
	n.Must(n.Add(sysfs.MLX5(3))) // no news of the clash
	n.Must(n.Unplug(sysfs.MLX5(3)))
	if c := strings.Count(n.Logs.String(), "both select ens13np0"); c != 1 {
		t.Errorf("logged %d times:\n%s", c, n.Logs)
	}
}

func TestClashesAreCountedAsLongAsThereAreAnyAndLoggedWhenTheyCome(t *testing.T) {
	both := config.Selectors{RDMADevices: []string{"mlx5_0"}}
	_, clashes := offer.Assign([]config.Resource{{Name: "rdma/a", Selectors: both}, {Name: "rdma/b", Selectors: both}},
		[]inventory.Device{{Device: rdma.Device{Name: "mlx5_0"}}})
	var log strings.Builder
	m := &manager{log: slog.New(slog.NewTextHandler(&log, nil)), metrics: newMetrics(""), said: logging.Once{}, config: &configFile{path: "f"}}
	for i, step := range []struct {
		clashes []offer.Clash
		lines   int
	}{{nil, 0}, {clashes, 1}, {clashes, 1}, {nil, 1}, {clashes, 2}} {
		m.reportClashes(step.clashes)
		counted := scrape(t, m.metrics)["device_clashes"].Metric[0].Gauge.GetValue()
		if lines := strings.Count(log.String(), "resources rdma/a (line 0) and rdma/b both select mlx5_0"); counted != float64(len(step.clashes)) || lines != step.lines {
			t.Errorf("step %d: %g are counted, logged:\n%s", i, counted, log.String())
		}
	}
}
