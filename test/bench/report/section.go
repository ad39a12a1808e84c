package report

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A Section is one benchmark's part of benchmarks.md. Its Target is the make
// target that renews it, and names its marks and its chart.
type Section struct {
	Target, Title, Text, Chart string
}

// ChartFile is the name of the section's chart, beside benchmarks.md.
func (s Section) ChartFile() string {
	return "benchmarks-" + strings.TrimPrefix(s.Target, "bench-") + ".svg"
}

// Write puts the section between its marks in docs/benchmarks.md, and at the
// end if that has none.
func (s Section) Write(docs string) error {
	path := filepath.Join(docs, "benchmarks.md")
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text := string(b)
	if text == "" {
		text = "# Benchmarks\n"
	}
	begin, end := fmt.Sprintf("<!-- %s: begin, made by `make %s` -->", s.Target, s.Target), fmt.Sprintf("<!-- %s: end -->", s.Target)
	section := fmt.Sprintf("%s\n## %s\n%s%s", begin, s.Title, s.Text, end)
	before, rest, found := strings.Cut(text, begin)
	if found {
		_, after, ok := strings.Cut(rest, end)
		if !ok {
			return fmt.Errorf("%s has %q without %q", path, begin, end)
		}
		text = before + section + after
	} else {
		text = strings.TrimRight(text, "\n") + "\n\n" + section + "\n"
	}
	return errors.Join(
		os.WriteFile(path, []byte(text), 0o644),                                  //nolint:gosec // documentation
		os.WriteFile(filepath.Join(docs, s.ChartFile()), []byte(s.Chart), 0o644), //nolint:gosec // the same
	)
}
