package dra

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/counters"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
	"github.com/roce-k8s/roce-k8s/pkg/exporter"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/logging"
	"github.com/roce-k8s/roce-k8s/pkg/memlock"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// Options say where everything is.
type Options struct {
	NodeName string
	PodUID   string // of the driver's own pod, for updates without a gap; may be ""
	Client   kubernetes.Interface

	ConfigFile     string // the device plugin's
	AttributesFile string // more attributes, "" or a file that need not exist
	KubeletDir     string
	StateDir       string // the CNI plugin's, with the journal
	CDIDir         string
	Proc           string // where proc is mounted
	Node           rdma.Node
	Log            *slog.Logger

	// Metrics has what is counted. MetricsAddress is where it is served, "" for
	// nowhere, and MetricsAccess says who may have it.
	Metrics        *Metrics
	MetricsAddress string
	MetricsAccess  exporter.Access
	// CountersSocket is where counters are read in the namespaces of pods, "" if
	// nowhere.
	CountersSocket string
	// MemlockSocket is where the plugin that raises memlock limits says how it is,
	// "" if there is none.
	MemlockSocket string

	// Hook is the CNI plugin on the node, which runtimes call before they start a
	// container of a claim.
	Hook string
	// Chained says why a pod's sandbox would not get what its claims allot, nil
	// if it would.
	Chained func() error
	// CheckNetwork says what is wrong with the keys of a network.
	CheckNetwork func(json.RawMessage) error
	// Stuck is how long a look at the node may take; 0 is for a minute.
	Stuck time.Duration
}

func (o Options) stuck() time.Duration { return cmp.Or(o.Stuck, time.Minute) }

// A ConfigError says that the configuration cannot be used: there is no point
// in trying again without changing it.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }
func (e *ConfigError) Unwrap() error { return e.Err }

// A driver serves the kubelet, and keeps what it says of the node true.
type driver struct {
	options   Options
	log       *slog.Logger
	journal   *attachment.Journal
	inventory *inventory.Inventory
	links     func(context.Context) ([]netlink.Link, error) // the host's
	health    *offer.Health
	reporter  *reporter

	events chan struct{}   // something may have changed
	asks   chan chan *view // somebody wants a look at the node now
	offers chan []resourceapi.Device
	busy   atomic.Int64 // since when a look has been going on, 0 if none is

	writing sync.Mutex // guards what is written of claims
	config  *files     // the loop's alone

	mu      sync.Mutex // guards what follows
	once    logging.Once
	view    *view
	changed chan struct{} // closed when the health of a device changes
	end     func(error)
}

// A view is what a look at the node saw. It does not change.
type view struct {
	at                time.Time
	devices           []device // in the order of their rails
	seen              []inventory.Device
	connectionManager bool
	held              []*attachment.Record
}

// find is the device with a name in the ResourceSlice, nil if there is none.
func (v *view) find(name string) *device {
	for n := range v.devices {
		if v.devices[n].name == name {
			return &v.devices[n]
		}
	}
	return nil
}

// Run serves the kubelet until ctx ends, which is not an error.
func Run(ctx context.Context, o Options) error {
	config, err := readFiles(o.ConfigFile, o.AttributesFile)
	if err != nil {
		return &ConfigError{err}
	}
	journal, err := attachment.Open(o.StateDir, o.Proc)
	if err != nil {
		return err
	}
	host, err := netdev.CurrentNamespace()
	if err != nil {
		return fmt.Errorf("see the host's links: %w", err)
	}
	d := newDriver(o, journal, host.LinkReader().Links, host.LinksElsewhere)
	nics := counters.NewCollector(d.counting(host))
	o.Metrics.registry.MustRegister(nics)
	defer func() { // nobody waits for a driver that hangs
		go func() {
			nics.End()
			d.inventory.Wait()
			host.Close()
		}()
	}()
	if o.MemlockSocket != "" {
		o.Metrics.registry.MustRegister(memlock.NewCollector(metricsNamespace, o.MemlockSocket))
	}
	return d.run(ctx, config)
}

