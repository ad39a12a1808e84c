package deviceplugin

import (
	"context"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/roce-k8s/roce-k8s/pkg/memlock"
)

// A memlockCollector tells of the plugin that serves at a socket. It asks when
// Prometheus does: one that has ended cannot say so.
type memlockCollector struct {
	socket                string
	connected, containers *prometheus.Desc
}

func newMemlockCollector(socket string) *memlockCollector {
	name := func(metric string) string { return prometheus.BuildFQName(namespace, "", metric) }
	return &memlockCollector{socket,
		prometheus.NewDesc(name("memlock_connected"), "1 while the container runtime asks the memlock plugin about containers.", nil, nil),
		prometheus.NewDesc(name("memlock_containers_total"), "Containers with RDMA devices, by what became of their memlock limit.", []string{"result"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *memlockCollector) Describe(to chan<- *prometheus.Desc) {
	to <- c.connected
	to <- c.containers
}

// Collect implements prometheus.Collector.
func (c *memlockCollector) Collect(to chan<- prometheus.Metric) {
	r, err := memlock.Ask(context.Background(), c.socket)
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

// Memlock raises the memlock limit of containers with RDMA devices until ctx ends,
// and serves at o.MemlockSocket, if there is one, how that goes.
func Memlock(ctx context.Context, o Options, how memlock.Options) {
	p := memlock.New(how)
	var running sync.WaitGroup
	if o.MemlockSocket != "" {
		running.Go(func() { serveHTTP(ctx, "unix", o.MemlockSocket, Access{}, p, o.Log) })
	}
	p.Run(ctx)
	running.Wait()
}
