package main

import (
	"fmt"

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
	bars := func(figures [2]report.Figure, floor float64) []report.Bar {
		b := []report.Bar{{Colour: report.Ours, Value: figures[0].Median}, {Colour: report.Theirs, Value: figures[1].Median}}
		if floor > 0 {
			b = append(b, report.Bar{Colour: report.Floor, Value: floor})
		}
		return b
	}
	var groups []report.Group
	for _, kind := range kinds {
		p := r.Plain[kind]
		groups = append(groups,
			report.Group{Name: "ADD, " + kind, Bars: bars(p.Add, p.Floor[0].Median)},
			report.Group{Name: "DEL, " + kind, Bars: bars(p.Del, p.Floor[1].Median)})
	}
	groups = append(groups, report.Group{Name: "ADD, IPAM of 100 ms", Bars: bars(r.Slow.Add, 0)})
	return report.Bars([3]string{"roce-host-device", "host-device v1.9.1", "floor"}, groups)
}
