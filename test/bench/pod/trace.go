package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/roce-k8s/roce-k8s/test/bench/report"
)

// shares say whose the time of a pod's start is, in ms.
type shares struct {
	Multus  float64 // from its begin to its end
	Pod     float64 // in the plugin of the pod network, the same for all pods
	Plugins float64 // in the rails' plugins, their IPAM plugins included
	IPAM    float64 // in their IPAM plugins; of those at the same time, from the first's begin to the last's end
	Before  float64 // in the rails' plugins before the IPAM plugin begins
	After   float64 // and after it has ended
}

// itself is what Multus takes without the plugins that it runs.
func (s shares) itself() float64 { return s.Multus - s.Pod - s.Plugins }

// A call is one run of a plugin, with the clock's times in ms.
type call struct {
	plugin, command, ifName string
	begin, end              float64
}

func (c call) took() float64 { return c.end - c.begin }

// timedPlugins are those around which there is a clock.
var timedPlugins = []string{"multus", "bridge", theirs, ours, hostLocal, whereabouts}

// trace starts pods with a clock around each plugin.
func (s *site) trace(ctx context.Context, o options, r *results) error {
	if err := s.installClock(ctx, o.timed); err != nil {
		return err
	}
	var err error
	if r.clock, err = s.clockAdds(ctx, o); err != nil {
		return err
	}
	seen := map[contender][]shares{}
	for round := range o.traced {
		fmt.Fprintf(os.Stderr, "with clocks, round %d of %d\n", round+1, o.traced)
		for _, c := range contenders() {
			if _, err := s.node.Run(ctx, "rm -f /run/timed"); err != nil {
				return err
			}
			if _, _, err := s.life(ctx, c); err != nil {
				return err
			}
			log, err := s.node.Run(ctx, "cat /run/timed")
			if err != nil {
				return err
			}
			of, err := share(log, c)
			if err != nil {
				return err
			}
			seen[c] = append(seen[c], of)
		}
	}
	for c, all := range seen {
		r.shares[c] = medians(all)
	}
	return nil
}

// installClock puts the clock in each plugin's place.
func (s *site) installClock(ctx context.Context, program string) error {
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	// The node sees the files of its folder.
	if err := os.WriteFile(s.node.Folder+"/timed", content, 0o755); err != nil { //nolint:gosec // a program
		return err
	}
	_, err = s.node.Run(ctx, fmt.Sprintf("set -e; mkdir /opt/cni/timed; cd /opt/cni/bin; for p in %s; do mv $p ../timed; cp %s/timed $p; done",
		strings.Join(timedPlugins, " "), s.node.Folder))
	return err
}

// clockAdds is what a plugin's call takes longer for the clock around it.
func (s *site) clockAdds(ctx context.Context, o options) (float64, error) {
	var with, without []float64
	for range 3 * o.traced {
		for folder, times := range map[string]*[]float64{"bin": &with, "timed": &without} {
			took, err := s.bareCalls(ctx, "/opt/cni/"+folder+"/"+hostLocal, "VERSION", contender{plugin: theirs, ipam: hostLocal})
			if err != nil {
				return 0, err
			}
			*times = append(*times, took/rails)
		}
	}
	return report.Of(with).Median - report.Of(without).Median, nil
}

const rails = 8

// share reads what the clocks wrote while a pod with a contender's networks
// started and ended.
func share(log string, c contender) (shares, error) {
	var adds []call
	for line := range strings.Lines(log) {
		var one call
		var begin, end int64
		if _, err := fmt.Sscan(line, &one.plugin, &one.command, &one.ifName, &begin, &end); err != nil || one.command != "ADD" {
			continue
		}
		one.begin, one.end = float64(begin)/1e6, float64(end)/1e6
		adds = append(adds, one)
	}
	var of shares
	var ipam, plugins []call
	for _, one := range adds {
		switch rail := strings.HasPrefix(one.ifName, "net"); {
		case one.plugin == "multus":
			of.Multus = one.took()
		case one.plugin == "bridge":
			of.Pod = one.took()
		case rail && one.plugin == c.plugin:
			plugins = append(plugins, one)
			of.Plugins += one.took()
		case rail && one.plugin == c.ipam:
			ipam = append(ipam, one)
		}
	}
	if of.Multus == 0 || len(plugins) != c.networks() || c.plugin != "" && c.ipam != keep && len(ipam) != rails {
		return of, errors.New("the clocks saw not all plugins:\n" + log)
	}
	if c.ipam == keep {
		return of, nil
	}
	for _, p := range plugins { // one after another, so that one's IPAM calls are those in its time
		begin, end := p.end, p.begin
		for _, i := range ipam {
			if i.begin > p.begin && i.end < p.end {
				begin, end = min(begin, i.begin), max(end, i.end)
			}
		}
		of.Before += begin - p.begin
		of.IPAM += end - begin
		of.After += p.end - end
	}
	return of, nil
}

// medians are those of each share.
func medians(all []shares) shares {
	of := func(get func(shares) float64) float64 {
		var values []float64
		for _, s := range all {
			values = append(values, get(s))
		}
		return report.Of(values).Median
	}
	return shares{
		Multus:  of(func(s shares) float64 { return s.Multus }),
		Pod:     of(func(s shares) float64 { return s.Pod }),
		Plugins: of(func(s shares) float64 { return s.Plugins }),
		IPAM:    of(func(s shares) float64 { return s.IPAM }),
		Before:  of(func(s shares) float64 { return s.Before }),
		After:   of(func(s shares) float64 { return s.After }),
	}
}
