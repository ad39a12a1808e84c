package deviceplugin

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// scrape reads metrics as Prometheus does. Names are without the program's
// prefix, which all have.
func scrape(t *testing.T, m *metrics) map[string]*dto.MetricFamily {
	t.Helper()
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if format := expfmt.ResponseFormat(w.Header()); format.FormatType() != expfmt.TypeTextPlain {
		t.Errorf("the answer is in %s", format)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(w.Body.String()))
	if err != nil {
		t.Fatalf("%v in\n%s", err, w.Body)
	}
	got := map[string]*dto.MetricFamily{}
	for name, f := range families {
		short, ok := strings.CutPrefix(name, "rdma_device_plugin_")
		if !ok {
			t.Errorf("a metric is called %s", name)
		}
		got[short] = f
	}
	return got
}

// seriesOf are the label values of a family's metrics.
func seriesOf(f *dto.MetricFamily) []string {
	var all []string
	for _, m := range f.GetMetric() {
		var values []string
		for _, l := range m.GetLabel() {
			values = append(values, l.GetName()+"="+l.GetValue())
		}
		all = append(all, strings.Join(values, " "))
	}
	slices.Sort(all)
	return all
}

// values are those of a family's gauges or counters, by their labels.
func values(f *dto.MetricFamily) map[string]float64 {
	all := map[string]float64{}
	for i, m := range f.GetMetric() {
		one := &dto.MetricFamily{Metric: f.Metric[i : i+1]}
		all[seriesOf(one)[0]] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
	}
	return all
}

func TestDevicesAreCountedByPlaceAndUnitsByHealth(t *testing.T) {
	m := newMetrics("")
	device := func(name string, place inventory.Place, healthy bool) offer.Candidate {
		return offer.Candidate{Device: inventory.Device{Device: rdma.Device{Name: name, Bus: rdma.BusPCI, Address: name}, Place: place}, Healthy: healthy}
	}
	for _, step := range []struct {
		devices         []offer.Candidate
		host, pod, gone float64
		healthy, ill    float64
	}{
		{[]offer.Candidate{device("a", inventory.OnHost, true), device("b", inventory.InPod, true), device("c", inventory.InPod, false), device("d", inventory.Gone, false)}, 1, 2, 1, 4, 4},
		{[]offer.Candidate{device("a", inventory.OnHost, true)}, 1, 0, 0, 2, 0},
		{nil, 0, 0, 0, 0, 0},
	} {
		m.offered("rdma/a", step.devices, offer.New(config.Resource{Mode: config.PerDevice, Units: 2}, step.devices, false, nil))
		got := scrape(t, m)
		places, healths := values(got["devices"]), values(got["units"])
		if want := map[string]float64{"resource=rdma/a state=host": step.host, "resource=rdma/a state=pod": step.pod, "resource=rdma/a state=gone": step.gone}; !maps.Equal(places, want) {
			t.Errorf("%v, want %v", places, want)
		}
		if want := map[string]float64{"health=Healthy resource=rdma/a": step.healthy, "health=Unhealthy resource=rdma/a": step.ill}; !maps.Equal(healths, want) {
			t.Errorf("%v, want %v", healths, want)
		}
	}
}

// sick is a device that is not healthy.
func sick(name, netdev string) offer.Candidate {
	return offer.Candidate{Device: inventory.Device{Device: rdma.Device{Name: name, Netdevs: []string{netdev}}, Place: inventory.OnHost}}
}

func TestPrometheusReadsEachMetricAsWhatItIs(t *testing.T) {
	m := newMetrics("v1.2.3")
	m.introduce(hcaGPU)
	m.Registered(hcaGPU)
	m.StreamOpened(hcaGPU)
	m.StreamOpened(hcaGPU)
	m.StreamEnded(hcaGPU)
	m.Allocated(hcaGPU, 300*time.Microsecond, nil)
	m.Allocated(hcaGPU, time.Minute, errors.New("no such unit"))
	m.rescued(nil)
	m.rescued(errors.New("busy"))
	m.rescued(errors.New("busy"))
	m.rescanFailures.Inc()
	m.offered(hcaGPU, []offer.Candidate{sick("mlx5_0", "ens0")}, offer.New(config.Resource{Mode: config.Shared, Units: 1}, []offer.Candidate{{Healthy: true}}, false, nil))
	types := map[string]dto.MetricType{}
	got := scrape(t, m)
	for name, f := range got {
		types[name] = f.GetType()
	}
	if want := map[string]dto.MetricType{
		"build_info":                   dto.MetricType_GAUGE,
		"devices":                      dto.MetricType_GAUGE,
		"device_degraded":              dto.MetricType_GAUGE,
		"units":                        dto.MetricType_GAUGE,
		"registrations_total":          dto.MetricType_COUNTER,
		"streams":                      dto.MetricType_GAUGE,
		"allocations_total":            dto.MetricType_COUNTER,
		"allocation_seconds":           dto.MetricType_HISTOGRAM,
		"rescan_seconds":               dto.MetricType_HISTOGRAM,
		"rescan_failures_total":        dto.MetricType_COUNTER,
		"rescues_total":                dto.MetricType_COUNTER,
		"owed":                         dto.MetricType_GAUGE,
		"config_generation":            dto.MetricType_GAUGE,
		"config_mistakes":              dto.MetricType_GAUGE,
		"device_clashes":               dto.MetricType_GAUGE,
		"config_reload_failures_total": dto.MetricType_COUNTER,
	}; !maps.Equal(types, want) {
		t.Errorf("got %v\nwant %v", types, want)
	}
	if v := got["streams"].Metric[0].GetGauge().GetValue(); v != 1 {
		t.Errorf("%g streams", v)
	}
	if have, want := values(got["rescues_total"]), map[string]float64{"result=ok": 1, "result=error": 2}; !maps.Equal(have, want) {
		t.Errorf("rescues: %v", have)
	}
	if have, want := values(got["allocations_total"]), map[string]float64{"resource=rdma/hca_gpu result=ok": 1, "resource=rdma/hca_gpu result=error": 1}; !maps.Equal(have, want) {
		t.Errorf("allocations: %v", have)
	}
	h := got["allocation_seconds"].Metric[0].GetHistogram()
	for _, b := range h.Bucket {
		want := uint64(1)
		if b.GetUpperBound() < .0003 {
			want = 0
		} else if b.GetUpperBound() > 60 {
			want = 2
		}
		if b.GetCumulativeCount() != want {
			t.Errorf("%d calls of at most %g s, want %d", b.GetCumulativeCount(), b.GetUpperBound(), want)
		}
	}
	if len(h.Bucket) != 9 || h.GetSampleCount() != 2 || h.GetSampleSum() != 60.0003 {
		t.Errorf("%d buckets, %d calls of %g s", len(h.Bucket), h.GetSampleCount(), h.GetSampleSum())
	}
}

