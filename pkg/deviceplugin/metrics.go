package deviceplugin

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
)

// metrics are what the program tells Prometheus. They are also the observer of
// what happens between resources and kubelet.
type metrics struct {
	registry *prometheus.Registry

	devices        *prometheus.GaugeVec
	degraded       *prometheus.GaugeVec
	units          *prometheus.GaugeVec
	registrations  *prometheus.CounterVec
	streams        *streams
	allocations    *prometheus.CounterVec
	allocationTime *prometheus.HistogramVec
	rescanTime     prometheus.Histogram
	rescanFailures prometheus.Counter
	rescues        *prometheus.CounterVec
	owed           prometheus.Gauge
	generation     prometheus.Gauge
	mistakes       prometheus.Gauge
	clashes        prometheus.Gauge
	reloadFailures prometheus.Counter
}

const namespace = "rdma_device_plugin"

func newMetrics(version string) *metrics {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	}
	m := &metrics{
		registry:      prometheus.NewRegistry(),
		devices:       gauge("devices", "RDMA devices of a resource by state: on the host, in a pod, or gone.", "resource", "state"),
		degraded:      gauge("device_degraded", "1 for a device that its resource's health policy calls unhealthy.", "resource", "device", "netdev"),
		units:         gauge("units", "Units offered to the kubelet, by health.", "resource", "health"),
		registrations: counter("registrations_total", "Registrations with the kubelet.", "resource"),
		streams:       &streams{gauge: gauge("streams", "Open ListAndWatch streams.", "resource"), open: map[string]int{}, told: map[string]bool{}},
		allocations:   counter("allocations_total", "Allocate calls by result.", "resource", "result"),
		allocationTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "allocation_seconds", Help: "Time to answer an Allocate call.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .1},
		}, []string{"resource"}),
		rescanTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "rescan_seconds", Help: "Time to read all devices of the node.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1},
		}),
		rescanFailures: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "rescan_failures_total", Help: "Failed reads of the node's devices."}),
		rescues:        counter("rescues_total", "NICs that came back without a DEL, by whether their state could be restored.", "result"),
		owed:           prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: "owed", Help: "NICs on the host that are not yet as they were, at the last look."}),
		generation:     prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: "config_generation", Help: "Configurations that came into force."}),
		mistakes:       prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: "config_mistakes", Help: "Mistakes in the configuration in force; resources may be left out because of them."}),
		clashes:        prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: "device_clashes", Help: "How often another resource selects a device that one has already."}),
		reloadFailures: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "config_reload_failures_total", Help: "Changed configurations that were refused."}),
	}
	info := gauge("build_info", "1, labelled with the version of the program.", "version")
	info.WithLabelValues(version).Set(1)
	m.registry.MustRegister(info, m.devices, m.degraded, m.units, m.registrations, m.streams.gauge, m.allocations, m.allocationTime,
		m.rescanTime, m.rescanFailures, m.rescues, m.owed, m.generation, m.mistakes, m.clashes, m.reloadFailures)
	// They exist from the start, so that the first one is seen as an increase.
	m.rescues.WithLabelValues(resultOK)
	m.rescues.WithLabelValues(resultError)
	return m
}

// introduce starts the counters of a resource, so that the first of anything is
// seen as an increase.
func (m *metrics) introduce(resource string) {
	m.registrations.WithLabelValues(resource)
	m.streams.tell(resource, true)
	m.allocations.WithLabelValues(resource, resultOK)
	m.allocations.WithLabelValues(resource, resultError)
	m.allocationTime.WithLabelValues(resource)
}

// ServeHTTP answers Prometheus.
func (m *metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
}

// Registered implements kubelet.Observer.
func (m *metrics) Registered(resource string) { m.registrations.WithLabelValues(resource).Inc() }

// StreamOpened implements kubelet.Observer.
func (m *metrics) StreamOpened(resource string) { m.streams.add(resource, 1) }

// StreamEnded implements kubelet.Observer.
func (m *metrics) StreamEnded(resource string) { m.streams.add(resource, -1) }

// Allocated implements kubelet.Observer.
func (m *metrics) Allocated(resource string, took time.Duration, err error) {
	m.allocations.WithLabelValues(resource, result(err)).Inc()
	m.allocationTime.WithLabelValues(resource).Observe(took.Seconds())
}

func (m *metrics) rescued(err error) { m.rescues.WithLabelValues(result(err)).Inc() }

// offered sets the gauges of one resource.
func (m *metrics) offered(resource string, devices []offer.Candidate, o offer.Offer) {
	places := map[inventory.Place]int{inventory.OnHost: 0, inventory.InPod: 0, inventory.Gone: 0}
	m.degraded.DeletePartialMatch(prometheus.Labels{"resource": resource})
	for _, c := range devices {
		places[c.Place]++
		if !c.Healthy {
			netdev := ""
			if len(c.Netdevs) > 0 {
				netdev = c.Netdevs[0]
			}
			m.degraded.WithLabelValues(resource, text(c.Name), text(netdev)).Set(1)
		}
	}
	for place, n := range places {
		m.devices.WithLabelValues(resource, string(place)).Set(float64(n))
	}
	healths := map[string]int{"Healthy": 0, "Unhealthy": 0}
	for _, u := range o.Units() {
		healths[u.Health]++
	}
	for health, n := range healths {
		m.units.WithLabelValues(resource, health).Set(float64(n))
	}
}

// forget drops the gauges of a resource that is no longer offered. Counters
// stay, as Prometheus wants them to.
func (m *metrics) forget(resource string) {
	for _, v := range []*prometheus.GaugeVec{m.devices, m.degraded, m.units} {
		v.DeletePartialMatch(prometheus.Labels{"resource": resource})
	}
	m.streams.tell(resource, false)
}

// streams are those that are open, by resource. One ends only some time after
// its resource is no longer offered, and the next one of the name may have begun
// by then: so they are counted apart from what is told.
type streams struct {
	mu    sync.Mutex
	gauge *prometheus.GaugeVec
	open  map[string]int
	told  map[string]bool // resources that are offered
}

func (s *streams) add(resource string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[resource] += n
	s.set(resource)
}

// tell begins or ends to tell of a resource.
func (s *streams) tell(resource string, offered bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told[resource] = offered
	s.set(resource)
}

func (s *streams) set(resource string) {
	if !s.told[resource] {
		s.gauge.DeleteLabelValues(resource)
		return
	}
	s.gauge.WithLabelValues(resource).Set(float64(s.open[resource]))
}

// text is what Prometheus accepts as a label. A pod may have chosen the name,
// so it may be any bytes.
func text(name string) string { return strings.ToValidUTF8(name, "\uFFFD") }

const (
	resultOK    = "ok"
	resultError = "error"
)

func result(err error) string {
	if err != nil {
		return resultError
	}
	return resultOK
}
