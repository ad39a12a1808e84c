package doctor

import (
	"slices"
	"testing"
)

// One rail, one process or one file is ill at a time, but for what a switch says of
// all rails.
func TestAnAilmentIsFoundInItsPlaceAndNowhereElse(t *testing.T) {
	for _, a := range ailments() {
		t.Run(a.check+"/"+a.what, func(t *testing.T) {
			n := newFakeNode(t)
			a.make(n)
			want := 1
			if slices.Contains([]string{"pfc", "trust", "ets"}, a.check) {
				want = 8
			}
			var where []string
			for _, f := range n.examine().Findings {
				if !slices.Contains(where, f.Where) {
					where = append(where, f.Where)
				} else {
					t.Errorf("twice: %+v", f)
				}
				of := slices.IndexFunc(checks(), func(c check) bool { return c.id == f.Check })
				if f.Severity != checks()[of].severity || f.Cost != checks()[of].cost {
					t.Errorf("%s: %s, %s", f.Check, f.Severity, f.Cost)
				}
			}
			if len(where) != want {
				t.Errorf("found in %q, want %d", where, want)
			}
		})
	}
}
