package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/roce-k8s/roce-k8s/test/bench/pod/alone"
	"github.com/roce-k8s/roce-k8s/test/bench/report"
)

// results are what each driver did.
type results struct {
	ours, theirs result
	moves        []float64 // in ms, of eight NICs and nothing else
}

// A result is one driver's. Times are in ms, sizes in MB.
type result struct {
	driver
	without, with      []float64 // pods' starts, without NICs and with eight
	fewer              int       // pods that had not all eight, which count nowhere else
	resident, together []float64 // memory of the driver, and of all containers of its pod
	binary             float64
	outcomes           []outcome // in the order of the endings
	row                []nics    // what each of the pods in a row had
	rowEnded           error     // why there were not more
}

func measure(ctx context.Context, o options) (r results, err error) {
	s, err := newSite(ctx, o)
	if s != nil {
		defer s.Stop()
	}
	if err != nil {
		s.explain(err)
		return r, err
	}
	defer func() { s.explain(err) }()
	r.ours.driver, r.theirs.driver = drivers()
	both := []*result{&r.ours, &r.theirs}
	for round := range o.rounds {
		for turn := range both {
			t := both[(turn+round)%2] // neither is always the first
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, o.rounds, t.title)
			if err := s.turn(ctx, t, o); err != nil {
				return r, err
			}
			took, err := s.moves(ctx, t.driver)
			if err != nil {
				return r, err
			}
			r.moves = append(r.moves, took)
		}
	}
	for _, t := range both {
		if len(t.with) == 0 {
			return r, fmt.Errorf("%s: no pod had all NICs", t.title)
		}
		if err := s.serve(ctx, t.driver); err != nil {
			return r, err
		}
		fmt.Fprintf(os.Stderr, "%s: pods in a row\n", t.title)
		if err := s.inARow(ctx, t, o.row); err != nil {
			return r, err
		}
		for _, e := range endings() {
			fmt.Fprintf(os.Stderr, "%s: %s\n", t.title, e.title)
			came, err := s.end(ctx, t.driver, e)
			if err != nil {
				return r, fmt.Errorf("%s: %w", e.title, err)
			}
			t.outcomes = append(t.outcomes, came)
		}
	}
	return r, nil
}

// turn has a driver serve the node, and starts pods without NICs and with eight in
// turns.
func (s *site) turn(ctx context.Context, r *result, o options) error {
	if err := s.serve(ctx, r.driver); err != nil {
		return err
	}
	for i := range 1 + o.each {
		without, err := s.life(ctx, r.driver, driver{})
		if err != nil {
			return err
		}
		with, err := s.life(ctx, r.driver, r.driver)
		if errors.Is(err, errOtherNICs) {
			r.fewer++
			fmt.Fprintln(os.Stderr, err)
			continue
		}
		if err != nil {
			return err
		}
		if i > 0 { // the first are for what is only done once
			r.without, r.with = append(r.without, without), append(r.with, with)
		}
	}
	return s.weigh(ctx, r)
}

// moves is how long the kernel takes to move eight NICs, in ms.
func (s *site) moves(ctx context.Context, serving driver) (float64, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	if _, err := s.ready(ctx, serving); err != nil {
		return 0, err
	}
	return alone.Moves(ctx, s.node)
}

// errOtherNICs is for a pod that is Ready without all that it asked for.
var errOtherNICs = errors.New("a pod has other NICs than it asked for")

// life starts and ends a pod with the NICs of a driver, or of none, while one serves
// the node. It says how long the start took, in ms.
func (s *site) life(ctx context.Context, serving, of driver) (float64, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	if _, err := s.ready(ctx, serving); err != nil {
		return 0, err
	}
	pod, took, has, err := s.start(ctx, of)
	if err != nil {
		return 0, err
	}
	want := rails
	if of == (driver{}) {
		want = 0
	}
	if len(has) != want || has.equipped() != want {
		err = fmt.Errorf("%s: %w: %d, and %d with addresses, want %d", serving.title, errOtherNICs, len(has), has.equipped(), want)
	}
	if _, err := s.Remove(ctx, pod); err != nil {
		return 0, err
	}
	return float64(took) / float64(time.Millisecond), err
}

// weigh looks at the driver's processes.
func (s *site) weigh(ctx context.Context, r *result) error {
	resident, binary, err := s.sizes(ctx, r.process)
	if err != nil {
		return err
	}
	beside := 0.0
	if r.beside != "" {
		if beside, _, err = s.sizes(ctx, r.beside); err != nil {
			return err
		}
	}
	r.binary, r.resident, r.together = binary, append(r.resident, resident), append(r.together, resident+beside)
	return nil
}

// sizes are the memory of processes together, and the size of the last one's program.
func (s *site) sizes(ctx context.Context, processes string) (resident, binary float64, err error) {
	out, err := s.node.Run(ctx, fmt.Sprintf(`for pid in $(pgrep -f '%s'); do awk '/^VmRSS/ {print $2 * 1024}' /proc/$pid/status; stat -Lc %%s /proc/$pid/exe; done`, processes))
	if err != nil {
		return 0, 0, err
	}
	for i, word := range strings.Fields(out) {
		value, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return 0, 0, err
		}
		if i%2 == 0 {
			resident += value / 1e6
		} else {
			binary = value / 1e6
		}
	}
	return resident, binary, nil
}

// inARow starts pods, each when the one before is gone. One that does not start is
// the last.
func (s *site) inARow(ctx context.Context, r *result, count int) error {
	if _, err := s.ready(ctx, r.driver); err != nil {
		return err
	}
	for range count {
		if r.rowEnded = s.next(ctx, r); r.rowEnded != nil {
			break
		}
	}
	return s.weigh(ctx, r)
}

func (s *site) next(ctx context.Context, r *result) error {
	ctx, cancel := within(ctx)
	defer cancel()
	pod, _, has, err := s.start(ctx, r.driver)
	if err != nil {
		return err
	}
	r.row = append(r.row, has)
	_, err = s.Remove(ctx, pod)
	return err
}

// added is by how much pods with NICs exceed the median of those without.
func (r result) added() report.Figure {
	without := report.Of(r.without).Median
	var over []float64
	for _, t := range r.with {
		over = append(over, t-without)
	}
	return report.Of(over)
}
