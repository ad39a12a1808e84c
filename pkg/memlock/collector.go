package memlock

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// A Collector tells Prometheus of the plugin that serves at a socket. It asks when
// Prometheus does: one that has ended cannot say so.
type Collector struct {
	socket                string
	connected, containers *prometheus.Desc
}

// NewCollector makes a collector, for the metrics of a program.
func NewCollector(namespace, socket string) *Collector {
	name := func(metric string) string { return prometheus.BuildFQName(namespace, "", metric) }
	return &Collector{socket,
		prometheus.NewDesc(name("memlock_connected"), "1 while the container runtime asks the memlock plugin about containers.", nil, nil),
		prometheus.NewDesc(name("memlock_containers_total"), "Containers with RDMA devices, by what became of their memlock limit.", []string{"result"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	to <- c.connected
	to <- c.containers
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	r, err := Ask(context.Background(), c.socket)
	connected := 0.0
	if err == nil && r.Connected {
		connected = 1
	}
	to <- prometheus.MustNewConstMetric(c.connected, prometheus.GaugeValue, connected)
	if err == nil {
		to <- prometheus.MustNewConstMetric(c.containers, prometheus.CounterValue, float64(r.Raised), "raised")
		to <- prometheus.MustNewConstMetric(c.containers, prometheus.CounterValue, float64(r.Kept), "kept")
	}
}
