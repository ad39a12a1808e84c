package main

import (
	"errors"
	"strings"
	"testing"
)

func TestTheSummaryHoldsOnlyIfEveryCheckDoes(t *testing.T) {
	for _, test := range []struct {
		name     string
		tell     func(r *report)
		chapters int
		want     string // empty: it holds
	}{
		{"all", func(r *report) { r.begin("one"); r.check("rails", "8", "8"); r.finish(nil) }, 1, ""},
		{"a check", func(r *report) { r.begin("one"); r.check("rails", "8", "7"); r.finish(nil) }, 1, "step 1, rails: expected 8, seen 7"},
		{"an error", func(r *report) { r.begin("one"); r.finish(errors.New("no NIC\nlog")) }, 1, "step 1, errors: expected none, seen no NIC\n"},
		{"a step", func(r *report) { r.begin("one"); r.finish(nil) }, 3, "steps 2 to 3 were not reached"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			r := &report{out: &out}
			test.tell(r)
			if held := r.summary(test.chapters); held != (test.want == "") || !strings.Contains(out.String(), test.want) {
				t.Errorf("held %v:\n%s", held, out.String())
			}
		})
	}
}

func TestWrapBreaksBetweenWords(t *testing.T) {
	for text, want := range map[string]string{
		"short":              "short",
		"one two three":      "one two\n  three",
		"a-very-long-word x": "a-very-long-word\n  x",
		"  indented words":   "  indented\n  words",
		"two\nlines":         "two\nlines",
		"":                   "",
	} {
		if got := wrap(text, 8, "  "); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestTableCutsLongCells(t *testing.T) {
	got := strings.Join(table([][]string{{"a", "what", "s"}, {"bc", "too long", "1.5"}}, []int{5, 4, 4}), "\n")
	if want := "a   what    s\nbc  too…  1.5"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
