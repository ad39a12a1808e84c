package counters

import (
	"context"
	"errors"
	"sync"
	"time"
)

// longestCall is how long a call into a driver may take. Reading all counters of
// a device takes some milliseconds; a driver whose firmware no longer answers
// keeps the caller for a minute, or for ever.
const longestCall = time.Second

// A patience bounds calls that may never return. What did not return in time is
// not called again before it does, so that each subject keeps one goroutine at
// most.
type patience struct {
	longest time.Duration

	mu     sync.Mutex
	absent map[string]bool // subjects of calls that have not returned
	calls  sync.WaitGroup
}

func newPatience() *patience { return &patience{longest: longestCall, absent: map[string]bool{}} }

var (
	// errSilent: the call did not return in the time that it had, or an earlier
	// one still has not.
	errSilent = errors.New("the kernel does not answer in time")
	// errNoTime says nothing of the subject: others took the time.
	errNoTime = errors.New("no time was left")
)

// try calls f, which concerns a subject. One subject is for one caller at a time.
func try[T any](ctx context.Context, p *patience, subject string, f func() T) (answer T, err error) {
	if ctx.Err() != nil {
		return answer, errNoTime
	}
	if !p.leave(subject) {
		return answer, errSilent
	}
	done := make(chan T, 1)
	p.calls.Go(func() {
		answer := f()
		p.back(subject) // before the next call can be made
		done <- answer
	})
	timer := time.NewTimer(p.longest)
	defer timer.Stop()
	select {
	case answer = <-done:
		return answer, nil
	case <-timer.C:
		return answer, errSilent
	case <-ctx.Done():
		return answer, errNoTime
	}
}

func (p *patience) leave(subject string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.absent[subject] {
		return false
	}
	p.absent[subject] = true
	return true
}

func (p *patience) back(subject string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.absent, subject)
}
