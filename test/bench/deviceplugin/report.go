package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/roce-k8s/roce-k8s/test/bench/report"
)

// results are those of a run, by number of HCAs.
type results map[int]result

func (r results) rows() []report.Row {
	var rows []report.Row
	add := func(what, unit string, of func(figures) report.Figure, size int, goal, ratio float64) {
		rows = append(rows, report.Row{What: what, Ours: of(r[size].Ours), Theirs: of(r[size].Theirs), Unit: unit, AtMost: goal, RatioAtMost: ratio})
	}
	goals := map[int]struct{ start, ratio, rescan float64 }{8: {50, .5, 2}, 64: {50, .2, 10}, 512: {150, .02, 60}}
	for _, n := range sizes {
		add(fmt.Sprintf("start to registered, %d HCAs", n), "ms", func(f figures) report.Figure { return f.Start }, n, goals[n].start, goals[n].ratio)
	}
	add("the same, 8 HCAs, with a PCI ID database of 4 lines", "ms", func(f figures) report.Figure { return f.LeanStart }, usualSize, 0, 0)
	once := func(of func(figures) float64) func(figures) report.Figure {
		return func(f figures) report.Figure { return report.Figure{Median: of(f)} }
	}
	for _, n := range sizes {
		add(fmt.Sprintf("CPU per rescan, %d HCAs", n), "ms", once(func(f figures) float64 { return f.Rescan }), n, goals[n].rescan, 0)
	}
	add("kubelet restart to registered again", "ms", func(f figures) report.Figure { return f.Restart }, usualSize, 100, 0)
	add(fmt.Sprintf("Allocate p50, %d HCAs", busySize), "ms", once(func(f figures) float64 { return f.AllocateP50 }), busySize, .5, 0)
	add(fmt.Sprintf("Allocate p99, %d HCAs", busySize), "ms", once(func(f figures) float64 { return f.AllocateP99 }), busySize, 1, 0)
	add("resident memory, 8 HCAs", "MB", once(func(f figures) float64 { return f.RSS }), usualSize, 15, 0)
	add("SIGTERM to exit", "ms", func(f figures) report.Figure { return f.Stop }, usualSize, 100, 0)
	add("the program, stripped", "MB", once(func(f figures) float64 { return f.Binary }), usualSize, 13, 0)
	return rows
}

func (r results) table() string {
	return report.Table("rdma-device-plugin", "k8s-rdma-shared-dev-plugin", r.rows())
}

func (r results) section(machine string) report.Section {
	s := report.Section{Target: "bench-device-plugin", Title: "The device plugin", Chart: r.chart()}
	s.Text = fmt.Sprintf(`rdma-device-plugin against k8s-rdma-shared-dev-plugin v1.5.3, in one run (%s). Medians, and 95th
percentiles, unless the line says otherwise.

![Start and rescan, by number of HCAs](%s)

%s
How: both see the same simulated node in private namespaces, with the folders of a real one: a sysfs tree in memory
with so many HCAs, a veth for each netdev, the stand-in kubelet of the tests. One pool of 8 units, by vendor and link
type, and a look at all devices every second. The start is from the creation of the process until the kubelet has the
units. CPU is that of all threads, over ten seconds, by the second. Allocate is one call over gRPC with such a look
going on every second. Memory is VmRSS after ten seconds, with the pages of the program itself.

At every look they read the PCI ID database, which is in their image and here is that of Debian: most of their time with
few HCAs. The line with a database of 4 lines, which no node has, shows what is left without it, and most of that is the
same for both: %s ms of ours is a process that is loaded, says its version and ends.

Not measured: real sysfs, which is slower than a tree in memory, for both. The kernel here need not have RDMA: a system
call filter gives both programs the error that their check of the RDMA subsystem's mode takes for an old kernel.
`, machine, s.ChartFile(), r.table(), report.Number(r[usualSize].Ours.Nothing.Median))
	return s
}

// chart draws start and rescan over the number of HCAs, both axes logarithmic.
func (r results) chart() string {
	const (
		width, height = 720, 300
		plot          = 190 // height of a panel
	)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">
<rect width="%d" height="%d" fill="white"/>
`, width, height, width, height)
	panels := []struct {
		title string
		of    func(figures) float64
	}{
		{"start to registered, ms", func(f figures) float64 { return f.Start.Median }},
		{"CPU per rescan, ms", func(f figures) float64 { return f.Rescan }},
	}
	for p, panel := range panels {
		left := 60 + 350*p
		low, high := math.Inf(1), 0.0
		for _, n := range sizes {
			for _, f := range []figures{r[n].Ours, r[n].Theirs} {
				low, high = min(low, panel.of(f)), max(high, panel.of(f))
			}
		}
		// Room for a number below the lowest point.
		bottom, top := math.Floor(math.Log10(low)-.3), math.Ceil(math.Log10(high))
		x := func(i int) float64 { return float64(left + 20 + 120*i) }
		y := func(v float64) float64 { return 50 + plot*(top-math.Log10(v))/(top-bottom) }
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"25\" font-weight=\"bold\">%s</text>\n", left, panel.title)
		for e := bottom; e <= top; e++ {
			v := math.Pow(10, e)
			fmt.Fprintf(&b, "<path d=\"M%d %.1fh280\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", left, y(v), left-5, y(v)+4, v)
		}
		for i, n := range sizes {
			fmt.Fprintf(&b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%d HCAs</text>\n", x(i), 50+plot+18, n)
		}
		for s, colour := range []string{"#0b6e4f", "#b5523b"} {
			path, command := "", "M"
			for i, n := range sizes {
				v := panel.of([]figures{r[n].Ours, r[n].Theirs}[s])
				path, command = path+fmt.Sprintf("%s%.1f %.1f", command, x(i), y(v)), "L"
				fmt.Fprintf(&b, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/><text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\" fill=\"%s\">%s</text>\n",
					x(i), y(v), colour, x(i), y(v)+[]float64{18, -8}[s], colour, report.Number(v))
			}
			fmt.Fprintf(&b, "<path d=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n", path, colour)
		}
	}
	fmt.Fprintf(&b, `<circle cx="60" cy="%d" r="4" fill="#0b6e4f"/><text x="70" y="%d">rdma-device-plugin</text>
<circle cx="250" cy="%d" r="4" fill="#b5523b"/><text x="260" y="%d">k8s-rdma-shared-dev-plugin v1.5.3</text>
</svg>
`, height-14, height-10, height-14, height-10)
	return b.String()
}
