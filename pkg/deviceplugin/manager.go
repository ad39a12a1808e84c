package deviceplugin

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/kubelet"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/logging"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/specfile"
	"github.com/roce-k8s/roce-k8s/pkg/watch"
)

const (
	// watchAgain is the pause between looks at the configuration without an event.
	watchAgain = 30 * time.Second
	// lookAgain is the pause after the node could not be read.
	lookAgain = 5 * time.Second
	// restSoon is the pause after a look that saw an incomplete device.
	restSoon = time.Second
	// stuck is how long a look may take before the program is unhealthy, and
	// blind how long looks may fail.
	stuck = time.Minute
	blind = 2 * time.Minute
)

// A manager keeps the offers true: it looks at the node when something may have
// changed, and rereads the configuration when it has changed.
type manager struct {
	options   Options
	log       *slog.Logger
	inventory *inventory.Inventory
	folder    *kubelet.Folder
	metrics   *metrics
	health    *offer.Health
	host      *netdev.Namespace  // nil if its links cannot be seen
	rescuer   *rescuer           // nil to rescue nothing
	seen      inventory.Snapshot // at the last look that could see
	view      atomic.Pointer[view]

	events  chan struct{} // something may have changed
	forgets chan forgetting
	// abandoned is what the end of the program does not wait for.
	abandoned sync.WaitGroup
	said      logging.Once

	mu      sync.Mutex // guards what probes read
	config  *configFile
	entries map[string]*entry
	busy    time.Time // since when a look has been going on, zero if none is
	failing failure   // of the looks
	noCDI   error     // why the CDI spec could not be written
}

// A failure is what goes wrong, and since when; zero if nothing does.
type failure struct {
	since time.Time
	err   error
}

// run keeps resources registered and offers true until ctx ends.
func (m *manager) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	m.folder.RemoveStale()
	running.Go(func() { m.folder.Watch(ctx) })
	m.startPlugins(ctx, &running)
	// What it does not notice is what periodicUpdateInterval is for.
	running.Go(func() { m.inventory.Watch(ctx, m.notice) })

	configChanged := make(chan struct{}, 1)
	configs := watch.Folder{Dir: filepath.Dir(m.config.path), Every: watchAgain, Log: m.log}
	running.Go(func() { configs.Run(ctx, func() { watch.Poke(configChanged) }) })

	m.serve(ctx, &running)
	m.reportKernel(ctx)
	m.reportMode()
	m.warnGIDs()
	m.loop(ctx, &running, configChanged)
}

// loop is the one place where configuration and offers change.
func (m *manager) loop(ctx context.Context, running *sync.WaitGroup, configChanged <-chan struct{}) {
	rescues := make(chan struct{}, 1)
	rescues <- struct{}{} // one at a time
	var soon <-chan time.Time
	last := time.Duration(0) // what the last rescan took
	for {
		if pause := m.again(); soon == nil && pause > 0 {
			soon = time.After(pause)
		}
		tick, stopTick := after(m.config.PeriodicUpdateInterval)
		due := m.health.Next()
		if soon != nil {
			due = time.Time{} // it is taken care of now
		}
		settled, stopSettled := until(due)
		scan := false
		select {
		case <-ctx.Done():
		case <-m.events:
			if soon == nil {
				soon = time.After(watch.Rest(last))
			}
		case <-soon:
			scan = true
		case <-tick:
			scan = true
		case <-settled:
			scan = true
		case <-configChanged:
			m.reload(ctx, running, false)
		case <-m.options.Reload:
			m.reload(ctx, running, true)
		case f := <-m.forgets:
			f.answer <- m.forget(f.device)
			scan = true
		}
		stopTick()
		stopSettled()
		if ctx.Err() != nil {
			return
		}
		if scan {
			soon = nil
			begin := time.Now()
			seen := m.rescan(ctx)
			m.startPlugins(ctx, running)
			last = time.Since(begin)
			m.rescue(ctx, seen, rescues)
		}
	}
}

// after is a timer that never fires for a duration of 0.
func after(d time.Duration) (<-chan time.Time, func() bool) {
	if d <= 0 {
		return nil, func() bool { return true }
	}
	t := time.NewTimer(d)
	return t.C, t.Stop
}

// until is a timer that never fires for the zero time.
func until(t time.Time) (<-chan time.Time, func() bool) {
	if t.IsZero() {
		return nil, func() bool { return true }
	}
	return after(max(time.Until(t), time.Millisecond))
}

// notice makes a rescan happen soon.
func (m *manager) notice() { watch.Poke(m.events) }

// again is when to look again if nothing happens, 0 if there is no need to.
func (m *manager) again() time.Duration {
	switch {
	case m.failing.err != nil:
		return lookAgain
	case m.seen.Partial:
		return restSoon
	}
	return 0
}

