package cni

import (
	"go/ast"
	"go/parser"
	"go/token"
	gotypes "go/types"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/roce-k8s/roce-k8s/test/fixtures/document"
)

const readme = "../../README.md"

func TestTheReadmeHasEveryKeyAndNoOther(t *testing.T) {
	// Of the keys that every plugin has, it lists those that mean something
	// special here.
	keys := []string{"ipam", "dns"}
	for f := range reflect.TypeFor[netConf]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous || name == "":
		case name == "runtimeConfig":
			for _, inner := range keysOf(f.Type) {
				keys = append(keys, name+"."+inner)
			}
		default:
			keys = append(keys, name)
		}
	}
	document.Compare(t, readme, document.FirstWords(t, readme, "| key | default | meaning |"), keys)
}

func TestTheReadmeHasEveryErrorCodeAndNoOther(t *testing.T) {
	// Two of the specification's, which need more words here.
	codes := []string{strconv.Itoa(int(types.ErrInvalidNetworkConfig)), strconv.Itoa(int(types.ErrTryAgainLater))}
	for name, value := range constants(t, "errors.go") {
		if strings.HasPrefix(name, "code") {
			codes = append(codes, value)
		}
	}
	var documented []string
	for _, row := range document.Table(t, readme, "| code | what happened | what to do |") {
		documented = append(documented, regexp.MustCompile(`\d+`).FindAllString(row[0], -1)...)
	}
	slices.Sort(documented)
	documented = slices.Compact(documented) // one code may have two causes
	document.Compare(t, readme, documented, codes)
}

// constants are those of one file of the package, by name.
func constants(t *testing.T, file string) map[string]string {
	t.Helper()
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	// What the file takes from elsewhere is unknown; no constant depends on it.
	unknown := gotypes.Config{Error: func(error) {}}
	checked, _ := unknown.Check("cni", files, []*ast.File{parsed}, nil)
	values := map[string]string{}
	for _, name := range checked.Scope().Names() {
		if c, ok := checked.Scope().Lookup(name).(*gotypes.Const); ok {
			values[name] = c.Val().String()
		}
	}
	return values
}
