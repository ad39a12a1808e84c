package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/suggest"
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

// suggestion is the end of a message about a word that is none of the valid ones.
func suggestion(word string, valid []string) string {
	if meant, ok := suggest.Nearest(word, valid); ok {
		return fmt.Sprintf("did you mean %q?", meant)
	}
	return "valid are " + strings.Join(valid, ", ")
}
