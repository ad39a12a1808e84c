package config

import (
	"fmt"
	"slices"
	"strings"
)

// A Position is a place in the file; both count from 1. Column counts
// characters.
type Position struct{ Line, Column int }

// An Error is one thing that is wrong with a configuration file.
type Error struct {
	File string
	At   Position
	// Text says what is wrong and what to do about it, on one line.
	Text string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.At.Line, e.At.Column, e.Text)
}

// Errors are all that is wrong with a file, in the order of the file.
type Errors []*Error

// Error is one line: the first error, and how many more there are.
func (e Errors) Error() string {
	switch len(e) {
	case 0:
		return "no errors"
	case 1:
		return e[0].Error()
	}
	return fmt.Sprintf("%v (and %d more; \"rdma-device-plugin validate\" lists them)", e[0], len(e)-1)
}

func (e Errors) sort() {
	slices.SortStableFunc(e, func(a, b *Error) int {
		if a.At.Line != b.At.Line {
			return a.At.Line - b.At.Line
		}
		return a.At.Column - b.At.Column
	})
}

// suggest is the end of a message about a word that is none of the valid ones.
func suggest(word string, valid []string) string {
	best, distance := "", 1+max(2, len(word)/3)
	for _, v := range valid {
		a, b := strings.ToLower(word), strings.ToLower(v)
		d := editDistance(a, b)
		if strings.HasPrefix(a, b) || strings.HasPrefix(b, a) {
			d = min(d, 2)
		}
		if d < distance {
			best, distance = v, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "valid are " + strings.Join(valid, ", ")
}

// editDistance counts the insertions, deletions and replacements that turn a
// into b (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
