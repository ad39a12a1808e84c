package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/roce-k8s/roce-k8s/test/bench/report"
)

// What we want to reach: of what DRANET adds to a pod's start, and in MB.
const (
	goalAdded    = 0.6
	goalBinary   = 35
	goalResident = 45
)

func (r results) rows() []report.Row {
	a, b := r.ours, r.theirs
	size := func(mb float64) report.Figure { return report.Figure{Median: mb} }
	return []report.Row{
		{What: "added to a pod's start by eight NICs", Ours: a.added(), Theirs: b.added(), Unit: "ms", RatioAtMost: goalAdded},
		{What: "apply to Ready with eight NICs", Ours: report.Of(a.with), Theirs: report.Of(b.with), Unit: "ms"},
		{What: "the driver, stripped", Ours: size(a.binary), Theirs: size(b.binary), Unit: "MB", AtMost: goalBinary},
		{What: "resident memory of the driver", Ours: report.Of(a.resident), Theirs: report.Of(b.resident), Unit: "MB", AtMost: goalResident},
		{What: "resident memory of all containers of its pod", Ours: report.Of(a.together), Theirs: report.Of(b.together), Unit: "MB"},
	}
}

// wholes are the times of whole pods.
func (r results) wholes() string {
	var b strings.Builder
	b.WriteString("| apply to Ready | a pod without NICs | p5 to p95 | with eight | p5 to p95 |\n|---|---|---|---|---|\n")
	for _, t := range []result{r.ours, r.theirs} {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", t.title, spread(t.without), spread(t.with))
	}
	for _, t := range []result{r.ours, r.theirs} {
		if t.fewer > 0 {
			fmt.Fprintf(&b, "\nWith %s, %d more pods were Ready without all of their NICs.\n", t.title, t.fewer)
		}
	}
	return b.String()
}

func spread(times []float64) string {
	q := func(percent int) string { return report.Number(report.Quantile(times, percent)) }
	return fmt.Sprintf("%s ms | %s to %s", q(50), q(5), q(95))
}

// comesBack says of how many NICs each aspect is as it was, ending by ending.
func (r results) comesBack() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| what happens | | NICs on the host | %s | the next pod has |\n|---|---|---|%s---|\n", strings.Join(aspects(), " | "), strings.Repeat("---|", len(aspects())))
	for i, e := range endings() {
		for _, t := range []result{r.ours, r.theirs} {
			o := t.outcomes[i]
			line := func(title string, now nics, next string) {
				fmt.Fprintf(&b, "| %s | %s | %d", title, t.title, len(now))
				for _, aspect := range aspects() {
					if e.asNew {
						b.WriteString(" | ")
					} else {
						fmt.Fprintf(&b, " | %d", now.same(o.before, aspect))
					}
				}
				fmt.Fprintf(&b, " | %s |\n", next)
			}
			if o.down != nil {
				line(e.title+": ten seconds later", o.down, "")
				line("and once it is back", o.after, has(o.next))
			} else {
				line(e.title, o.after, has(o.next))
			}
		}
	}
	return b.String()
}

// has says what a pod has.
func has(n nics) string {
	return fmt.Sprintf("%d NICs, %d with addresses", len(n), n.equipped())
}

// inRow says how many pods in a row had what.
func (r result) inRow() string {
	full, fewer, none, equipped := 0, 0, 0, 0
	for _, n := range r.row {
		switch len(n) {
		case rails:
			full++
		case 0:
			none++
		default:
			fewer++
		}
		if n.equipped() == rails {
			equipped++
		}
	}
	end := ""
	if r.rowEnded != nil {
		end = "; the next did not start within " + patience.String()
	}
	return fmt.Sprintf("| %s | %d%s | %d | %d | %d | %d |\n", r.title, len(r.row), end, full, fewer, none, equipped)
}

func (r results) section(machine string) report.Section {
	s := report.Section{Target: "bench-dra", Title: "NICs by a claim", Chart: r.chart()}
	s.Text = fmt.Sprintf(`Pods that get eight NICs by a ResourceClaim, with the [DRA driver](dra.md) against DRANET v1.4.0: on a real Kubernetes, in
turns on the same node, in one run (%s). Medians over %d pods of each kind, and 95th percentiles.

![Added to a pod's start, in milliseconds](%s)

%s
Eight moves by `+"`ip`"+`, one after another, and nothing else took %s ms (%s to %s) on the same node: %s of what DRANET adds. The kernel has
the rtnetlink lock while a netdev changes namespace and waits for the end of all RCU callbacks (rcu_barrier in
__dev_change_net_namespace), so that several threads take as long as one, and nobody gets below that.

Whole pods, each pair with its driver at work:

%s
What is on the host after a pod's end, and of how many of its eight NICs as it was before. Ten seconds are given.

%s
Pods in a row, each made when the one before is gone. All of them were Ready:

| | pods | with 8 NICs | with fewer | with none | with 8 and their addresses |
|---|---|---|---|---|---|
%s%s
`, machine, len(r.ours.with), s.ChartFile(), report.Table(r.ours.title, r.theirs.title, r.rows()),
		report.Number(report.Of(r.moves).Median), report.Number(report.Quantile(r.moves, 5)), report.Number(report.Quantile(r.moves, 95)), report.Number(report.Of(r.moves).Median/r.theirs.added().Median),
		r.wholes(), r.comesBack(), r.ours.inRow(), r.theirs.inRow())
	s.Text += how
	return s
}

// how says how all of that was measured.
const how = `How: the cluster of ` + "`make e2e`" + `; our driver is deployed by its manifests, DRANET by its own ` + "`install.yaml`" + `, built from its
module with Go's -s -w. A label says which one is on the node; the other has left it before. To see the NICs, which are veths with a
stand-in sysfs and no RDMA devices, DRANET has the node's /sys in its container, and ` + "`--filter`" + ` takes PCI devices where its default
leaves veths out; ` + "`--cloud-provider-hint=NONE`" + ` keeps it from looking for a cloud. Its claims ask for ` + "`rdma`" + `, as those of its examples
do, and get the addresses and routes of the host, as ours do by ` + "`keepAddresses`" + `. Both run in RDMA mode shared, the kernel's default.

A start is from the request that makes the pod until the API server says that it is Ready; scheduler, claim and kubelet
are in it, and added is what exceeds the median of the pods without NICs with the same driver on the node. Before each pod all NICs are up,
with an address, a route, an alias and an alternative name each, and have been offered for three seconds: DRANET looks every two seconds at most. Each pod was
checked for its NICs and addresses. Memory is VmRSS at the end of each turn and of the pods in a row, with the pages of the program itself.

"Killed" is SIGKILL to the driver, which the kubelet starts again; what else is in our pod, the chain and the rescue, goes on. A veth ends with
its namespace: where a NIC is missing, a real one would be on the host, down, without addresses and with the name it had in the pod. After a
loss of power the NICs are new, so that only the next pod tells something. The nodes are namespaces of one machine, and API server and etcd share its
processors.
`

// chart draws what is added to a pod's start.
func (r results) chart() string {
	bar := func(colour string, r result) report.Bar {
		return report.Bar{Colour: colour, Value: math.Max(0, r.added().Median)}
	}
	return report.Bars([3]string{r.ours.title, r.theirs.title + " v1.4.0"}, []report.Group{{Name: "added", Bars: []report.Bar{bar(report.Ours, r.ours), bar(report.Theirs, r.theirs)}}})
}
