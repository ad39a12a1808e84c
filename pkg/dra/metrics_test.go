package dra

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/counters"
	"github.com/roce-k8s/roce-k8s/pkg/exporter"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sockets"
)

// scrape is what Prometheus would read of the driver now, "" if it does not answer.
func (n *testNode) scrape() string {
	n.Helper()
	request, err := http.NewRequestWithContext(n.Ctx, http.MethodGet, "http://"+n.options.MetricsAddress+"/metrics", nil)
	n.Must(err)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	n.Must(err)
	return string(body)
}

// expectMetrics waits for lines of what Prometheus reads; names are without what
// all begin with.
func (n *testNode) expectMetrics(lines ...string) {
	n.Helper()
	for _, line := range lines {
		n.Until("the metrics have "+line, func() bool {
			return slices.Contains(strings.Split(n.scrape(), "\n"), metricsNamespace+"_"+line)
		})
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestTheMetricsSayHowDevicesAndClaimsAre(t *testing.T) {
	n := newTestNode(t)
	n.options.MetricsAddress = freeAddress(t)
	n.start()
	n.expectMetrics(`build_info{version="v1.2.3"} 1`, `devices{state="host"} 8`, `devices{state="pod"} 0`, `devices{state="gone"} 0`, `claims 0`,
		`rescan_failures_total 0`, `prepare_seconds_count{result="ok"} 0`, `unprepare_seconds_count{result="error"} 0`, // before the first
		`api_writes_total{resource="resourceslices",result="error"} 0`, `api_writes_total{resource="resourceslices",result="ok"} 1`)
	if metrics := n.scrape(); strings.Contains(metrics, "device_tainted{") || strings.Contains(metrics, "last_rescan_timestamp_seconds 0\n") {
		t.Error(metrics)
	}
	c := n.claim("c1", "a", n.rails(2))
	if _, refused := n.prepare(c); refused != "" {
		t.Fatal(refused)
	}
	if _, refused := n.prepare(n.claim("c2", "b", n.rails(2))); refused == "" {
		t.Error("two claims have one device")
	}
	n.attach("a", 2)
	n.attach("c", 3) // without a claim
	n.setPort(4, "DOWN", "Polling")
	n.expectMetrics(`devices{state="host"} 6`, `devices{state="pod"} 2`, `claims 1`,
		`prepare_seconds_count{result="ok"} 1`, `prepare_seconds_count{result="error"} 1`,
		`device_tainted{device="mlx5_3",netdev="ens14np0",taint="roce-k8s.io/taken"} 1`,
		`device_tainted{device="mlx5_4",netdev="ens16np0",taint="roce-k8s.io/link-down"} 1`,
		`api_writes_total{resource="resourceclaims",result="ok"} 1`)
	if refused := n.unprepare(c); refused == "" {
		t.Error("a claim ends while its pod has the NIC")
	}
	n.setPort(4, "ACTIVE", "LinkUp")
	n.expectMetrics(`unprepare_seconds_count{result="error"} 1`)
	n.Until("what is no more is not told", func() bool { return !strings.Contains(n.scrape(), `taint="roce-k8s.io/link-down"`) })
}

func TestWritesThatFailAreCounted(t *testing.T) {
	n := newTestNode(t)
	n.options.MetricsAddress = freeAddress(t)
	n.start()
	n.Until("eight devices", func() bool { return len(n.published()) == 8 })
	n.api.mu.Lock()
	n.api.refuse = true
	n.api.mu.Unlock()
	n.setPort(4, "DOWN", "Polling")
	n.Until("a slice cannot be written", func() bool {
		metrics := n.scrape()
		return metrics != "" && !strings.Contains(metrics, metricsNamespace+`_api_writes_total{resource="resourceslices",result="error"} 0`)
	})
	n.Until("it says so", func() bool { return strings.Contains(n.Logs.String(), "the ResourceSlices are not as they should be") })
}

func TestTheMetricsAreForThoseWhoMayHaveThem(t *testing.T) {
	n := newTestNode(t)
	n.options.MetricsAddress, n.options.MetricsAccess = freeAddress(t), exporter.Access{TLSDir: n.Dir}
	n.start()
	n.Until("it waits for its certificate", func() bool { return strings.Contains(n.Logs.String(), "cannot serve metrics and probes yet") })
	if n.scrape() != "" {
		t.Error("it answers without TLS")
	}
}

func TestTheCountersOfNICsHaveTheirRailAndPod(t *testing.T) {
	n := newTestNode(t)
	n.start()
	if _, refused := n.prepare(n.claim("c1", "a", n.rails(2))); refused != "" {
		t.Fatal(refused)
	}
	n.attach("a", 2)
	want := map[string]string{"mlx5_0": "0 ", "mlx5_2": "2 training/pod-a", "mlx5_8": " "} // the last one is offered to nobody
	n.Until("they have", func() bool {
		got := map[string]string{}
		for _, nic := range n.driver.nics(n.Ctx) {
			if _, ok := want[nic.Device.Name]; ok {
				got[nic.Device.Name] = nic.Rail + " " + strings.Trim(nic.Pod.Namespace+"/"+nic.Pod.Pod, "/")
			}
		}
		return maps.Equal(got, want)
	})
}

func TestWhatIsCountedInPodsIsAskedForWhereItIsRead(t *testing.T) {
	n := newTestNode(t)
	ask := func() func(context.Context) (counters.Readings, error) {
		return newDriver(n.options, n.Journal, n.links, nil).counting(nil).Elsewhere
	}
	if ask() != nil {
		t.Error("it asks, and nobody reads there")
	}
	n.options.CountersSocket = filepath.Join(sockets.Folder(t), "s")
	l, err := net.Listen("unix", n.options.CountersSocket)
	n.Must(err)
	entrant := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"pci/0000:08:00.0": {}}`) })}
	go func() { _ = entrant.Serve(l) }()
	t.Cleanup(func() { _ = entrant.Close() })
	if readings, err := ask()(n.Ctx); err != nil || len(readings) != 1 {
		t.Errorf("%v, %v", readings, err)
	}
}
