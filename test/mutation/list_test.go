package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A change of the code takes along what is written down of it. Two mutations are one
// if they make the same of a file, but for white space.
func TestEachMutationIsOfATextThatIsThereOnceAndIsListedOnce(t *testing.T) {
	all, err := load(".")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("no lists")
	}
	listed := map[string]string{}
	for _, m := range all {
		source, err := os.ReadFile(filepath.Join("../..", m.file))
		if err != nil {
			t.Errorf("%s: %v", m.at, err)
		} else if n := strings.Count(string(source), m.before); n != 1 {
			t.Errorf("%s: %s: the text is there %d times", m.at, m, n)
		}
		mutated := strings.Replace(string(source), m.before, m.after, 1)
		key := m.file + "\n" + strings.Join(strings.Fields(mutated), "")
		if at, ok := listed[key]; ok {
			t.Errorf("%s: %s: that is listed at %s, too", m.at, m, at)
		}
		listed[key] = m.at
	}
}
