package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A change of the code takes along what is written down of it.
func TestEachMutationIsOfATextThatIsThereOnce(t *testing.T) {
	all, err := load(".")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("no lists")
	}
	for _, m := range all {
		source, err := os.ReadFile(filepath.Join("../..", m.file))
		if err != nil {
			t.Errorf("%s: %v", m.at, err)
		} else if n := strings.Count(string(source), m.before); n != 1 {
			t.Errorf("%s: %s: the text is there %d times", m.at, m, n)
		}
	}
}
