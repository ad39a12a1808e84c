package dra

import (
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/memlock"
	"github.com/roce-k8s/roce-k8s/test/fixtures/document"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sockets"
)

const page = "../../docs/dra.md"

func TestTheDocumentHasEveryAttributeAndNoOther(t *testing.T) {
	n := newTestNode(t)
	for _, h := range n.guide.Rails {
		n.Must(n.SetCounter(h, "rate", "400 Gb/sec (4X NDR)"))
	}
	n.start()
	n.Until("eight devices", func() bool { return len(n.published()) == 8 })
	got := slices.Sorted(maps.Keys(text(n.published()[n.rails(0)[0]])))
	document.Compare(t, page, document.FirstWords(t, page, "| attribute | type | |"), got)
}

func TestTheDocumentHasEveryTaintAndNoOther(t *testing.T) {
	document.Compare(t, page, document.FirstWords(t, page, "| taint, `NoSchedule` | when |"), []string{taintUnusable, taintLink, taintTaken})
}

func TestTheDocumentHasEveryMetricWithItsTypeAndLabels(t *testing.T) {
	m := NewMetrics("v1", t.TempDir())
	m.looked(&view{devices: []device{{taken: true}}}, 0)
	socket := filepath.Join(sockets.Folder(t), "memlock.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	plugin := &http.Server{Handler: memlock.New(memlock.Options{})}
	go func() { _ = plugin.Serve(l) }()
	defer plugin.Close()
	m.registry.MustRegister(memlock.NewCollector(metricsNamespace, socket))
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var code []string
	for _, f := range families {
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		code = append(code, document.Metric(strings.TrimPrefix(f.GetName(), metricsNamespace+"_"), f.GetType().String(), labels))
	}
	document.Compare(t, page, document.Metrics(t, page, "| metric of the driver | type | labels | |"), code)
}
