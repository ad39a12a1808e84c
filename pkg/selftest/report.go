package selftest

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// A report is written as the test goes, a line for each step. It is to be sent
// to others: by itself it has no addresses, and no names but those of devices.
// What the plugin answers, and how a NIC differs, is reported in full, because
// that is what is to be found out; it may have addresses and pods' names in it.
type report struct {
	w                      io.Writer
	steps, failed, skipped int
	err                    error // of writing
}

// A skip says why a step is not for this node.
type skip string

func (s skip) Error() string { return string(s) }

func (r *report) line(format string, args ...any) {
	if _, err := fmt.Fprintf(r.w, format+"\n", args...); err != nil && r.err == nil {
		r.err = err
	}
}

// fact is a line of the report's head.
func (r *report) fact(name, format string, args ...any) {
	r.line("%-11s %s", name, fmt.Sprintf(format, args...))
}

// features are lines of the report's head: what the kernel has, what it lacks,
// and what it could not be asked about.
func (r *report) features(all []netdev.Feature) {
	names := map[netdev.Support][]string{}
	for _, f := range all {
		names[f.Support] = append(names[f.Support], f.Name)
	}
	for _, answer := range []struct {
		name string
		is   netdev.Support
	}{{"has", netdev.Supported}, {"lacks", netdev.Unsupported}, {"may have", netdev.Unknown}} {
		if len(names[answer.is]) > 0 {
			r.fact(answer.name, "%s", strings.Join(names[answer.is], ", "))
		}
	}
}

// step does something, and says how it went and how long it took.
func (r *report) step(name string, do func() error) (ok bool) {
	begin := time.Now()
	err := do()
	return r.outcome(name, time.Since(begin), err)
}

// outcome is the line of a step.
func (r *report) outcome(name string, took time.Duration, err error) (ok bool) {
	took = took.Round(100 * time.Microsecond)
	r.steps++
	switch no := skip(""); {
	case err == nil:
		r.line("ok       %-40s %s", name, took)
	case errors.As(err, &no):
		r.skipped++
		r.line("skipped  %-40s %s", name, no)
	default:
		r.failed++
		r.line("FAILED   %-40s %s: %v", name, took, err)
	}
	return err == nil
}

// verdict is the last line; it is the error if a step failed.
func (r *report) verdict() error {
	switch {
	case r.err != nil:
		return fmt.Errorf("write the report: %w", r.err)
	case r.failed > 0:
		r.line("\nFAILED: %d of %d steps", r.failed, r.steps)
		return ErrFailed
	}
	r.line("\nPASSED: %d steps, %d skipped", r.steps-r.skipped, r.skipped)
	return r.err
}

// ErrFailed says that the report has a step that failed.
var ErrFailed = errors.New("the selftest failed; the report says where")
