package kubelet

import (
	"math/rand/v2"
	"time"
)

const (
	// firstPause lets the kubelet finish with the old connection: 1.36 takes
	// the new one down with it if both are there. A kubelet that restarted is
	// not waited for.
	firstPause = 100 * time.Millisecond
	lastPause  = 30 * time.Second
)

// A backoff gives the pauses between attempts: doubling, and of random length,
// so that a node's plugins do not all try at once.
type backoff struct{ pause time.Duration }

// next is between half and all of the current step.
func (b *backoff) next() time.Duration {
	b.pause = min(max(2*b.pause, firstPause), lastPause)
	return b.pause/2 + rand.N(b.pause/2)
}

func (b *backoff) reset() { b.pause = 0 }
