package monitoring

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

const (
	folder  = "../../deployments/chart/roce-k8s/monitoring/"
	runbook = "../../docs/runbook.md"
)

// A rule is an alert.
type rule struct {
	Alert       string
	Expr        string
	For         string
	Annotations struct {
		Summary string
		Runbook string `json:"runbook_url"`
	}
}

// A ruleFile is what Prometheus reads, without the object around it.
type ruleFile struct {
	Spec struct {
		Groups []struct{ Rules []rule }
	}
}

func rules(t *testing.T) (all []rule) {
	t.Helper()
	var file ruleFile
	must(t, yaml.Unmarshal(read(t, folder+"alerts.yaml"), &file))
	for _, g := range file.Spec.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("there are no alerts")
	}
	return all
}

// A panel is one of the dashboard.
type panel struct {
	Title, Type string
	Targets     []struct{ Expr string }
}

type dashboard struct {
	Panels     []panel
	Templating struct {
		List []struct {
			Name, Type string
			Query      any // Grafana's are of several types
		}
	}
}

func theDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	must(t, json.Unmarshal(read(t, folder+"dashboard.json"), &d))
	if len(d.Panels) == 0 {
		t.Fatal("the dashboard is empty")
	}
	return d
}

// ungrafana is a query as Grafana sends it.
func ungrafana(expr string) string {
	return strings.NewReplacer("$__rate_interval", "1m", "$instance", ".*", "$rail", ".*", "$pod", ".*").Replace(expr)
}

func parse(t *testing.T, where, expr string) parser.Expr {
	t.Helper()
	e, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Errorf("%s: %v", where, err)
	}
	return e
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	must(t, err)
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
