package dra

import (
	"context"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/roce-k8s/roce-k8s/pkg/claim"
	"github.com/roce-k8s/roce-k8s/pkg/endpoint"
	"github.com/roce-k8s/roce-k8s/pkg/exporter"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
)

// Metrics are what the driver tells Prometheus.
type Metrics struct {
	registry *prometheus.Registry

	devices        *prometheus.GaugeVec
	tainted        *prometheus.GaugeVec
	prepareTime    *prometheus.HistogramVec
	unprepareTime  *prometheus.HistogramVec
	rescanTime     prometheus.Histogram
	rescanFailures prometheus.Counter
	lastRescan     prometheus.Gauge
	writes         *prometheus.CounterVec
}

const metricsNamespace = "rdma_dra_driver"

// NewMetrics begins to count for a version of the program; claims are those in a
// state folder.
func NewMetrics(version, stateDir string) *Metrics {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: metricsNamespace, Name: name, Help: help}, labels)
	}
	// A claim waits for a device that moves for readyWait.
	claimTime := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: metricsNamespace, Name: name, Help: help, Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}, []string{"result"})
	}
	m := &Metrics{
		registry:      prometheus.NewRegistry(),
		devices:       gauge("devices", "Devices that are offered, by state: on the host, in a pod, or gone.", "state"),
		tainted:       gauge("device_tainted", "1 for a taint of a device.", "device", "netdev", "taint"),
		prepareTime:   claimTime("prepare_seconds", "Time to prepare a claim, by result."),
		unprepareTime: claimTime("unprepare_seconds", "Time to end a claim, by result."),
		rescanTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: metricsNamespace, Name: "rescan_seconds", Help: "Time to read all devices of the node.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1},
		}),
		rescanFailures: prometheus.NewCounter(prometheus.CounterOpts{Namespace: metricsNamespace, Name: "rescan_failures_total", Help: "Failed reads of the node's devices or claims."}),
		lastRescan:     prometheus.NewGauge(prometheus.GaugeOpts{Namespace: metricsNamespace, Name: "last_rescan_timestamp_seconds", Help: "When the node was last read, in Unix time."}),
		writes:         prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: metricsNamespace, Name: "api_writes_total", Help: "Writes to the API server by kind of object and result."}, []string{"resource", "result"}),
	}
	claims := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: metricsNamespace, Name: "claims", Help: "Claims that are prepared on the node.",
	}, func() float64 {
		all, _, err := claim.List(stateDir)
		if err != nil {
			return math.NaN()
		}
		return float64(len(all))
	})
	info := gauge("build_info", "1, labelled with the version of the program.", "version")
	info.WithLabelValues(version).Set(1)
	m.registry.MustRegister(info, claims, m.devices, m.tainted, m.prepareTime, m.unprepareTime, m.rescanTime, m.rescanFailures, m.lastRescan, m.writes)
	// They exist from the start, so that the first one is seen as an increase.
	for _, result := range []string{resultOK, resultError} {
		m.prepareTime.WithLabelValues(result)
		m.unprepareTime.WithLabelValues(result)
		for _, resource := range []string{resourceSlices, resourceClaims} {
			m.writes.WithLabelValues(resource, result)
		}
	}
	return m
}

const (
	resultOK    = "ok"
	resultError = "error"
)

func result(failed bool) string {
	if failed {
		return resultError
	}
	return resultOK
}

// timed tells of a claim that began to be prepared, or ended, at a time.
func timed(to *prometheus.HistogramVec, begin time.Time, err error) {
	to.WithLabelValues(result(err != nil)).Observe(time.Since(begin).Seconds())
}

// What the driver writes to the API server.
const (
	resourceSlices = "resourceslices"
	resourceClaims = "resourceclaims"
)

// Count has what is written by way of a connection to the API server counted: the
// helper that writes the slices does not say.
func (m *Metrics) Count(next http.RoundTripper) http.RoundTripper { return counted{m.writes, next} }

type counted struct {
	writes *prometheus.CounterVec
	next   http.RoundTripper
}

func (c counted) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := c.next.RoundTrip(r)
	for _, resource := range []string{resourceSlices, resourceClaims} {
		if r.Method != http.MethodGet && strings.Contains(r.URL.Path+"/", "/"+resource+"/") {
			c.writes.WithLabelValues(resource, result(err != nil || response.StatusCode >= http.StatusBadRequest)).Inc()
		}
	}
	return response, err
}

// looked tells of a look that took its time; of one that saw nothing v is nil.
func (m *Metrics) looked(v *view, took time.Duration) {
	m.rescanTime.Observe(took.Seconds())
	if v == nil {
		m.rescanFailures.Inc()
		return
	}
	m.lastRescan.Set(float64(v.at.UnixMilli()) / 1000)
	places := map[inventory.Place]int{inventory.OnHost: 0, inventory.InPod: 0, inventory.Gone: 0}
	m.tainted.Reset()
	for _, d := range v.devices {
		places[d.Place]++
		netdev := ""
		if len(d.Netdevs) > 0 {
			netdev = d.Netdevs[0]
		}
		for _, taint := range d.taints() {
			m.tainted.WithLabelValues(label(d.Name), label(netdev), taint).Set(1)
		}
	}
	for place, n := range places {
		m.devices.WithLabelValues(string(place)).Set(float64(n))
	}
}

// label is what Prometheus accepts as one. A pod may have chosen the name, so it
// may be any bytes.
func label(name string) string { return strings.ToValidUTF8(name, "\uFFFD") }

// serve serves the metrics until ctx ends.
func (d *driver) serve(ctx context.Context) {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(d.options.Metrics.registry, promhttp.HandlerOpts{}))
	exporter.Serve(ctx, endpoint.TCP(d.options.MetricsAddress), d.options.MetricsAccess, mux, d.log)
}
