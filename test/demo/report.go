package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// width is that of the narrowest terminal on which the guide's `ip a` lines
// need no second line.
const width = 98

// A report prints the story and remembers what was checked.
type report struct {
	out   io.Writer
	color bool
	steps []*step
}

// A step is a chapter as the summary has it.
type step struct {
	title   string
	started time.Time
	took    time.Duration
	checks  []check
}

// A check holds if what was seen is what was expected.
type check struct{ what, expected, seen string }

func (c check) held() bool { return c.expected == c.seen }

func (s *step) held() bool {
	for _, c := range s.checks {
		if !c.held() {
			return false
		}
	}
	return true
}

// begin opens a step.
func (r *report) begin(title string) {
	r.steps = append(r.steps, &step{title: title, started: time.Now()})
	heading := fmt.Sprintf("── %d. %s ", len(r.steps), title)
	fmt.Fprintf(r.out, "\n%s\n", r.paint(bold, heading+strings.Repeat("─", width-utf8.RuneCountInString(heading))))
}

// finish closes the step, which an error may have cut short.
func (r *report) finish(err error) (held bool) {
	s := r.steps[len(r.steps)-1]
	s.took = time.Since(s.started)
	r.failure(err)
	return s.held()
}

// check notes and prints what was expected and what was seen.
func (r *report) check(what, expected, seen string) {
	c := check{what, expected, seen}
	s := r.steps[len(r.steps)-1]
	s.checks = append(s.checks, c)
	if c.held() {
		fmt.Fprintf(r.out, "%s %s: %s\n", r.paint(green, "✓"), what, seen)
		return
	}
	fmt.Fprintf(r.out, "%s %s: expected %s, seen %s\n", r.paint(red, "✗"), what, quoteEmpty(expected), quoteEmpty(seen))
}

// failure prints an error where it happens: one more check that does not hold.
// It does nothing if there is no error.
func (r *report) failure(err error) {
	if err == nil {
		return
	}
	fmt.Fprintln(r.out, r.paint(red, wrap("✗ "+err.Error(), width, "    ")))
	first, _, _ := strings.Cut(err.Error(), "\n")
	s := r.steps[len(r.steps)-1]
	s.checks = append(s.checks, check{"errors", "none", first})
}

// say prints a sentence of the teller's.
func (r *report) say(format string, args ...any) {
	fmt.Fprintln(r.out, r.paint(dim, "# "+wrap(fmt.Sprintf(format, args...), width-2, "# ")))
}

// command prints a command line behind its prompt.
func (r *report) command(prompt, line string) {
	fmt.Fprintf(r.out, "%s%s\n", r.paint(dim, prompt), r.paint(bold, wrap(line, width-len(prompt), "    ")))
}

// output prints what a program printed. Lines that are too long go on, further
// in, on the next.
func (r *report) output(text string) {
	if text == "" {
		return
	}
	for line := range strings.Lines(text) {
		fmt.Fprintln(r.out, wrap(strings.TrimRight(line, " \t\n"), width, "    "))
	}
}

// document prints a text as it is.
func (r *report) document(text string) { fmt.Fprintln(r.out, strings.TrimSpace(text)) }

// summary prints the table of all checks and returns whether all chapters were
// told and everything held.
func (r *report) summary(chapters int) bool {
	rows := [][]string{{"step", "what", "expected", "seen", "held", "s"}}
	var broken []string
	var total time.Duration
	checks := 0
	for i, s := range r.steps {
		title, took := fmt.Sprintf("%d. %s", i+1, s.title), fmt.Sprintf("%.1f", s.took.Seconds())
		for _, c := range s.checks {
			held := "yes"
			if !c.held() {
				held = "NO"
				broken = append(broken, fmt.Sprintf("step %d, %s: expected %s, seen %s", i+1, c.what, quoteEmpty(c.expected), quoteEmpty(c.seen)))
			}
			rows = append(rows, []string{title, c.what, c.expected, c.seen, held, took})
			title, took = "", ""
		}
		checks += len(s.checks)
		total += s.took
	}
	if len(r.steps) < chapters {
		broken = append(broken, fmt.Sprintf("steps %d to %d were not reached", len(r.steps)+1, chapters))
	}
	fmt.Fprintf(r.out, "\n%s\n", r.paint(bold, "── Summary "+strings.Repeat("─", width-11)))
	for i, line := range table(rows, []int{25, 25, 15, 15, 4, 4}) {
		switch {
		case i == 0:
			line = r.paint(dim, line)
		case rows[i][4] == "NO":
			line = r.paint(red, line)
		}
		fmt.Fprintln(r.out, line)
	}
	if len(broken) > 0 {
		fmt.Fprintf(r.out, "\n%s\n", r.paint(red, "Not held:\n  "+strings.Join(broken, "\n  ")))
		return false
	}
	fmt.Fprintf(r.out, "\n%s\n", r.paint(green, fmt.Sprintf("Every step held: %d checks, %.0f s.", checks, total.Seconds())))
	return true
}

const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
)

func (r *report) paint(code, text string) string {
	if !r.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func quoteEmpty(text string) string {
	if text == "" {
		return "nothing"
	}
	return text
}
