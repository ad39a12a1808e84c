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

// A Cost is what a mistake in a file costs: as little as possible, because one
// entry must not take a node's other resources away.
type Cost int

const (
	// LeftOut means that the resource is left out; a plugin that starts serves the
	// others. What it should do with the rest of the entry is anybody's guess.
	LeftOut Cost = iota
	// Ignored means that what is wrong is ignored, and the rest means the same without
	// it.
	Ignored
	// Nothing is the cost of what is not a mistake, but may be meant
	// differently.
	Nothing
)

// An Error is one thing that is wrong with a configuration file.
type Error struct {
	File string
	At   Position
	// Text says what is wrong and what to do about it, on one line.
	Text string
	Cost Cost
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

// Mistakes are those that cost something.
func (e Errors) Mistakes() Errors {
	return slices.DeleteFunc(slices.Clone(e), func(e *Error) bool { return e.Cost == Nothing })
}

// Notes are those that cost nothing.
func (e Errors) Notes() Errors {
	return slices.DeleteFunc(slices.Clone(e), func(e *Error) bool { return e.Cost != Nothing })
}

// LeftOut are those that cost a resource.
func (e Errors) LeftOut() Errors {
	return slices.DeleteFunc(slices.Clone(e), func(e *Error) bool { return e.Cost != LeftOut })
}

func (e Errors) sort() {
	slices.SortStableFunc(e, func(a, b *Error) int {
		if a.At.Line != b.At.Line {
			return a.At.Line - b.At.Line
		}
		return a.At.Column - b.At.Column
	})
}

// suggestion is the end of a message about a word that is not a valid one.
func suggestion(word string, valid []string) string {
	if meant, ok := suggest.Nearest(word, valid); ok {
		return fmt.Sprintf("did you mean %q?", meant)
	}
	return "use one of " + strings.Join(valid, ", ")
}
