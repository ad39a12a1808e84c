package doctor

import (
	"bufio"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/document"
)

const page = "../../docs/doctor.md"

func TestTheDocumentHasEveryCheckAsItIs(t *testing.T) {
	var code, documented []string
	for _, c := range checks() {
		code = append(code, strings.Join([]string{"`" + c.id + "`", string(c.severity), c.looksAt, c.cost, c.remedy}, " | "))
	}
	for _, row := range document.Table(t, page, "| check | severity | looks at | what it costs | what mends it |") {
		documented = append(documented, strings.Join(row, " | "))
	}
	document.Compare(t, page, documented, code)
}

func TestTheDocumentHasEveryFieldOfTheJSON(t *testing.T) {
	var fields []string
	var add func(prefix string, of reflect.Type)
	add = func(prefix string, of reflect.Type) {
		for f := range of.Fields() {
			name := f.Tag.Get("json")
			if name == "" {
				continue
			}
			fields = append(fields, prefix+name)
			if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct {
				add(prefix+name+"[].", f.Type.Elem())
			}
		}
	}
	add("", reflect.TypeFor[Report]())
	document.Compare(t, page, document.FirstWords(t, page, "| field | |"), fields)
}

func TestTheDocumentHasEveryFeature(t *testing.T) {
	path := filepath.Join(t.TempDir(), "features")
	if err := (&Report{}).WriteFeatures(path); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var names []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, _, _ := strings.Cut(lines.Text(), "=")
		names = append(names, name)
	}
	header := "| label, below `feature.node.kubernetes.io/` | |"
	document.Compare(t, page, document.FirstWords(t, page, header), names)
}
