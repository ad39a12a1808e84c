package monitoring

import (
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
	for _, part := range []string{"Alarms", "Alarms of the fabric"} {
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
