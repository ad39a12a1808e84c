package main

import (
	"fmt"
	"strings"
	"time"
)

// A record is what was done and what came of it, in Markdown, and at the same
// time, shorter, on standard output.
type record struct {
	text           strings.Builder
	begun          time.Time
	passed, failed int
}

func (r *record) say(format string, args ...any) {
	fmt.Printf("[%4ds] %s\n", int(time.Since(r.begun).Seconds()), fmt.Sprintf(format, args...))
}

// chapter opens a part of the story.
func (r *record) chapter(title, text string) {
	r.say("%s", title)
	fmt.Fprintf(&r.text, "\n## %s\n\n", title)
	if text != "" {
		fmt.Fprintf(&r.text, "%s\n\n", text)
	}
}

// shell writes down a command and its output as a terminal shows them.
func (r *record) shell(prompt, command, output string) {
	if !strings.HasSuffix(r.text.String(), "\n\n") { // behind a check
		r.text.WriteString("\n")
	}
	fmt.Fprintf(&r.text, "```\n%s %s\n%s\n```\n\n", prompt, command, strings.TrimRight(output, "\n"))
}

// check writes down whether something holds; no error says that it does.
func (r *record) check(what string, err error) bool {
	if err != nil {
		r.failed++
		r.say("FAIL %s: %v", what, err)
		fmt.Fprintf(&r.text, "- **failed**: %s: %v\n", what, err)
		return false
	}
	r.passed++
	r.say("ok   %s", what)
	fmt.Fprintf(&r.text, "- ok: %s\n", what)
	return true
}
