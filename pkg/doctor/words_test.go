package doctor

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The file has each ailment's finding as somebody reads it: a word or a number that
// is another rail's, or a remedy about another thing, differs from it.
func TestEachAilmentIsReportedInTheseWords(t *testing.T) {
	const file = "testdata/ailments.txt"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n\n")
	for i, a := range ailments() {
		t.Run(a.check+"/"+a.what, func(t *testing.T) {
			n := newFakeNode(t)
			a.make(n)
			f := n.examine().Findings[0] // of eight rails, if it is all of them
			got := strings.ReplaceAll(fmt.Sprintf("%s, %s: %s: %s\n  %s", f.Check, f.Severity, f.Where, f.What, f.Remedy), n.Dir, "DIR")
			got = regexp.MustCompile(`since [-0-9]+ [0-9:]+`).ReplaceAllString(got, "since THEN")
			if i >= len(want) || got != want[i] {
				t.Errorf("paragraph %d of %s is not\n%s", i+1, file, got)
			}
		})
	}
	if len(want) != len(ailments()) {
		t.Errorf("%s has %d paragraphs, want %d", file, len(want), len(ailments()))
	}
}
