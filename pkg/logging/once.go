package logging

import (
	"maps"
	"time"
)

// Once is what was last said about each subject, for code that looks at
// something again and again and logs only what is new. Deleting a subject
// forgets what was said about it. It is for one goroutine.
type Once map[string]string

// News tells whether a message about a subject differs from the last one, and
// remembers it. The message "" means that all is well.
func (o Once) News(subject, message string) bool {
	news := o[subject] != message
	o[subject] = message
	return news
}

// Seldom is Once for what comes and goes: a message that was said about a subject
// is not said again within a pause, even if all was well meanwhile. It is for one
// goroutine.
type Seldom struct {
	pause time.Duration
	last  map[string]saying
}

type saying struct {
	message string
	at      time.Time
	over    bool // all has been well since
}

// NewSeldom makes one.
func NewSeldom(pause time.Duration) *Seldom {
	return &Seldom{pause: pause, last: map[string]saying{}}
}

// News tells whether to say a message about a subject. The message "" means that
// all is well, and is never said.
func (s *Seldom) News(subject, message string) bool {
	last := s.last[subject]
	if message == "" {
		last.over = true
		s.last[subject] = last
		return false
	}
	if last.message == message && (!last.over || time.Since(last.at) < s.pause) {
		last.over = false
		s.last[subject] = last
		return false
	}
	s.last[subject] = saying{message: message, at: time.Now()}
	return true
}

// Keep forgets what was said about all subjects but some.
func (s *Seldom) Keep(subjects map[string]bool) {
	maps.DeleteFunc(s.last, func(subject string, _ saying) bool { return !subjects[subject] })
}