func TestWhatIsNotOfferedAnyMoreIsNotToldOf(t *testing.T) {
	m := newMetrics("")
	m.offered("rdma/a", []offer.Candidate{sick("mlx5_0", "ens0"), sick("mlx5_1", "ens1")}, offer.Offer{})
	m.offered("rdma/b", []offer.Candidate{sick("mlx5_2", "ens2")}, offer.Offer{})
	m.offered("rdma/a", []offer.Candidate{sick("mlx5_1", "ens1")}, offer.Offer{})
	want := []string{"device=mlx5_1 netdev=ens1 resource=rdma/a", "device=mlx5_2 netdev=ens2 resource=rdma/b"}
	if got := seriesOf(scrape(t, m)["device_degraded"]); !slices.Equal(got, want) {
		t.Errorf("degraded are %q", got)
	}
	m.forget("rdma/a")
	for _, family := range []string{"devices", "device_degraded", "units"} {
		got := seriesOf(scrape(t, m)[family])
		if len(got) == 0 || strings.Contains(strings.Join(got, "\n"), "rdma/a") {
			t.Errorf("%s of %q", family, got)
		}
	}
}

// The stream of a resource that is no longer offered ends when the server does,
// which nobody waits for.
func TestAStreamThatOutlivesItsResourceIsNotToldOf(t *testing.T) {
	m := newMetrics("")
	told := func() []string {
		var all []string
		if f := scrape(t, m)["streams"]; f != nil {
			for _, one := range f.Metric {
				all = append(all, fmt.Sprintf("%s=%g", one.Label[0].GetValue(), one.GetGauge().GetValue()))
			}
		}
		return all
	}
	for _, step := range []struct {
		what string
		do   func()
		want []string
	}{
		{"offered", func() { m.introduce(hcaGPU) }, []string{hcaGPU + "=0"}},
		{"opened", func() { m.StreamOpened(hcaGPU) }, []string{hcaGPU + "=1"}},
		{"no longer offered", func() { m.forget(hcaGPU) }, nil},
		{"offered again", func() { m.introduce(hcaGPU) }, []string{hcaGPU + "=1"}},
		{"its new stream opened", func() { m.StreamOpened(hcaGPU) }, []string{hcaGPU + "=2"}},
		{"the old one ended", func() { m.StreamEnded(hcaGPU) }, []string{hcaGPU + "=1"}},
		{"no longer offered, again", func() { m.forget(hcaGPU) }, nil},
		{"the last one ended", func() { m.StreamEnded(hcaGPU) }, nil},
		{"offered a third time", func() { m.introduce(hcaGPU) }, []string{hcaGPU + "=0"}},
	} {
		if step.do(); !slices.Equal(told(), step.want) {
			t.Errorf("%s: %q, want %q", step.what, told(), step.want)
		}
	}
}

// A pod may call its NIC what it likes.
func TestANameOfAnyBytesDoesNotSpoilTheAnswer(t *testing.T) {
	m := newMetrics("")
	m.offered(hcaGPU, []offer.Candidate{sick("mlx5_0", "a \"quoted\\\" {one},\nand more\xff")}, offer.Offer{})
	want := []string{"device=mlx5_0 netdev=a \"quoted\\\" {one},\nand more\uFFFD resource=" + hcaGPU}
	if got := seriesOf(scrape(t, m)["device_degraded"]); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestScrapesAndCountingGoOnAtOnce(t *testing.T) {
	m := newMetrics("")
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for range 50 {
				m.Allocated(hcaGPU, time.Millisecond, nil)
				m.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics", nil))
			}
		})
	}
	for range 50 {
		m.offered(hcaGPU, []offer.Candidate{sick("mlx5_0", "ens0")}, offer.Offer{})
		m.forget(hcaGPU)
	}
	running.Wait()
	if v := scrape(t, m)["allocations_total"].Metric[0].GetCounter().GetValue(); v != 200 {
		t.Errorf("%g allocations", v)
	}
}
