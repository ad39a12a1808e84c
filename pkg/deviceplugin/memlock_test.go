package deviceplugin

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/roce-k8s/roce-k8s/pkg/endpoint"
	"github.com/roce-k8s/roce-k8s/pkg/exporter"
	"github.com/roce-k8s/roce-k8s/pkg/memlock"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sockets"
)

// serveMemlock serves what answers memlock.Ask.
func serveMemlock(t *testing.T, h http.Handler) (socket string) {
	t.Helper()
	socket = filepath.Join(sockets.Folder(t), "memlock.sock")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		exporter.Serve(ctx, endpoint.Unix(socket), exporter.Access{}, h, slog.New(slog.DiscardHandler))
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if c, err := net.Dial("unix", socket); err == nil { // its name is there before anybody listens
			_ = c.Close()
			return socket
		}
		if time.Now().After(end) {
			t.Fatal("nobody serves ", socket)
		}
	}
}

// memlockMetrics are those of the plugin at a socket, by name and result.
func memlockMetrics(t *testing.T, socket string) map[string]float64 {
	t.Helper()
	m := newMetrics("v1")
	m.registry = prometheus.NewRegistry()
	m.registry.MustRegister(memlock.NewCollector(namespace, socket))
	values := map[string]float64{}
	for name, f := range scrape(t, m) {
		for _, metric := range f.Metric {
			key := name
			for _, l := range metric.GetLabel() {
				key += " " + l.GetValue()
			}
			values[key] = metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
		}
	}
	return values
}

func TestTheMetricsSayWhetherTheRuntimeAsksTheMemlockPlugin(t *testing.T) {
	for answer, want := range map[string]map[string]float64{
		`{"connected": true, "raised": 3, "kept": 1}`: {"memlock_connected": 1, "memlock_containers_total raised": 3, "memlock_containers_total kept": 1},
		`{"connected": false, "raised": 2}`:           {"memlock_connected": 0, "memlock_containers_total raised": 2, "memlock_containers_total kept": 0},
		`who?`:                                        {"memlock_connected": 0},
	} {
		have := memlockMetrics(t, serveMemlock(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) })))
		same := len(have) == len(want)
		for name, value := range want {
			got, ok := have[name]
			same = same && ok && got == value
		}
		if !same {
			t.Errorf("%s: %v", answer, have)
		}
	}
	if have := memlockMetrics(t, "/nowhere"); len(have) != 1 || have["memlock_connected"] != 0 {
		t.Errorf("without a plugin: %v", have)
	}
}

func TestTheCommandMemlockSaysHowItIs(t *testing.T) {
	dir := sockets.Folder(t)
	log := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Memlock(ctx, Options{MemlockSocket: dir + "/m", Log: log}, memlock.Options{Socket: dir + "/n", Limit: memlock.Unlimited, Log: log})
	}()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if r, err := memlock.Ask(t.Context(), dir+"/m"); err == nil && !r.Connected && strings.Contains(r.Why, "no such file") {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it does not say that there is no runtime")
		}
	}
	cancel()
	<-done
}
