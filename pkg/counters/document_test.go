package counters

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/test/fixtures/document"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

const page = "../../docs/device-plugin.md"

func TestTheDocumentHasEveryMetricOfANICWithItsTypeAndLabels(t *testing.T) {
	var shared []string
	for _, row := range document.Table(t, page, "| label | |") {
		shared = append(shared, document.Words(row[0])...)
	}
	f := newFakeNode(t, sysfs.MLX5(0))
	f.Collector.options.Elsewhere = func(context.Context) (Readings, error) {
		hardware := []netdev.Counter{{Name: "rx_prio3_pause"}, {Name: "tx_prio3_pause"}, {Name: "rx_discards_phy"}}
		return Readings{f.nics[0].Key(): {Hardware: map[string][]netdev.Counter{"ens11np0": hardware}}}, nil
	}
	r := prometheus.NewRegistry()
	r.MustRegister(f.Collector)
	families, err := r.Gather()
	f.must(err)
	told := map[string]string{} // types and labels
	for _, family := range families {
		var labels []string
		for _, l := range family.Metric[0].Label {
			if !slices.Contains(shared, l.GetName()) {
				labels = append(labels, l.GetName())
			}
		}
		if len(family.Metric[0].Label) != len(shared)+len(labels) {
			t.Errorf("%s lacks labels: %v", family.GetName(), family.Metric[0].Label)
		}
		slices.Sort(labels)
		told[family.GetName()] = strings.ToLower(family.GetType().String()) + " " + strings.Join(labels, ", ")
	}
	// A row that names one metric comes before one that names many.
	type row struct{ name, what string }
	var rows []row
	for _, cells := range document.Table(t, page, "| metric of a NIC | type | labels beside those of all | |") {
		for _, name := range document.Words(cells[0]) {
			rows = append(rows, row{name, cells[1] + " " + cells[2]})
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return len(b.name) - len(a.name) })
	many := regexp.MustCompile("COUNTER|STATISTIC")
	for _, r := range rows {
		pattern := regexp.MustCompile("^" + many.ReplaceAllString(r.name, "[a-zA-Z0-9_]+") + "$")
		found := false
		for metric, what := range told {
			if !pattern.MatchString(metric) {
				continue
			}
			found = true
			delete(told, metric)
			if what != r.what {
				t.Errorf("%s is a %s, %s says %s", metric, what, page, r.what)
			}
		}
		if !found {
			t.Errorf("%s has a row for %s, which nobody tells of", page, r.name)
		}
	}
	for metric := range told {
		t.Errorf("%s has no row for %s", page, metric)
	}
}
