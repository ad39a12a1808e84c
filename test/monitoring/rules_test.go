package monitoring

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// Promtool's own test of rules, by cases in alerts_test.yaml.
func TestAlertsFireWhenTheyShould(t *testing.T) {
	promtool := os.Getenv("ROCE_PROMTOOL")
	if promtool == "" {
		t.Skip("needs Prometheus: run it with `make test-monitoring`")
	}
	var object struct{ Spec any }
	must(t, yaml.Unmarshal(read(t, folder+"alerts.yaml"), &object))
	spec, err := yaml.Marshal(object.Spec)
	must(t, err)
	dir := t.TempDir()
	cases := read(t, "alerts_test.yaml")
	must(t, os.WriteFile(filepath.Join(dir, "alerts.yaml"), spec, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "alerts_test.yaml"), cases, 0o600))
	for _, command := range [][]string{{"check", "rules", "alerts.yaml"}, {"test", "rules", "alerts_test.yaml"}} {
		cmd := exec.Command(promtool, command...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(command, " "), err, out)
		}
	}
}

// Of a device with several ports, or netdevs, those of RDMA say no netdev and
// those of the netdevs no port. A device whose RDMA counters nobody can read is
// seen by its netdev's alone.
func TestTheDashboardCountsTrafficOnce(t *testing.T) {
	promtool := os.Getenv("ROCE_PROMTOOL")
	if promtool == "" {
		t.Skip("needs Prometheus: run it with `make test-monitoring`")
	}
	type object = map[string]any
	var series, queries []object
	for device, names := range map[string][]string{
		"mlx5_0": {"rdma_port_xmit_data_bytes", "rdma_port_rcv_data_bytes", "rdma_netdev_tx_bytes", "rdma_netdev_rx_bytes"},
		"mlx5_1": {"rdma_netdev_tx_bytes", "rdma_netdev_rx_bytes"},
	} {
		for _, name := range names {
			for i, label := range []string{"1", "2"} {
				port, netdev := label, ""
				if strings.Contains(name, "netdev") {
					port, netdev = "", "ens"+label
				}
				series = append(series, object{"values": fmt.Sprintf("0+%dx20", 1500*(i+1)), "series": fmt.Sprintf(
					`%s_total{instance="gpu1",device="%s",port="%s",netdev="%s",rail="0",namespace="default",pod="a"}`, name, device, port, netdev)})
			}
		}
	}
	for _, p := range theDashboard(t).Panels {
		for _, target := range p.Targets {
			if strings.Contains(target.Expr, "_data_bytes_total") {
				queries = append(queries, object{"expr": "round(sum(" + ungrafana(target.Expr) + "))", "eval_time": "3m",
					"exp_samples": []object{{"labels": "{}", "value": 2 * 8 * (100 + 200)}}})
			}
		}
	}
	if len(queries) == 0 {
		t.Fatal("no panel has traffic")
	}
	cases, err := yaml.Marshal(object{"tests": []object{{"interval": "15s", "input_series": series, "promql_expr_test": queries}}})
	must(t, err)
	file := filepath.Join(t.TempDir(), "traffic_test.yaml")
	must(t, os.WriteFile(file, cases, 0o600))
	if out, err := exec.Command(promtool, "test", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestEveryAlertHasACaseInWhichItFiresAndOneInWhichNot(t *testing.T) {
	var file struct {
		Tests []struct {
			Cases []struct {
				Alert    string `json:"alertname"`
				Expected []any  `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		}
	}
	must(t, yaml.Unmarshal(read(t, "alerts_test.yaml"), &file))
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, c := range test.Cases {
			if len(c.Expected) > 0 {
				fires[c.Alert] = true
			} else {
				quiet[c.Alert] = true
			}
		}
	}
	for _, r := range rules(t) {
		if !fires[r.Alert] || !quiet[r.Alert] {
			t.Errorf("%s lacks a case: it fires %t, it does not %t", r.Alert, fires[r.Alert], quiet[r.Alert])
		}
	}
}

// Each alert leads to a section of the runbook that has its expression, and the
// runbook has no expression without an alert.
func TestTheRunbookHasTheAlertsExpressions(t *testing.T) {
	sections := map[string]map[string]bool{} // expressions, by the section's anchor
	for _, part := range []string{"Alarms", "Alarms of the DRA driver", "Alarms of the fabric"} {
		_, text, ok := strings.Cut(string(read(t, runbook)), "\n## "+part+"\n")
		if !ok {
			t.Fatalf("%s has no part %q", runbook, part)
		}
		text, _, _ = strings.Cut(text, "\n## ")
		for _, section := range strings.Split(text, "\n### ")[1:] {
			title, body, _ := strings.Cut(section, "\n")
			expressions := map[string]bool{}
			for _, line := range regexp.MustCompile(`(?m)^    (.*?)(?: {2,}for (\d+m))?$`).FindAllStringSubmatch(body, -1) {
				expressions[parse(t, title, line[1]).String()+" for "+line[2]] = true
			}
			sections[anchor(title)] = expressions
		}
	}
	for _, r := range rules(t) {
		_, at, _ := strings.Cut(r.Annotations.Runbook, "docs/runbook.md#")
		expression := parse(t, r.Alert, r.Expr).String() + " for " + r.For
		if !sections[at][expression] {
			t.Errorf("%s: the section %q has no %s", r.Alert, at, expression)
		}
		delete(sections[at], expression)
	}
	for at, expressions := range sections {
		for expression := range expressions {
			t.Errorf("no alert for %s of the section %q", expression, at)
		}
	}
}

// anchor is what GitHub makes of a title.
func anchor(title string) string {
	return strings.ReplaceAll(regexp.MustCompile("[^a-z0-9_ -]").ReplaceAllString(strings.ToLower(title), ""), " ", "-")
}
