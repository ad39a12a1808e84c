package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/terminal"
)

// Schema names what Report is as JSON. Its number changes when a field leaves, or
// means something else; new fields and new checks do not change it.
const Schema = "roce-k8s/doctor/1"

// A Verdict is a report in one word.
type Verdict string

// The verdicts, from good to bad.
const (
	VerdictClean    Verdict = "clean"
	VerdictWarnings Verdict = "warnings"
	VerdictBroken   Verdict = "broken"
)

// A Report is what one look found.
type Report struct {
	Schema  string  `json:"schema"`
	Program string  `json:"program"` // version
	Verdict Verdict `json:"verdict"`
	// Mode is the node's RDMA mode, "" if unknown.
	Mode string `json:"mode"`
	// Rails are the netdevs that were looked at, or RDMA devices without one.
	Rails []string `json:"rails"`
	// Findings are the worst first.
	Findings []Finding `json:"findings"`
	// Unseen are checks that could not be made from here.
	Unseen []Unseen `json:"unseen"`

	reading *reading // of the counters
}

// A Finding is one thing that is wrong.
type Finding struct {
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	Where    string   `json:"where"`
	What     string   `json:"what"`
	Cost     string   `json:"cost"`
	Remedy   string   `json:"remedy"`

	template, about string // of the remedy
}

// An Unseen check could not be made.
type Unseen struct {
	Check string `json:"check"`
	Why   string `json:"why"`
}

func verdict(findings []Finding) Verdict {
	switch {
	case len(findings) == 0:
		return VerdictClean
	case findings[0].Severity == Broken: // the worst
		return VerdictBroken
	}
	return VerdictWarnings
}

func rank(s Severity) int {
	if s == Broken {
		return 0
	}
	return 1
}

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteTable writes the report for people: a row for each thing that is wrong,
// with all the places where it is.
func (r *Report) WriteTable(w io.Writer) error {
	var text strings.Builder
	if len(r.Findings) > 0 {
		rows := [][]string{{"SEVERITY", "CHECK", "WHERE", "WHAT", "COSTS", "MENDED BY"}}
		for _, group := range r.groups() {
			rows = append(rows, row(group))
		}
		if err := terminal.Table(&text, rows); err != nil {
			return err
		}
		text.WriteString("\n")
	}
	for _, why := range r.reasons() {
		var checks []string
		for _, u := range r.Unseen {
			if u.Why == why {
				checks = append(checks, u.Check)
			}
		}
		fmt.Fprintf(&text, "not seen: %s: %s\n", list(checks), terminal.Plain(why))
	}
	broken := 0
	for _, f := range r.Findings {
		broken += 1 - rank(f.Severity)
	}
	fmt.Fprintf(&text, "%s: %d rails, %d broken, %d warnings, %d checks not seen\n",
		r.Verdict, len(r.Rails), broken, len(r.Findings)-broken, len(r.Unseen))
	_, err := io.WriteString(w, text.String())
	return err
}

// WriteBrief writes the report in one line, for whoever has room for no more.
func (r *Report) WriteBrief(w io.Writer) error {
	line := string(r.Verdict)
	if groups := r.groups(); len(groups) > 0 {
		worst := row(groups[0])
		line += ": " + worst[2] + " " + worst[3]
		if len(groups) > 1 {
			line += fmt.Sprintf(", and %d more", len(groups)-1)
		}
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

// reasons are why checks could not be made, each once.
func (r *Report) reasons() (reasons []string) {
	for _, u := range r.Unseen {
		if !slices.Contains(reasons, u.Why) {
			reasons = append(reasons, u.Why)
		}
	}
	return reasons
}

// groups are the findings that differ in their places only.
func (r *Report) groups() (groups [][]Finding) {
	for _, f := range r.Findings {
		at := slices.IndexFunc(groups, func(g []Finding) bool { return g[0].Check == f.Check && g[0].What == f.What })
		if at < 0 {
			groups = append(groups, []Finding{f})
			continue
		}
		groups[at] = append(groups[at], f)
	}
	return groups
}

func row(group []Finding) []string {
	first := group[0]
	var where, about []string
	for _, f := range group {
		where = append(where, f.Where)
		if !slices.Contains(about, f.about) {
			about = append(about, f.about)
		}
	}
	remedy := first.Remedy
	if len(about) > 1 {
		remedy = forEach(about, first.template)
	}
	return plain([]string{string(first.Severity), first.Check, strings.Join(where, ","), first.What, first.Cost, remedy})
}

// forEach is one remedy for several, with a loop for the shell.
func forEach(about []string, template string) string {
	command, forPeople, more := strings.Cut(template, ", ")
	if !strings.Contains(command, "{}") {
		return strings.ReplaceAll(template, "{}", strings.Join(about, ", "))
	}
	it := "$it"
	if !terminal.IsWord(strings.Join(about, "")) {
		it = `"$it"`
	}
	loop := fmt.Sprintf("for it in %s; do %s; done", strings.Join(about, " "), strings.ReplaceAll(command, "{}", it))
	if more {
		loop += ", " + strings.ReplaceAll(forPeople, "{}", it)
	}
	return loop
}

// plain is words for a terminal. A pod may have chosen them.
func plain(words []string) []string {
	for n := range words {
		words[n] = terminal.Plain(words[n])
	}
	return words
}
