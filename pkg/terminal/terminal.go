// Package terminal makes words of others fit to be printed on a terminal, and to
// be pasted into a shell.
//
// It knows what terminals and shells take for more than text, and how words stand
// in columns. It must not know what the words are about.
package terminal

import (
	"strings"
	"unicode"
)

// Plain is text that a terminal shows on one line, and does nothing else: what
// moves the cursor or turns the direction of writing is replaced.
func Plain(text string) string {
	text = strings.ReplaceAll(text, "\n", "; ")
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// inWords are what a shell takes as it is.
const inWords = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.@:/*-"

// IsWord tells whether Word leaves a text as it is.
func IsWord(text string) bool { return text != "" && strings.Trim(text, inWords) == "" }

// Word is text as one word for a shell, in quotes if it needs them. What may be a
// pattern is left one.
func Word(text string) string {
	if IsWord(text) {
		return text
	}
	return "'" + strings.ReplaceAll(Plain(text), "'", `'\''`) + "'"
}
