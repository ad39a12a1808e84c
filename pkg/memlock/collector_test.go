package memlock

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/roce-k8s/roce-k8s/test/fixtures/sockets"
)

func TestPrometheusIsToldWhatThePluginSaysAndThatItSaysNothing(t *testing.T) {
	socket := filepath.Join(sockets.Folder(t), "memlock.sock")
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector("driver", socket))
	told := func() (lines []string) {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.Metric {
				line := f.GetName()
				for _, l := range m.Label {
					line += " " + l.GetValue()
				}
				lines = append(lines, fmt.Sprintf("%s %g", line, m.GetGauge().GetValue()+m.GetCounter().GetValue()))
			}
		}
		return lines
	}
	if got := told(); !slices.Equal(got, []string{"driver_memlock_connected 0"}) {
		t.Errorf("nobody answers: %q", got)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	p := New(Options{})
	server := &http.Server{Handler: p}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	for connected, want := range map[bool]string{true: "driver_memlock_connected 1", false: "driver_memlock_connected 0"} {
		p.tell(func(r *Report) { *r = Report{Connected: connected, Raised: 3, Kept: 1} })
		if got := told(); !slices.Equal(got, []string{want, "driver_memlock_containers_total kept 1", "driver_memlock_containers_total raised 3"}) {
			t.Errorf("connected %v: %q", connected, got)
		}
	}
}
