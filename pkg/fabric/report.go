package fabric

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/terminal"
)

// Schema names what Report is as JSON. Its number changes when a field leaves, or
// means something else; new fields do not change it.
const Schema = "roce-k8s/fabric/1"

// A Verdict is what came of a test, or of all of them, in one word.
type Verdict string

// The verdicts. Apart is a canary's that found no way from one rail to another,
// where nobody has said whether there should be one.
const (
	Passed Verdict = "passed"
	Apart  Verdict = "apart"
	Slow   Verdict = "slow"
	Failed Verdict = "failed"
)

// rank orders verdicts from good to bad.
func (v Verdict) rank() int { return slices.Index([]Verdict{Passed, Apart, Slow, Failed}, v) }

// A Report is what one test of a fabric found.
type Report struct {
	Schema  string    `json:"schema"`
	Program string    `json:"program"` // version
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	Verdict Verdict   `json:"verdict"`
	Load    Load      `json:"load"`
	Limits  Limits    `json:"limits"`
	// Nodes are in the order of their ranks.
	Nodes []NodeReport `json:"nodes"`
	Tests []*Test      `json:"tests"`
	// Findings are what is wrong, the worst first.
	Findings []Finding `json:"findings"`

	pairs map[key][]*Test
	tests map[NIC][]*Test // without canaries
	nics  map[NIC]nicReport
}

// A NodeReport is a node as it was at the end.
type NodeReport struct {
	Rank int    `json:"rank"`
	Name string `json:"name"`
	// Missing is why it took no part, "" if it did.
	Missing string `json:"missing,omitempty"`
	// Rails are in the order of their numbers, from 0.
	Rails []Rail `json:"rails"`
}

// A Test is one NIC as client of another: a cell of the matrix.
type Test struct {
	From     int `json:"from"` // ranks
	To       int `json:"to"`
	FromRail int `json:"fromRail"`
	ToRail   int `json:"toRail"`
	// Cross: it is a canary, between two rails.
	Cross bool `json:"cross,omitempty"`
	Measurement
	Verdict Verdict `json:"verdict"`
	// Error is why there is no measurement.
	Error string `json:"error,omitempty"`
	// Why has a reason for each thing that is wrong.
	Why []string `json:"why,omitempty"`

	// blamed are the ends that the verdict is about; explained says that a finding
	// has them.
	blamed    []NIC
	explained bool
}

// A Finding is one thing that is wrong, and the tests that show it.
type Finding struct {
	Verdict Verdict `json:"verdict"`
	// NICs that it is about; none for a whole node.
	NICs  []NIC  `json:"nics,omitempty"`
	Where string `json:"where"`
	What  string `json:"what"`
	// Tests is how many show it.
	Tests int `json:"tests"`
}

// A NIC is one by its node's rank and its rail.
type NIC struct {
	Rank int `json:"rank"`
	Rail int `json:"rail"`
}

type key struct {
	Pair
	cross bool
}

func (c *Coordinator) newReport(started time.Time, peers []*peer) *Report {
	r := &Report{Schema: Schema, Program: c.Program, Started: started.UTC().Truncate(time.Second), Load: c.Load, Limits: c.Limits,
		Findings: []Finding{}, pairs: map[key][]*Test{}, tests: map[NIC][]*Test{}}
	for rank, p := range peers {
		n := NodeReport{Rank: rank, Name: fmt.Sprintf("node %d", rank), Rails: []Rail{}}
		if p == nil {
			n.Missing = "it did not come in " + c.Wait.String()
		} else {
			n.Name, n.Rails = p.hello.Name, p.rails()
		}
		r.Nodes = append(r.Nodes, n)
	}
	rails := r.rails()
	for _, round := range Rounds(c.Nodes) {
		for _, pair := range round {
			for rail := range rails {
				r.add(pair, Test{From: pair.From, To: pair.To, FromRail: rail, ToRail: rail})
			}
			if from, to, ok := canary(pair, rails); ok && c.Limits.Cross != CrossOff {
				r.add(pair, Test{From: pair.From, To: pair.To, FromRail: from, ToRail: to, Cross: true})
			}
		}
	}
	return r
}

