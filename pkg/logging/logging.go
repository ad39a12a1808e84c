// Package logging makes a program's log, and keeps it from saying the same
// thing again and again.
//
// It knows how events are written, and what was said last. It must not know
// what the events are about.
package logging

import (
	"fmt"
	"io"
	"log/slog"
)

// New makes a program's logger: one event a line. Level is debug, info, warn
// or error; format is text or json.
func New(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q: use debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("log format %q: use text or json", format)
}
