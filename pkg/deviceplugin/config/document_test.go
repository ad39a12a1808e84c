package config

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/document"
)

const page = "../../../docs/device-plugin.md"

func TestTheDocumentHasEveryKeyAndNoOther(t *testing.T) {
	keys := validKeys(t, `{KEY}`)
	for _, key := range validKeys(t, `{"configList": [{KEY}]}`) {
		keys = append(keys, "configList[]."+key)
	}
	document.Compare(t, page, document.FirstWords(t, page, "| key | default | meaning |"), keys)
}

func TestTheDocumentHasEverySelectorAndNoOther(t *testing.T) {
	selectors := validKeys(t, `{"configList": [{"selectors": {"exclude": {KEY}}}]}`)
	document.Compare(t, page, document.FirstWords(t, page, "| selector | matches |"), selectors)
}

func TestEverySelectorCanBeConfiguredAndIsASelection(t *testing.T) {
	keys := validKeys(t, `{"configList": [{"selectors": {"exclude": {KEY}}}]}`)
	for f := range reflect.TypeFor[Selectors]().Fields() {
		if !slices.ContainsFunc(keys, func(key string) bool { return strings.EqualFold(key, f.Name) }) {
			t.Errorf("no key is read into Selectors.%s", f.Name)
		}
	}
	if len(keys) != reflect.TypeFor[Selectors]().NumField() {
		t.Errorf("Selectors has %d fields, the file the keys %q", reflect.TypeFor[Selectors]().NumField(), keys)
	}
}

// Helm refuses what the chart's schema does not have.
func TestTheChartTakesEveryKeyAndNoOther(t *testing.T) {
	const file = "../../../deployments/chart/roce-k8s/values.schema.json"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	type object struct{ Properties map[string]any }
	var schema struct {
		Properties  struct{ Config object }
		Definitions struct{ Resource, Selectors object }
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	for what, test := range map[string]struct {
		has  object
		file string
	}{
		"the configuration": {schema.Properties.Config, `{KEY}`},
		"a resource":        {schema.Definitions.Resource, `{"configList": [{KEY}]}`},
		"selectors":         {schema.Definitions.Selectors, `{"configList": [{"selectors": {KEY}}]}`},
	} {
		document.Compare(t, file+", "+what, slices.Collect(maps.Keys(test.has.Properties)), validKeys(t, test.file))
	}
}

// validKeys are the keys that are valid in the place of KEY, as the message
// about one that is not says.
func validKeys(t *testing.T, text string) []string {
	t.Helper()
	_, err := parse("f", []byte(strings.Replace(text, "KEY", `"zzzzzzzzzzzz": 1`, 1)))
	var errs Errors
	if !errors.As(err, &errs) {
		t.Fatalf("%s: %v", text, err)
	}
	for _, e := range errs {
		if valid := regexp.MustCompile(`unknown key .*: use one of (.*)$`).FindStringSubmatch(e.Text); valid != nil {
			return strings.Split(valid[1], ", ")
		}
	}
	t.Fatalf("%s: %v", text, err)
	return nil
}