// rails is how many the nodes have; one with fewer lacks some.
func (r *Report) rails() (most int) {
	for _, n := range r.Nodes {
		most = max(most, len(n.Rails))
	}
	return most
}

func (r *Report) add(pair Pair, t Test) {
	for _, end := range t.ends() {
		n := r.Nodes[end.Rank]
		switch {
		case t.Error != "":
		case n.Missing != "":
			t.Error = "not tested: " + n.Name + " did not come"
		case end.Rail >= len(n.Rails):
			t.Error = fmt.Sprintf("not tested: %s has no rail %d", n.Name, end.Rail)
		}
	}
	r.Tests = append(r.Tests, &t)
	for _, end := range t.ends() {
		if !t.Cross {
			r.tests[end] = append(r.tests[end], &t)
		}
	}
	r.pairs[key{pair, t.Cross}] = append(r.pairs[key{pair, t.Cross}], &t)
}

func (r *Report) of(pair Pair, cross bool) []*Test { return r.pairs[key{pair, cross}] }

// String names the test for a line of the log.
func (t *Test) String() string {
	return fmt.Sprintf("%d rail %d to %d rail %d", t.From, t.FromRail, t.To, t.ToRail)
}

// take adds a measurement of latency or of bandwidth.
func (t *Test) take(m Measurement) {
	t.Typical, t.Tail = max(t.Typical, m.Typical), max(t.Tail, m.Tail)
	t.Bandwidth, t.MTU = max(t.Bandwidth, m.Bandwidth), max(t.MTU, m.MTU)
}

// Status is what the program exits with.
func (v Verdict) Status() int {
	switch v {
	case Passed:
		return 0
	case Slow:
		return 1
	}
	return 2
}

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteTable writes the report for people with a terminal: a row a node, a column a
// rail, with the median of the NIC's bandwidths, or with what is wrong.
func (r *Report) WriteTable(w io.Writer) error {
	var text strings.Builder
	matrix := [][]string{{"Gbit/s"}}
	for rail := range r.rails() {
		matrix[0] = append(matrix[0], fmt.Sprintf("rail %d", rail))
	}
	for _, n := range r.Nodes {
		row := []string{n.Name}
		for rail := range r.rails() {
			row = append(row, r.nics[NIC{n.Rank, rail}].String())
		}
		matrix = append(matrix, row)
	}
	_ = terminal.Table(&text, matrix) // a strings.Builder takes all
	if len(r.Findings) > 0 {
		var findings [][]string
		for _, f := range r.Findings {
			findings = append(findings, []string{string(f.Verdict), f.Where, f.What})
		}
		text.WriteString("\n")
		_ = terminal.Table(&text, findings)
		text.WriteString("\n")
	}
	text.WriteString(r.Summary() + "\n")
	_, err := io.WriteString(w, text.String())
	return err
}

// Summary is the report in a line.
func (r *Report) Summary() string {
	straight, crossed := map[Verdict]int{}, map[Verdict]int{}
	for _, t := range r.Tests {
		if t.Cross {
			crossed[t.Verdict]++
		} else {
			straight[t.Verdict]++
		}
	}
	s := fmt.Sprintf("%s: %d nodes, %d rails; of the tests %d passed, %d slow, %d failed",
		r.Verdict, len(r.Nodes), r.rails(), straight[Passed], straight[Slow], straight[Failed])
	if len(crossed) > 0 {
		s += fmt.Sprintf("; between rails %d passed, %d apart, %d failed", crossed[Passed], crossed[Apart], crossed[Failed])
	}
	return s
}

// number has three digits that say something.
func number(f float64) string {
	switch {
	case f >= 100:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	case f >= 1:
		return fmt.Sprintf("%.2f", f)
	}
	return fmt.Sprintf("%.3f", f)
}
