package main

import (
	"strings"
	"unicode/utf8"
)

// table pads the cells of each row to their column's widest one, and cuts
// what is longer than the column's limit. The last column is flush right.
func table(rows [][]string, limits []int) []string {
	widths := make([]int, len(limits))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], min(utf8.RuneCountInString(cell), limits[i]))
		}
	}
	var lines []string
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			if runes := []rune(cell); len(runes) > limits[i] {
				cell = string(runes[:limits[i]-1]) + "…"
			}
			padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == len(row)-1 {
				line.WriteString(padding + cell)
			} else {
				line.WriteString(cell + padding + "  ")
			}
		}
		lines = append(lines, strings.TrimRight(line.String(), " "))
	}
	return lines
}

// wrap breaks each line of a text that is too long between words.
func wrap(text string, width int, indent string) string {
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		for first := true; ; first = false {
			room := width
			if !first {
				room -= len(indent)
			}
			at := breakAt(line, room)
			if !first {
				lines = append(lines, indent+line[:at])
			} else {
				lines = append(lines, line[:at])
			}
			if line = strings.TrimLeft(line[at:], " \t"); line == "" {
				break
			}
		}
	}
	return strings.Join(lines, "\n")
}

// breakAt is where a line is to end so that it fits: at a space, or where it
// ends by itself.
func breakAt(line string, room int) int {
	if utf8.RuneCountInString(line) <= room {
		return len(line)
	}
	last := strings.LastIndexAny(line[:min(room+1, len(line))], " \t")
	if strings.TrimSpace(line[:max(last, 0)]) == "" {
		if last = strings.IndexAny(strings.TrimLeft(line, " \t"), " \t"); last < 0 {
			return len(line)
		}
		last += len(line) - len(strings.TrimLeft(line, " \t"))
	}
	return last
}
