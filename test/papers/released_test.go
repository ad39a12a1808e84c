package papers

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/document"
	"github.com/roce-k8s/roce-k8s/test/fixtures/released"
)

// What alerts, scripts and dashboards hang on, a release never takes away within a
// major version. Other tests see to it that the documents have what the code has.
func TestWhatEveryReleaseDocumentedIsStillThere(t *testing.T) {
	for _, table := range []struct{ name, page, header string }{
		{"metrics", "docs/device-plugin.md", "| metric | type | labels | |"},
		{"flags", "docs/device-plugin.md", "| flag | default | |"},
		{"install-flags", "docs/deploying.md", "| flag of `install` | default | |"},
		{"codes", "README.md", "| code | what happened | what to do |"},
	} {
		have := documented(t, table.page, table.header)
		for _, file := range released.Files(t, table.name) {
			for line := range strings.Lines(string(released.Text(t, file))) {
				words := strings.Fields(line)
				now, ok := have[words[0]]
				if !ok {
					t.Errorf("%s has %s, %s has not", file, words[0], table.page)
				}
				for _, word := range words[1:] {
					if ok && !slices.Contains(now, word) {
						t.Errorf("%s has %q, in %s it is %v", file, strings.TrimSpace(line), table.page, now)
					}
				}
			}
		}
	}
}

// documented are the names in a table's first cells, of metrics with type and labels.
func documented(t *testing.T, page, header string) map[string][]string {
	t.Helper()
	list := func(cell string) []string { return strings.Split(strings.ReplaceAll(cell, "`", ""), ", ") }
	names := map[string][]string{}
	for _, row := range document.Table(t, filepath.Join(root, page), header) {
		for i, name := range list(row[0]) {
			names[name] = nil
			if strings.HasPrefix(header, "| metric ") {
				types := list(row[1])
				names[name] = append(list(row[2]), types[min(i, len(types)-1)])
			}
		}
	}
	return names
}
