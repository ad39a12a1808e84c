package main

import (
	"fmt"
	"strings"

	"github.com/roce-k8s/roce-k8s/test/bench/report"
)

// What we want to reach: ratios to host-device, and to the floor.
const (
	goalPlain     = 0.40
	goalFloor     = 1.3
	goalExclusive = 0.5
	goalVersion   = 1.2
	goalBinary    = 6 // MB
)

func (r results) rows() []report.Row {
	var rows []report.Row
	add := func(what string, figures [2]report.Figure, ratio float64) {
		rows = append(rows, report.Row{What: what, Ours: figures[0], Theirs: figures[1], Unit: "ms", RatioAtMost: ratio})
	}
	for _, kind := range kinds {
		add("ADD, "+kind, r.Plain[kind].Add, goalPlain)
		add("DEL, "+kind, r.Plain[kind].Del, goalPlain)
	}
	add("ADD of 8 NICs, with host-local", r.HostLocal.Add, goalPlain)
	add("DEL of 8 NICs, with host-local", r.HostLocal.Del, goalPlain)
	add("ADD, IPAM plugin that takes 100 ms", r.Slow.Add, 0)
	rows[len(rows)-1].AtMost = ms(slowIPAMTime) + r.Plain["veth"].Add[0].Median/2
	if r.Exclusive != nil {
		add("ADD, exclusive mode (lab)", r.Exclusive.Add, goalExclusive)
		add("DEL, exclusive mode (lab)", r.Exclusive.Del, goalExclusive)
	}
	add("VERSION", r.Version, goalVersion)
	return append(rows, report.Row{What: "the program, stripped", Ours: report.Figure{Median: r.Binary[0]}, Theirs: report.Figure{Median: r.Binary[1]}, Unit: "MB", AtMost: goalBinary})
}

// floorRows compare ours with the floor.
func (r results) floorRows() []report.Row {
	var rows []report.Row
	add := func(what string, p pair, goal float64) {
		rows = append(rows,
			report.Row{What: "ADD, " + what, Ours: p.Add[0], Theirs: p.Floor[0], Unit: "ms", RatioAtMost: goal},
			report.Row{What: "DEL, " + what, Ours: p.Del[0], Theirs: p.Floor[1], Unit: "ms"})
	}
	for _, kind := range kinds {
		add(kind, r.Plain[kind], goalFloor)
	}
	if r.Exclusive != nil {
		add("exclusive mode (lab)", *r.Exclusive, 0)
	}
	return rows
}

// floorRatios are what of host-device's ADD nobody can save.
func (r results) floorRatios() string {
	ratio := func(p pair) string { return report.Number(p.Floor[0].Median / p.Add[1].Median) }
	s := fmt.Sprintf("%s with a veth and %s with a macvlan", ratio(r.Plain["veth"]), ratio(r.Plain["macvlan"]))
	if r.Exclusive != nil {
		s += ", and " + ratio(*r.Exclusive) + " in exclusive mode, rdma-cni included"
	}
	return s
}

func (r results) table() string {
	return report.Table("roce-host-device", "host-device", r.rows()) + "\n" + report.Table("roce-host-device", "floor", r.floorRows())
}

func (r results) section(machine string) report.Section {
	s := report.Section{Target: "bench-cni", Title: "The CNI plugin"}
	s.Text = fmt.Sprintf(`roce-host-device against host-device v1.9.1, in turns, in one run (%s). Medians, and 95th percentiles.

![ADD and DEL, in milliseconds](%s)

%s
Against the floor, which is one RTM_NEWLINK that moves the NIC and brings it up, and one process that does nothing; in
exclusive mode also the one message that moves the RDMA device:

%s
Nearly all of the floor is the kernel's. A netdev that changes namespace waits for rcu_barrier, whatever state it is in
and whatever else the message asks for; that takes some ticks of the kernel's clock. A macvlan that is up waits for one
grace period more when it is closed. host-device moves each NIC twice, by way of a namespace of its own, and so pays for
the barrier twice: half of its time is the most that a single move can save where one NIC is added at a time. On this
machine the floor itself, as a part of host-device's ADD, is
%s:
nobody gets below that.

How: each command is a process of its own, as a runtime starts it, timed from before its creation until it has been
waited for. The NICs are up and have an MTU of 9000 and no addresses; the state folder is on a disk. The
IPAM plugin that takes 100 ms is a fake that sleeps and leases nothing. The lines of the lab are from its virtual
machine, with Soft-RoCE devices in exclusive mode, against host-device and rdma-cni v1.3.0 in a chain, which is two
processes; the state folder is in memory there. Its processor is emulated, so its clock counts instructions: each takes
one nanosecond, and what the kernel waits for takes its time. That is some times slower than a real processor. The slower
it is, the more of the time is that of the programs and the less the kernel's waiting, in which a single move is ahead:
at four nanoseconds an instruction the ratios were 0.56 and 0.54. A huge page, of which the kernel clears one or two for
each Go program there, counts as two milliseconds of it; on the processor itself it takes 0.04.
`, machine, s.ChartFile(), report.Table("roce-host-device", "host-device", r.rows()), report.Table("roce-host-device", "floor", r.floorRows()),
		r.floorRatios())
	s.Chart = r.chart()
	return s
}

// chart draws ADD and DEL as bars, with ours, theirs and the floor.
func (r results) chart() string {
	const (
		left, width, height = 150, 420, 14
		full                = left + width + 60
	)
	type bar struct {
		colour string
		value  float64
	}
	type group struct {
		name string
		bars []bar
	}
	const ours, theirs, floor = "#0b6e4f", "#b5523b", "#999999"
	var groups []group
	for _, kind := range kinds {
		p := r.Plain[kind]
		groups = append(groups,
			group{"ADD, " + kind, []bar{{ours, p.Add[0].Median}, {theirs, p.Add[1].Median}, {floor, p.Floor[0].Median}}},
			group{"DEL, " + kind, []bar{{ours, p.Del[0].Median}, {theirs, p.Del[1].Median}, {floor, p.Floor[1].Median}}})
	}
	groups = append(groups, group{"ADD, IPAM of 100 ms", []bar{{ours, r.Slow.Add[0].Median}, {theirs, r.Slow.Add[1].Median}}})
	longest := 0.0
	for _, g := range groups {
		for _, b := range g.bars {
			longest = max(longest, b.value)
		}
	}
	var b strings.Builder
	y := 20
	for _, g := range groups {
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", left-8, y+len(g.bars)*height/2+4, g.name)
		for _, bar := range g.bars {
			w := bar.value / longest * width
			fmt.Fprintf(&b, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/><text x=\"%.1f\" y=\"%d\">%s</text>\n",
				left, y, w, height-2, bar.colour, left+w+4, y+height-3, report.Number(bar.value))
			y += height
		}
		y += height
	}
	for i, legend := range []bar{{ours, 0}, {theirs, 0}, {floor, 0}} {
		x := left + 150*i
		fmt.Fprintf(&b, "<rect x=\"%d\" y=\"%d\" width=\"12\" height=\"12\" fill=\"%s\"/><text x=\"%d\" y=\"%d\">%s</text>\n",
			x, y, legend.colour, x+18, y+11, []string{"roce-host-device", "host-device v1.9.1", "floor"}[i])
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">
<rect width="%d" height="%d" fill="white"/>
%s</svg>
`, full, y+30, full, y+30, &b)
}
