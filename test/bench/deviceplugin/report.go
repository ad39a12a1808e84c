package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// results are those of a run, by number of HCAs.
type results map[int]result

// A row is a line of the table.
type row struct {
	what         string
	ours, theirs float64
	unit         string
	goal         float64
	ratio        float64 // of theirs that ours may be at most, 0 for any
}

func (r results) rows() []row {
	var rows []row
	goals := map[int]struct{ start, ratio, rescan float64 }{8: {50, .5, 2}, 64: {50, .2, 10}, 512: {150, .02, 60}}
	for _, n := range sizes {
		rows = append(rows, row{fmt.Sprintf("start to registered, %d HCAs", n), r[n].Ours.Start, r[n].Theirs.Start, "ms", goals[n].start, goals[n].ratio})
	}
	for _, n := range sizes {
		rows = append(rows, row{fmt.Sprintf("CPU per rescan, %d HCAs", n), r[n].Ours.Rescan, r[n].Theirs.Rescan, "ms", goals[n].rescan, 0})
	}
	usual, busy := r[usualSize], r[busySize]
	return append(rows,
		row{"kubelet restart to registered again", usual.Ours.Restart, usual.Theirs.Restart, "ms", 100, 0},
		row{"the same, at worst", usual.Ours.RestartMax, usual.Theirs.RestartMax, "ms", 0, 0},
		row{fmt.Sprintf("Allocate p50, %d HCAs", busySize), busy.Ours.AllocateP50, busy.Theirs.AllocateP50, "ms", .5, 0},
		row{fmt.Sprintf("Allocate p99, %d HCAs", busySize), busy.Ours.AllocateP99, busy.Theirs.AllocateP99, "ms", 1, 0},
		row{"resident memory, 8 HCAs", usual.Ours.RSS, usual.Theirs.RSS, "MB", 15, 0},
		row{"SIGTERM to exit", usual.Ours.Stop, usual.Theirs.Stop, "ms", 0, 0},
		row{"the same, at worst", usual.Ours.StopMax, usual.Theirs.StopMax, "ms", 100, 0},
		row{"the program, stripped", usual.Ours.Binary, usual.Theirs.Binary, "MB", 13, 0},
	)
}

// reached says whether a row has what it should.
func (r row) reached() string {
	switch {
	case r.goal == 0:
		return ""
	case r.ours > r.goal || r.ratio > 0 && r.ours > r.ratio*r.theirs:
		return "**missed**"
	}
	return "yes"
}

func (r row) want() string {
	switch {
	case r.goal == 0:
		return ""
	case r.ratio > 0:
		return fmt.Sprintf("%g %s and %g of theirs", r.goal, r.unit, r.ratio)
	}
	return fmt.Sprintf("%g %s", r.goal, r.unit)
}

func (r results) table() string {
	var b strings.Builder
	b.WriteString("| | rdma-device-plugin | k8s-rdma-shared-dev-plugin | ratio | to reach | reached |\n|---|---|---|---|---|---|\n")
	for _, row := range r.rows() {
		fmt.Fprintf(&b, "| %s | %s %s | %s %s | %s | %s | %s |\n", row.what, number(row.ours), row.unit, number(row.theirs), row.unit,
			number(row.ours/row.theirs), row.want(), row.reached())
	}
	return b.String()
}

// number has two significant digits at least.
func number(f float64) string {
	switch {
	case f >= 10:
		return fmt.Sprintf("%.0f", f)
	case f >= 1:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2g", f)
}

const (
	beginMark = "<!-- bench-device-plugin: begin (made by `make bench-device-plugin`) -->"
	endMark   = "<!-- bench-device-plugin: end -->"
	chartFile = "benchmarks-device-plugin.svg"
)

// write puts the results between the marks in benchmarks.md, and at its end if
// it has none. load is the machine's load average before the run.
func (r results) write(docs, load string) error {
	path := filepath.Join(docs, "benchmarks.md")
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text := string(b)
	if text == "" {
		text = "# Benchmarks\n"
	}
	section := beginMark + "\n" + r.section(load) + endMark
	before, rest, found := strings.Cut(text, beginMark)
	if found {
		_, after, ok := strings.Cut(rest, endMark)
		if !ok {
			return fmt.Errorf("%s has %q without %q", path, beginMark, endMark)
		}
		text = before + section + after
	} else {
		text = strings.TrimRight(text, "\n") + "\n\n" + section + "\n"
	}
	return errors.Join(
		os.WriteFile(path, []byte(text), 0o644),                                //nolint:gosec // documentation
		os.WriteFile(filepath.Join(docs, chartFile), []byte(r.chart()), 0o644), //nolint:gosec // the same
	)
}

func (r results) section(load string) string {
	return fmt.Sprintf(`## The device plugin
rdma-device-plugin against k8s-rdma-shared-dev-plugin v1.5.3, in one run of %s, on %d processors, with
a load average of %s before it. Times are medians unless the line says otherwise.

![Start and rescan, by number of HCAs](%s)

%s
How: both see the same simulated node in private namespaces, with the folders of a real one: a sysfs tree in memory
with so many HCAs, a veth for each netdev, the stand-in kubelet of the tests. One pool of 8 units, by vendor and link
type, and a look at all devices every second. The start is from the creation of the process until the kubelet has the
units. CPU is that of all threads, over ten seconds, by the second. Allocate is one call over gRPC with such a look
going on every second. Memory is VmRSS after ten seconds, with the pages of the program itself.

What is in their favour: a pci.ids of four lines, where the real one, which they read at every look, has 40,000. Not
measured: real sysfs, which is slower than a tree in memory, for both. The kernel here need
not have RDMA: a system call filter gives both programs the error that their check of the RDMA subsystem's mode takes
for an old kernel.
`, "`make bench-device-plugin`", runtime.NumCPU(), load, chartFile, r.table())
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
		{"start to registered, ms", func(f figures) float64 { return f.Start }},
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
					x(i), y(v), colour, x(i), y(v)+[]float64{18, -8}[s], colour, number(v))
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
