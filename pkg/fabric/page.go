package fabric

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
)

//go:embed page.html
var pageText string

// WritePage writes the report as a page that needs nothing else: no script, no
// font, no request.
func (r *Report) WritePage(w io.Writer) error {
	page, err := template.New("page").Parse(pageText)
	if err != nil {
		return err
	}
	return page.Execute(w, r.page())
}

// numbersUpTo is with how many nodes a matrix has numbers in its cells, and not
// signs alone.
const numbersUpTo = 12

// What the page shows. Who comes from another node may have chosen the names:
// package template escapes them.
type pageData struct {
	*Report
	Summary   string
	RailCount []int
	NICs      []pageRow
	Matrices  []matrix // one a rail, and one of the canaries
	Numbers   bool
}

type pageRow struct {
	Rank  int
	Name  string
	Cells []cell
}

type matrix struct {
	ID, Title string
	Netdevs   string
	Rows      []pageRow
	Sum       string
}

// A cell is a verdict in a word for styles, a sign for who sees no colours, and a
// text to be shown when pointed at.
type cell struct {
	Class, Sign, Text, Small, Title string
}

func sign(v Verdict) string {
	return map[Verdict]string{Passed: "✓", Slow: "▲", Failed: "✕", Apart: "–"}[v]
}

func (r *Report) page() pageData {
	p := pageData{Report: r, Summary: r.Summary(), Numbers: len(r.Nodes) <= numbersUpTo}
	for rail := range r.rails() {
		p.RailCount = append(p.RailCount, rail)
	}
	for _, n := range r.Nodes {
		row := pageRow{Rank: n.Rank, Name: n.Name}
		for rail := range r.rails() {
			row.Cells = append(row.Cells, r.nicCell(NIC{n.Rank, rail}))
		}
		p.NICs = append(p.NICs, row)
	}
	for rail := range r.rails() {
		m := r.matrix(func(t *Test) bool { return !t.Cross && t.FromRail == rail })
		m.ID, m.Title, m.Netdevs = fmt.Sprintf("rail-%d", rail), fmt.Sprintf("Rail %d", rail), r.netdevs(rail)
		p.Matrices = append(p.Matrices, m)
	}
	if m := r.matrix(func(t *Test) bool { return t.Cross }); m.Sum != "" {
		m.ID, m.Title = "canaries", "Between rails"
		p.Matrices = append(p.Matrices, m)
	}
	return p
}

func (r *Report) nicCell(n NIC) cell {
	sum, rail := r.nics[n], r.rail(n.Rank, n.Rail)
	c := cell{Class: string(sum.Verdict), Sign: sign(sum.Verdict), Text: sum.String(), Small: rail.Netdev}
	if sum.Verdict == Passed && sum.Bandwidth == 0 {
		c.Class, c.Sign = "untested", "·"
	}
	if rail.Netdev != "" {
		c.Title = fmt.Sprintf("%s: %s, %s, GID index %d, MTU %d, packets of %d bytes", r.where(n), rail.Device, rail.IP, rail.GIDIndex, rail.MTU, rail.ActiveMTU)
	}
	if sum.Latency > 0 {
		c.Title += fmt.Sprintf("; %s µs", number(sum.Latency))
	}
	return c
}

// netdevs are the names that a rail has, each once.
func (r *Report) netdevs(rail int) string {
	var names []string
	seen := map[string]bool{}
	for _, n := range r.Nodes {
		if name := r.rail(n.Rank, rail).Netdev; name != "" && !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// matrix has the tests that are of it, each in both halves, so that a row has all
// of a node's.
func (r *Report) matrix(of func(*Test) bool) (m matrix) {
	size := len(r.Nodes)
	cells := make([]cell, size*size)
	counts := map[Verdict]int{}
	for _, t := range r.Tests {
		if !of(t) {
			continue
		}
		counts[t.Verdict]++
		c := r.testCell(t)
		cells[t.From*size+t.To], cells[t.To*size+t.From] = c, c
	}
	for rank, n := range r.Nodes {
		cells[rank*size+rank] = cell{Class: "self"}
		m.Rows = append(m.Rows, pageRow{Rank: rank, Name: n.Name, Cells: cells[rank*size : (rank+1)*size]})
	}
	var sums []string
	for _, v := range []Verdict{Failed, Slow, Apart, Passed} {
		if counts[v] > 0 {
			sums = append(sums, fmt.Sprintf("%d %s", counts[v], v))
		}
	}
	m.Sum = strings.Join(sums, ", ")
	return m
}

func (r *Report) testCell(t *Test) cell {
	from, to := t.ends()[0], t.ends()[1]
	c := cell{Class: string(t.Verdict), Sign: sign(t.Verdict), Title: r.where(from) + " → " + r.where(to) + ": "}
	if t.Error == "" && !t.Cross {
		c.Text, c.Small = number(t.Bandwidth), number(t.Typical)+" µs"
		c.Title += fmt.Sprintf("%s Gbit/s, %s µs (99 %%: %s)", number(t.Bandwidth), number(t.Typical), number(t.Tail))
	} else if t.Error == "" {
		c.Text = number(t.Typical) + " µs"
		c.Title += c.Text
	} else {
		c.Text = string(t.Verdict)
	}
	if len(t.Why) > 0 {
		c.Title += " " + strings.Join(t.Why, "; ")
	}
	return c
}