// rescan looks at the node and renews the offers. When the node cannot be
// read the old ones stay: a failed look says nothing about the devices.
func (m *manager) rescan(ctx context.Context) inventory.Snapshot {
	m.reportMode()
	seen, err := m.look(ctx)
	if ctx.Err() != nil {
		return seen
	}
	if err != nil {
		m.metrics.rescanFailures.Inc()
		m.log.Error("cannot read the node's RDMA devices; the offers stay as they are", "err", err)
		return seen
	}
	m.seen = seen
	chosen, clashes := offer.Assign(m.config.Resources, seen.Devices)
	m.reportClashes(clashes)
	m.offer(chosen)
	m.show(seen, chosen)
	return seen
}

// look reads the inventory, and notes since when it does. Nobody may look
// again once ctx has ended.
func (m *manager) look(ctx context.Context) (inventory.Snapshot, error) {
	begin := time.Now()
	m.setBusy(begin)
	seen, err := m.inventory.Read(ctx)
	if err == nil {
		err = seen.Unnamed
	}
	m.looked(err)
	if ctx.Err() != nil {
		return inventory.Snapshot{}, ctx.Err()
	}
	if err == nil {
		m.inventory.Remember(seen)
	}
	m.metrics.rescanTime.Observe(time.Since(begin).Seconds())
	return seen, err
}

func (m *manager) setBusy(since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.busy = since
}

// looked notes how a look ended.
func (m *manager) looked(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.busy = time.Time{}
	switch {
	case err == nil:
		m.failing = failure{}
	case m.failing.err == nil:
		m.failing = failure{time.Now(), err}
	default:
		m.failing.err = err
	}
}

// offer makes the offers of all resources from the devices chosen for each.
func (m *manager) offer(chosen map[string][]inventory.Device) {
	_, connectionManager := m.options.Node.ConnectionManager()
	var names offer.CDINames
	if m.options.CDIDir != "" {
		names = offer.NameCDI(m.config.Resources, chosen)
		m.writeCDI(chosen, names, connectionManager) // before anybody is told of its devices
	}
	known := map[string]bool{}
	for _, r := range m.config.Resources {
		e := m.entries[r.Name]
		candidates := make([]offer.Candidate, len(chosen[r.Name]))
		for n, d := range chosen[r.Name] {
			known[d.Key()] = true
			candidates[n] = m.candidate(r, d)
		}
		o := offer.New(r, candidates, connectionManager, names)
		e.resource.Replace(o)
		m.metrics.offered(r.Name, candidates, o)
		m.report(e, candidates)
		m.reportMissing(r, offer.Missing(r, chosen[r.Name], connectionManager))
	}
	m.health.Forget(known)
}

// candidate judges a device's health, and looks up what only some resources
// need.
func (m *manager) candidate(r config.Resource, d inventory.Device) offer.Candidate {
	why, news := m.health.Judge(d.Key(), offer.Ailment(d, r.HealthPolicy), time.Now())
	switch {
	case news && why != "":
		m.log.Warn("device degraded", "resource", r.Name, "device", d.String(), "place", d.Place, "because", why)
	case news:
		m.log.Info("device recovered", "resource", r.Name, "device", d.String(), "place", d.Place)
	}
	c := offer.Candidate{Device: d, Healthy: why == "", GIDIndex: -1}
	if r.Mode == config.PerDevice {
		c.Root = m.options.Node.PCIeRoot(d.Device)
	}
	if r.Env {
		if index, ok := m.options.Node.IPv4GIDIndex(d.Device); ok {
			c.GIDIndex = index
		}
	}
	return c
}

func (m *manager) writeCDI(chosen map[string][]inventory.Device, names offer.CDINames, connectionManager bool) {
	err := specfile.Of(m.options.CDIDir, offer.CDIVendor, offer.CDIClass).Write(offer.CDISpec(m.config.Resources, chosen, names, connectionManager))
	m.mu.Lock()
	m.noCDI = err
	m.mu.Unlock()
	failure := ""
	if err != nil {
		failure = err.Error()
	}
	if m.said.News("CDI spec", failure) && failure != "" {
		m.log.Error("containers will not get their devices", "err", failure)
	}
}

// rescue looks for NICs that came back by themselves, and has them restored in
// the background: it may have to wait for a CNI operation.
func (m *manager) rescue(ctx context.Context, seen inventory.Snapshot, free chan struct{}) {
	if m.rescuer == nil {
		return
	}
	found := seen.Stranded()
	owed, err := m.rescuer.journal.Owed()
	if m.said.News("owed", fmt.Sprint(err)) && err != nil {
		m.log.Warn("cannot list what is owed to NICs", "err", err)
	}
	m.metrics.owed.Set(float64(len(owed)))
	if len(found)+len(owed) == 0 {
		return
	}
	select {
	case <-free:
		// Nobody waits for it when the program ends: like a CNI operation it
		// may be interrupted anywhere.
		m.abandoned.Go(func() {
			next := earlier(m.rescuer.rescue(ctx, found), attachment.SettleDue(ctx, owed, m.rescuer.way))
			free <- struct{}{}
			if !next.IsZero() {
				time.AfterFunc(time.Until(next), m.notice)
			}
		})
	default: // the last one still works; the next rescan comes back to it
	}
}
