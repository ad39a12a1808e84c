package counters

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// The files are those of a simulated sysfs, which no driver has to be asked for.
func BenchmarkScrapeOfFakeSysfs(b *testing.B) {
	for _, n := range []int{8, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var hcas []sysfs.HCA
			for i := range n {
				hcas = append(hcas, sysfs.MLX5(i))
			}
			f := newFakeNode(b, hcas...)
			r := prometheus.NewRegistry()
			r.MustRegister(f.Collector)
			h := promhttp.HandlerFor(r, promhttp.HandlerOpts{})
			b.ReportAllocs()
			for b.Loop() {
				w := &discard{ResponseRecorder: httptest.NewRecorder()}
				h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			}
		})
	}
}

type discard struct{ *httptest.ResponseRecorder }

func (*discard) Write(b []byte) (int, error) { return io.Discard.Write(b) }
