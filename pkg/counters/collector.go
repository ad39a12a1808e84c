package counters

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/roce-k8s/roce-k8s/pkg/logging"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// Bounds of what a scrape does, one after the other, if drivers hang: Prometheus
// waits for ten seconds. Who has the NICs comes before.
const (
	// longestQuestion is for whoever reads in the namespaces of pods, who has
	// longestEntry for that.
	longestQuestion = 3 * time.Second
	longestEntry    = 2 * time.Second
	longestReading  = 4 * time.Second
)

// silencePause is how seldom the log has of one subject that it does not answer:
// on a machine under load it may answer every other time.
const silencePause = 10 * time.Minute

// Options say what to tell of, and where to read it.
type Options struct {
	Node rdma.Node
	// NICs is asked for them at each scrape.
	NICs func(context.Context) []NIC
	// Statistics reads those of netdevs; nil where they cannot be seen.
	Statistics func(context.Context, []NIC) Statistics
	// Elsewhere asks for what is to be read in the namespaces of pods; nil if
	// nobody reads there.
	Elsewhere func(context.Context) (Readings, error)
	Log       *slog.Logger
}

// A Collector implements prometheus.Collector. Scrapes take turns.
type Collector struct {
	options Options

	mu       sync.Mutex // guards what follows
	reader   *rdma.CounterReader
	patience *patience
	metrics  *metrics
	said     logging.Once
	silent   *logging.Seldom
	ended    bool
}

// NewCollector makes a collector.
func NewCollector(o Options) *Collector {
	return &Collector{options: o, reader: rdma.NewCounterReader(), patience: newPatience(), metrics: newMetrics(), said: logging.Once{},
		silent: logging.NewSeldom(silencePause)}
}

// End makes later scrapes tell of nothing, and waits until nothing is read any
// more, which it is for as long as a driver hangs.
func (c *Collector) End() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.patience.calls.Wait()
}

// Describe implements prometheus.Collector. Which counters there are is up to
// the drivers.
func (c *Collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	ctx := context.Background()
	nics := c.options.NICs(ctx)
	elsewhere := c.askElsewhere(ctx)
	ctx, cancel := context.WithTimeout(ctx, longestReading)
	defer cancel()
	statistics := c.readStatistics(ctx, nics)
	clear(c.metrics.told)
	t := &teller{c.metrics, ch}
	for _, nic := range nics {
		seen := c.read(ctx, nic)
		there := elsewhere[nic.Key()]
		if !nic.Visible && there.Counts != nil {
			seen.counts = *there.Counts
		}
		t.counts(nic, seen.counts)
		t.pcie(nic, len(nic.Ports), seen.link)
		if nic.Beside {
			continue // the netdev is told of with the main one
		}
		for _, name := range nic.Netdevs {
			t.netdev(nic, name, statistics[nic.Key()][name], there.Hardware[name])
		}
	}
}

// A sight is what the host's sysfs shows of a NIC, as far as it shows it.
type sight struct {
	counts rdma.Counts
	link   rdma.PCIeLink
}

func (c *Collector) read(ctx context.Context, nic NIC) sight {
	node := c.options.Node
	seen, err := try(ctx, c.patience, nic.Key(), func() (s sight) {
		if nic.Visible {
			s.counts, _ = c.reader.Read(node, nic.Name) // none if it has just left
		}
		if function := node.PhysicalFunctionOf(nic.Device.Device); function != "" {
			s.link = node.PCIeLink(function)
		}
		return s
	})
	c.report(nic.Key(), nic.String(), err)
	return seen
}

// report logs of what does not answer, and seldom if it does at times.
func (c *Collector) report(subject, what string, err error) {
	silence := ""
	switch {
	case errors.Is(err, errNoTime):
		return
	case err != nil:
		silence = err.Error()
	}
	if c.silent.News(subject, silence) {
		c.options.Log.Warn("the kernel does not answer in time; counters are missing", "of", what)
	}
}

func (c *Collector) askElsewhere(ctx context.Context) Readings {
	if c.options.Elsewhere == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, longestQuestion)
	defer cancel()
	readings, err := c.options.Elsewhere(ctx)
	failure := ""
	if err != nil {
		failure = err.Error()
	}
	if c.said.News("elsewhere", failure) && err != nil {
		c.options.Log.Warn("no counters from the namespaces of pods, and none of ethtool", "err", err)
	}
	return readings
}

func (c *Collector) readStatistics(ctx context.Context, nics []NIC) Statistics {
	if c.options.Statistics == nil {
		return nil
	}
	const subject = "netdevs"
	statistics, err := try(ctx, c.patience, subject, func() Statistics { return c.options.Statistics(ctx, nics) })
	c.report(subject, subject, err)
	return statistics
}
