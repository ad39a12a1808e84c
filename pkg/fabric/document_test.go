package fabric

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/document"
)

const manual = "../../docs/fabric-test.md"

func TestTheDocumentHasEveryFieldOfTheReport(t *testing.T) {
	b, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(b), "\n## The JSON\n")
	table, _, _ = strings.Cut(table, "\n## ")
	words := document.Words(table)
	for _, part := range []any{Report{}, NodeReport{}, Rail{}, Test{}, Measurement{}, Finding{}, NIC{}} {
		kind := reflect.TypeOf(part)
		for i := range kind.NumField() {
			f := kind.Field(i)
			key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.IsExported() && !f.Anonymous && !slices.ContainsFunc(words, func(w string) bool { return strings.TrimSuffix(w, "[]") == key }) {
				t.Errorf("%s: the JSON lacks %q of %s", manual, key, kind.Name())
			}
		}
	}
	if !slices.Contains(words, Schema) {
		t.Errorf("%s: the schema is not %s", manual, Schema)
	}
}
