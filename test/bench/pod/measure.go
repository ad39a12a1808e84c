package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/roce-k8s/roce-k8s/test/bench/report"
)

// results are times in ms.
type results struct {
	start, end map[contender][]float64
	bare       map[string][]float64 // by kind of IPAM: eight calls, or with keep eight moves
	shares     map[contender]shares
	traced     int     // pods of each kind with clocks
	clock      float64 // what the clock adds to a plugin's call
}

func measure(ctx context.Context, o options) (r results, err error) {
	s, err := newSite(ctx)
	if s != nil {
		defer s.Stop()
	}
	if err != nil {
		s.explain(err)
		return r, err
	}
	defer func() { s.explain(err) }()
	r = results{
		traced: o.traced,
		start:  map[contender][]float64{}, end: map[contender][]float64{}, bare: map[string][]float64{}, shares: map[contender]shares{},
	}
	all := contenders()
	for _, c := range all { // each once, for what is only done once
		if _, _, err := s.life(ctx, c); err != nil {
			return r, err
		}
	}
	for round := range o.rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, o.rounds)
		for turn := range all {
			c := all[(turn+round)%len(all)] // none is always behind the same
			start, end, err := s.life(ctx, c)
			if err != nil {
				return r, err
			}
			r.start[c], r.end[c] = append(r.start[c], ms(start)), append(r.end[c], ms(end))
		}
		for _, ipam := range []string{hostLocal, whereabouts} {
			took, err := s.bareIPAM(ctx, ipam)
			if err != nil {
				return r, err
			}
			r.bare[ipam] = append(r.bare[ipam], took)
		}
		took, err := s.bareMoves(ctx)
		if err != nil {
			return r, err
		}
		r.bare[keep] = append(r.bare[keep], took)
	}
	return r, s.trace(ctx, o, &r)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// added is by how much a contender's times exceed those of a pod without
// networks.
func added(times map[contender][]float64, c contender) report.Figure {
	without := report.Of(times[contender{}]).Median
	var over []float64
	for _, t := range times[c] {
		over = append(over, t-without)
	}
	return report.Of(over)
}

// explain keeps what explains a failure.
func (s *site) explain(err error) {
	if err == nil || s.ControlPlane == nil {
		return
	}
	to := os.Getenv("ROCE_E2E_LOGS") + "/bench-pod"
	_ = os.RemoveAll(to)
	if err := s.CollectLogs(to); err != nil {
		fmt.Fprintln(os.Stderr, "bench: collect logs:", err)
	}
	fmt.Fprintln(os.Stderr, "bench: logs are in", to)
}
