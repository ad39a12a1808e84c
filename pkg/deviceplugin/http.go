package deviceplugin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/roce-k8s/roce-k8s/pkg/logging"
)

// listenAgain is the pause after an address was not available: another instance
// on the node may be about to end.
const listenAgain = 5 * time.Second

const (
	// mostConnections bounds what anybody on the node can make this program
	// hold. A scrape takes one, and whoever waits for one waits in the kernel.
	mostConnections = 32
	// longestRequest and longestAnswer are more than any should take; a slower
	// client makes room for others.
	longestRequest = 5 * time.Second
	longestAnswer  = 30 * time.Second
	longestIdle    = 2 * time.Second
	longestHeader  = 8 << 10 // bytes
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

// serveHTTP serves h on an address, TCP or a unix socket, until ctx ends.
func serveHTTP(ctx context.Context, network, address string, access Access, h http.Handler, log *slog.Logger) {
	server := &http.Server{
		Handler: access.guard(h), ReadTimeout: longestRequest, WriteTimeout: longestAnswer, IdleTimeout: longestIdle, MaxHeaderBytes: longestHeader,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), // what clients do wrong
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	said := logging.Once{}
	for ctx.Err() == nil {
		if network == "unix" {
			_ = os.Remove(address) // of an instance before this one, which was killed
		}
		l, err := listen(ctx, network, address, access, log)
		if err == nil {
			log.Info("metrics and probes", "address", l.Addr().String())
			if err = server.Serve(l); errors.Is(err, http.ErrServerClosed) {
				return
			}
		}
		if said.News(address, err.Error()) {
			log.Warn("cannot serve metrics and probes yet", "address", address, "again", listenAgain.String(), "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenAgain):
		}
	}
}

// listen takes so many connections and no more, with TLS if access says so.
func listen(ctx context.Context, network, address string, access Access, log *slog.Logger) (net.Listener, error) {
	if err := access.ready(); err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, network, address)
	if err != nil {
		return nil, err
	}
	l = netutil.LimitListener(l, mostConnections)
	if access.TLSDir == "" {
		return l, nil
	}
	var mu sync.Mutex // guards said: each client has a goroutine
	said := logging.Once{}
	return tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c, err := access.config()
		failure := ""
		if err != nil {
			failure = err.Error()
		}
		mu.Lock()
		defer mu.Unlock()
		if said.News("files", failure) && err != nil {
			log.Warn("clients of the metrics are turned away", "err", err)
		}
		return c, err
	}}), nil
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
		m.metrics.registry.MustRegister(newMemlockCollector(socket))
	}
	if address := m.options.MetricsAddress; address != "" {
		h := handler(m.metrics, m.healthy, m.ready)
		running.Go(func() { serveHTTP(ctx, "tcp", address, m.options.MetricsAccess, h, m.log) })
	}
	if socket := m.options.ProbeSocket; socket != "" {
		h := handler(m.metrics, m.healthy, m.ready)
		// Only here: the socket is in a folder of root's, while anybody can
		// reach the port.
		h.HandleFunc(forgetPath, m.serveForget)
		running.Go(func() { serveHTTP(ctx, "unix", socket, Access{}, h, m.log) })
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
