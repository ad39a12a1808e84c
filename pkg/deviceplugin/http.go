package deviceplugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/logging"
)

// listenAgain is the pause after an address could not be had: another instance
// on the node may be about to end.
const listenAgain = 5 * time.Second

// handler answers /metrics, /healthz and /readyz.
func handler(metrics http.Handler, healthy, ready func() error) http.Handler {
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

// serveHTTP serves h on an address, TCP or a unix socket, until ctx ends.
func serveHTTP(ctx context.Context, network, address string, h http.Handler, log *slog.Logger) {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	said := logging.Once{}
	for ctx.Err() == nil {
		if network == "unix" {
			_ = os.Remove(address) // of an instance before this one, which was killed
		}
		l, err := (&net.ListenConfig{}).Listen(ctx, network, address)
		if err == nil {
			log.Info("metrics and probes", "address", l.Addr().String())
			if err = server.Serve(l); errors.Is(err, http.ErrServerClosed) {
				return
			}
		}
		if said.News(address, err.Error()) {
			log.Warn("no metrics and probes yet", "address", address, "again", listenAgain.String(), "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenAgain):
		}
	}
}

// serve starts the HTTP servers for metrics and probes.
func (m *manager) serve(ctx context.Context, running *sync.WaitGroup) {
	holders, conn, err := newHolders(podResourcesSocket(m.options.KubeletDir), func(resource string) bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.entries[resource] != nil
	})
	if err != nil {
		m.log.Warn("no metrics of who holds units", "err", err)
	} else {
		m.metrics.registry.MustRegister(holders)
		context.AfterFunc(ctx, func() { _ = conn.Close() })
	}
	h := handler(m.metrics, m.healthy, m.ready)
	if address := m.options.MetricsAddress; address != "" {
		running.Go(func() { serveHTTP(ctx, "tcp", address, h, m.log) })
	}
	if socket := m.options.ProbeSocket; socket != "" {
		running.Go(func() { serveHTTP(ctx, "unix", socket, h, m.log) })
	}
}

// healthy is an error when a rescan has been going on for too long: a driver
// hangs, and only a restart of the program can tell whether it still does.
func (m *manager) healthy() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.busy.IsZero() && time.Since(m.busy) > stuck {
		return fmt.Errorf("reading the node's devices since %s", m.busy.Format(time.RFC3339))
	}
	return nil
}

// ready is an error while a resource is not registered or the kubelet does not
// listen to it.
func (m *manager) ready() error {
	m.mu.Lock()
	defer m.mu.Unlock()
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
