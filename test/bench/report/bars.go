package report

import (
	"fmt"
	"strings"
)

// The colours of ours, of what it is measured against, and of what nobody can
// save.
const (
	Ours   = "#0b6e4f"
	Theirs = "#b5523b"
	Floor  = "#999999"
)

// A Bar is a figure in a chart.
type Bar struct {
	Colour string
	Value  float64
}

// A Group is what is compared: bars under one name.
type Group struct {
	Name string
	Bars []Bar
}

// Bars draws groups one below the other, all to one scale. The legend names the
// colours of ours, theirs and the floor, of those that are there.
func Bars(legend [3]string, groups []Group) string {
	const (
		left, width, height = 170, 420, 14
		full                = left + width + 60
	)
	longest := 0.0
	for _, g := range groups {
		for _, b := range g.Bars {
			longest = max(longest, b.Value)
		}
	}
	var b strings.Builder
	y := 20
	for _, g := range groups {
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", left-8, y+len(g.Bars)*height/2+4, g.Name)
		for _, bar := range g.Bars {
			w := bar.Value / longest * width
			fmt.Fprintf(&b, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/><text x=\"%.1f\" y=\"%d\">%s</text>\n",
				left, y, w, height-2, bar.Colour, left+w+4, y+height-3, Number(bar.Value))
			y += height
		}
		y += height
	}
	for i, colour := range []string{Ours, Theirs, Floor} {
		if legend[i] == "" {
			continue
		}
		x := left + 150*i
		fmt.Fprintf(&b, "<rect x=\"%d\" y=\"%d\" width=\"12\" height=\"12\" fill=\"%s\"/><text x=\"%d\" y=\"%d\">%s</text>\n",
			x, y, colour, x+18, y+11, legend[i])
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">
<rect width="%d" height="%d" fill="white"/>
%s</svg>
`, full, y+30, full, y+30, &b)
}
