package deviceplugin

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/endpoint"
	"github.com/roce-k8s/roce-k8s/pkg/exporter"
	"github.com/roce-k8s/roce-k8s/pkg/memlock"
)

// handler answers /metrics, /healthz and /readyz.
func handler(metrics http.Handler, healthy, ready func() error) *http.ServeMux {
	answer := func(check func() error) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if err := check(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			_, _ = w.Write([]byte("ok\n"))
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", metrics)
	mux.Handle("/healthz", answer(healthy))
	mux.Handle("/readyz", answer(ready))
	return mux
}

// serve starts the HTTP servers for metrics and probes.
func (m *manager) serve(ctx context.Context, running *sync.WaitGroup) {
	holders, conn, err := newHolders(PodResourcesSocket(m.options.KubeletDir), func(resource string) bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.entries[resource] != nil
	})
	if err != nil {
		m.log.Warn("no metrics on who holds units", "err", err)
	} else {
		m.metrics.registry.MustRegister(holders)
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		m.tellCounters(ctx, holders.units)
	}
	if socket := m.options.MemlockSocket; socket != "" {
		m.metrics.registry.MustRegister(memlock.NewCollector(namespace, socket))
	}
	if address := m.options.MetricsAddress; address != "" {
		h := handler(m.metrics, m.healthy, m.ready)
		running.Go(func() { exporter.Serve(ctx, endpoint.TCP(address), m.options.MetricsAccess, h, m.log) })
	}
	if socket := m.options.ProbeSocket; socket != "" {
		h := handler(m.metrics, m.healthy, m.ready)
		// Only here: the socket is in a folder of root's, while anybody can
		// reach the port.
		h.HandleFunc(forgetPath, m.serveForget)
		running.Go(func() { exporter.Serve(ctx, endpoint.Unix(socket), exporter.Access{}, h, m.log) })
	}
}

// healthy is an error when only a restart of the program can help: a look at
// the devices has been going on for too long, because a driver hangs; or looks
// have failed for too long, because what the program has mounted is no longer
// the node's.
func (m *manager) healthy() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case !m.busy.IsZero() && time.Since(m.busy) > stuck:
		return fmt.Errorf("still reading the node's devices, since %s", m.busy.Format(time.RFC3339))
	case m.failing.err != nil && time.Since(m.failing.since) > blind:
		return fmt.Errorf("the node's devices have not been readable since %s: %w", m.failing.since.Format(time.RFC3339), m.failing.err)
	}
	return nil
}

// ready is an error while a pod that asks for a resource could not start: it
// is not registered, the kubelet does not listen, or containers would not find
// their devices. In a rolling update it keeps the old instance alive, and so it
// is one as well while the configuration has a resource that this instance
// leaves out.
func (m *manager) ready() error {
	if err := m.healthy(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.noCDI != nil {
		return fmt.Errorf("containers will not get their devices: %w", m.noCDI)
	}
	if left := m.config.Faults.LeftOut(); len(left) > 0 {
		return fmt.Errorf("a resource of the configuration is left out: %w", left)
	}
	var missing []string
	for name, e := range m.entries {
		if !e.plugin.Ready() {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("the kubelet has no stream of %s", strings.Join(missing, ", "))
	}
	return nil
}