func newDriver(o Options, journal *attachment.Journal, links, elsewhere func(context.Context) ([]netlink.Link, error)) *driver {
	d := &driver{
		options: o, log: o.Log, journal: journal, links: links, health: offer.NewHealth(offer.SettleTime), once: logging.Once{},
		events: make(chan struct{}, 1), asks: make(chan chan *view), offers: make(chan []resourceapi.Device, 1), changed: make(chan struct{}),
		inventory: inventory.New(inventory.Options{
			Node: o.Node, Journal: journal, StateDir: o.StateDir, Links: links, Elsewhere: elsewhere, Rates: true, Log: o.Log,
		}),
	}
	d.reporter = newReporter(d)
	return d
}

func (d *driver) run(outer context.Context, config *files) error {
	ctx, cancel := context.WithCancelCause(outer)
	defer cancel(nil)
	d.end, d.config = cancel, config
	d.config.report(d.log)
	if err := os.MkdirAll(dataDir(d.options.KubeletDir), 0o750); err != nil {
		return fmt.Errorf("make the driver's folder: %w", err)
	}
	removeStale(d.options.KubeletDir, d.log)
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { d.loop(ctx, &running) })
	helper, err := kubeletplugin.Start(ctx, d,
		kubeletplugin.DriverName(DriverName), kubeletplugin.NodeName(d.options.NodeName), kubeletplugin.KubeClient(d.options.Client),
		kubeletplugin.RollingUpdate(types.UID(d.options.PodUID)), kubeletplugin.PluginDataDirectoryPath(dataDir(d.options.KubeletDir)),
		kubeletplugin.RegistrarDirectoryPath(registryDir(d.options.KubeletDir)))
	if err != nil {
		cancel(nil)
		return fmt.Errorf("serve the kubelet: %w", err)
	}
	defer helper.Stop()
	running.Go(func() { d.publish(ctx) })
	running.Go(func() { d.reporter.run(ctx) })
	running.Go(func() { d.watch(ctx) })
	for _, socket := range ownSockets(d.options.KubeletDir, d.options.PodUID) {
		running.Go(func() { d.guard(ctx, socket) })
	}
	if d.options.MetricsAddress != "" {
		running.Go(func() { d.serve(ctx) })
	}
	<-ctx.Done()
	if outer.Err() == nil {
		return context.Cause(ctx)
	}
	d.log.Info("stopped")
	return nil
}

// HandleError ends the program, and the kubelet starts it again, unless the helper
// says that it passes: a health report is late after a standstill, or because the
// node cannot be read, when pods have to end all the same. Of a look that hangs
// watch ends the program.
func (d *driver) HandleError(_ context.Context, err error, msg string) {
	if errors.Is(err, kubeletplugin.ErrRecoverable) {
		d.log.Warn("the kubelet is not told what it should be", "step", msg, "err", err)
		return
	}
	d.end(fmt.Errorf("%s: %w", msg, err))
}

// said tells whether something is news.
func (d *driver) said(subject, message string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.once.News(subject, message)
}

// fresh looks at the node.
func (d *driver) fresh(ctx context.Context) (*view, error) {
	answer := make(chan *view, 1)
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case d.asks <- answer:
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case v := <-answer:
		if v == nil {
			return nil, errors.New("the node's RDMA devices cannot be read; the driver's log says why")
		}
		return v, nil
	}
}

// current is what the last look saw, and a channel that closes when the health of a
// device changes.
func (d *driver) current() (*view, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.view, d.changed
}

// looking is for how long a look at the node has been going on, 0 if none is.
func (d *driver) looking() time.Duration {
	since := d.busy.Load()
	if since == 0 {
		return 0
	}
	return time.Since(time.Unix(0, since))
}

// watch ends the program when a look does not return: a new one may get further.
func (d *driver) watch(ctx context.Context) {
	again := time.NewTicker(d.options.stuck() / 4)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
		if took := d.looking(); took > d.options.stuck() {
			d.end(fmt.Errorf("a look at the node's RDMA devices has not returned for %s; does a driver hang?", took.Round(time.Second)))
			return
		}
	}
}
