package report

import (
	"fmt"
	"slices"
	"strings"
)

// A Row is a line of the table: one figure of ours beside that of the program
// that we are measured against, and what we want to reach.
type Row struct {
	What         string
	Ours, Theirs Figure
	Unit         string
	AtMost       float64 // in Unit; 0: no goal
	RatioAtMost  float64 // of theirs; 0: no goal
}

// A Figure is what repeated measurements gave. P95 is 0 where there is no
// telling.
type Figure struct{ Median, P95 float64 }

// Of summarises repeated measurements.
func Of(values []float64) Figure {
	return Figure{Quantile(values, 50), Quantile(values, 95)}
}

// Quantile is the value that so many percent of the values do not exceed.
func Quantile(values []float64, percent int) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)*percent/100]
}

// Table is the rows in Markdown, under the names of the two that are compared.
func Table(ours, theirs string, rows []Row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| | %s | %s | ratio | to reach | reached |\n|---|---|---|---|---|---|\n", ours, theirs)
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.What, r.figure(r.Ours), r.figure(r.Theirs), r.ratio(), r.goal(), r.reached())
	}
	return b.String()
}

func (r Row) figure(f Figure) string {
	switch {
	case f.Median == 0:
		return ""
	case f.P95 == 0:
		return Number(f.Median) + " " + r.Unit
	}
	return fmt.Sprintf("%s %s (p95 %s)", Number(f.Median), r.Unit, Number(f.P95))
}

func (r Row) ratio() string {
	if r.Theirs.Median == 0 {
		return ""
	}
	return Number(r.Ours.Median / r.Theirs.Median)
}

func (r Row) goal() string {
	var goals []string
	if r.AtMost > 0 {
		goals = append(goals, Number(r.AtMost)+" "+r.Unit)
	}
	if r.RatioAtMost > 0 {
		goals = append(goals, fmt.Sprintf("ratio %g", r.RatioAtMost))
	}
	return strings.Join(goals, ", ")
}

func (r Row) reached() string {
	switch {
	case r.goal() == "":
		return ""
	case r.AtMost > 0 && r.Ours.Median > r.AtMost, r.RatioAtMost > 0 && r.Ours.Median > r.RatioAtMost*r.Theirs.Median:
		return "**missed**"
	}
	return "yes"
}

// Number has two significant digits at least.
func Number(f float64) string {
	switch {
	case f < 0: // a difference on a machine that was not quiet
		return "-" + Number(-f)
	case f >= 10:
		return fmt.Sprintf("%.0f", f)
	case f >= 1:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2g", f)
}
