package main

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/roce-k8s/roce-k8s/test/bench/report"
)

// What we want to reach: of what host-device with host-local adds to a pod's
// start, and of eight bare calls of Whereabouts.
const (
	goalHostLocal   = 0.45
	goalKeep        = 0.3
	goalWhereabouts = 1.05
)

// ourContenders are those with our plugin.
func ourContenders() []contender {
	return slices.DeleteFunc(contenders(), func(c contender) bool { return c.plugin != ours })
}

// rows compare ours with host-device.
func (r results) rows() []report.Row {
	var rows []report.Row
	for _, times := range []struct {
		what  string
		of    map[contender][]float64
		goals map[string]float64
	}{
		{"start", r.start, map[string]float64{hostLocal: goalHostLocal, keep: goalKeep}},
		{"end", r.end, nil},
	} {
		for _, c := range ourContenders() {
			than, against := c.ipam, ""
			if c.ipam == keep { // which theirs cannot
				than, against = hostLocal, " against "+hostLocal
			}
			rows = append(rows, report.Row{
				What: "added to the " + times.what + ", " + c.gets() + against, Ours: added(times.of, c), Theirs: added(times.of, contender{plugin: theirs, ipam: than}),
				Unit: "ms", RatioAtMost: times.goals[c.ipam],
			})
		}
	}
	return rows
}

// floorRows compare ours with what nobody can save: what eight addresses cost by
// themselves, or eight moves. All rails together can be faster than one after another.
func (r results) floorRows() []report.Row {
	var rows []report.Row
	for _, c := range ourContenders() {
		what, goal := "eight calls of it", 0.0
		switch {
		case c.ipam == keep:
			what = "eight moves by `ip`"
		case c.ipam == whereabouts && !c.together:
			goal = goalWhereabouts
		}
		rows = append(rows, report.Row{
			What: c.gets() + ", against " + what, Ours: added(r.start, c), Theirs: report.Of(r.bare[c.ipam]), Unit: "ms", RatioAtMost: goal,
		})
	}
	return rows
}

// wholes are the times of whole pods.
func (r results) wholes() string {
	var b strings.Builder
	b.WriteString("| a pod with | apply to Ready | p5 to p95 | delete to gone | p5 to p95 |\n|---|---|---|---|---|\n")
	for _, c := range contenders() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", c, spread(r.start[c]), spread(r.end[c]))
	}
	return b.String()
}

func spread(times []float64) string {
	q := func(percent int) string { return report.Number(report.Quantile(times, percent)) }
	return fmt.Sprintf("%s ms | %s to %s", q(50), q(5), q(95))
}

// whose says whose the time is that rails add between the begin and the end of
// Multus, by the clocks around the plugins.
func (r results) whose() string {
	var b strings.Builder
	b.WriteString("| ms added by eight rails | in all | the rails' plugin | of that its IPAM plugin | before it | behind it | Multus itself |\n" +
		"|---|---|---|---|---|---|---|\n")
	none, number := r.shares[contender{}], func(ms float64) string { return fmt.Sprintf("%.0f", ms) }
	for _, c := range contenders()[1:] {
		s, clocks := r.shares[c], float64(c.networks())*math.Max(0, r.clock)
		plugins, itself := s.Plugins, s.itself()-none.itself()-clocks
		ipam, before, behind := "", "", ""
		if c.ipam != keep { // there is a clock around that, too; those of one network run at the same time
			plugins -= clocks
			ipam, before, behind = number(s.IPAM), number(s.Before-clocks), number(s.After)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", c, number(plugins+itself), number(plugins), ipam, before, behind, number(itself))
	}
	return b.String()
}

func (r results) section(machine string) report.Section {
	s := report.Section{Target: "bench-pod", Title: "A pod's start", Chart: r.chart()}
	s.Text = fmt.Sprintf(`What eight rails add to a pod's start and end, roce-host-device against host-device v1.9.1: on a real Kubernetes, in
turns, in one run (%s). Medians over %d pods of each kind, and 95th percentiles.

![Added to a pod's start, in milliseconds](%s)

%s
Against what nobody can save, one after another as Multus has it, in the same run: eight calls of the IPAM plugin alone,
or eight moves, each one RTM_NEWLINK:

%s
Whole pods:

%s
Whose the time is that they add to the work of Multus, of %d more pods of each kind with a clock around every plugin
(medians):

%s
Multus asks the API server for the pod and for its eight networks before it starts the first plugin, starts one when the
one before has ended, and reports all of them at the end: what it adds itself is that, and grows with the networks and
not with the plugin. Eight rails cannot overlap but in their IPAM plugin's time: ours asks it while the NIC moves, so
that with a slow one, as Whereabouts is, the move costs nothing; with a fast one, or none, the kernel's time for eight
moves is most of what there is, and host-device moves each NIC twice (see "The CNI plugin"). No lock is waited for: a
rail has its own NIC and its own attachment. What stands before the IPAM plugin in ours is the start of the process, the
look at the NIC and the journal's record, which is on disk before anything moves.

"One network" is one that lists the eight NICs in "devices". Multus asks for that and starts one plugin, which takes each
step with all NICs at the same time, asks the IPAM plugin for two at a time, and gives the pod all or none. Of IPAM plugins
that run at the same time, the table has what passes from the first's begin to the last's end.

How: the cluster of `+"`make e2e`"+`, the project deployed by its manifests, the pods' only container is pause, and its
image is on the node. A start is from the request that makes the pod until the API server says that it is Ready, an end
from the request that deletes it until it is gone; both are watched, not polled. Added is what exceeds the median of the
pods without networks. Before each pod all NICs are up, and have addresses only for those that keep them. The nodes are
namespaces of one machine and their NICs are veths, without RDMA devices; API server and etcd share its processors. The
nodes' disk is in memory, so the journal's fsync costs nothing here: "The CNI plugin" has it on a disk. A clock is a
process of its own around the plugin's; the %s ms that each takes are left out of the table, once for those at the same time.
`, machine, len(r.start[contender{}]), s.ChartFile(), report.Table(ours, theirs, r.rows()), report.Table("added to the start by ours", "alone", r.floorRows()),
		r.wholes(), r.traced, r.whose(), report.Number(math.Max(0, r.clock)))
	return s
}

// chart draws what is added to a pod's start.
func (r results) chart() string {
	bar := func(colour string, f report.Figure) report.Bar {
		return report.Bar{Colour: colour, Value: math.Max(0, f.Median)}
	}
	var groups []report.Group
	for _, c := range ourContenders() {
		bars := []report.Bar{bar(report.Ours, added(r.start, c))}
		if !c.together {
			if c.ipam != keep {
				bars = append(bars, bar(report.Theirs, added(r.start, contender{plugin: theirs, ipam: c.ipam})))
			}
			bars = append(bars, bar(report.Floor, report.Of(r.bare[c.ipam])))
		}
		groups = append(groups, report.Group{Name: c.gets(), Bars: bars})
	}
	return report.Bars([3]string{ours, theirs + " v1.9.1", "floor"}, groups)
}
