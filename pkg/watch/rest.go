package watch

import "time"

const (
	// coalesce is how long to wait after an event for the others that come with
	// it: one NIC that moves is a dozen of them.
	coalesce = 50 * time.Millisecond
	// busyShare bounds the time spent on looks while events keep coming: one part
	// in busyShare.
	busyShare = 10
	// longestRest bounds the pause all the same: who is as slow as that, for once
	// or for good, is not to be left behind by minutes. It is no shorter, because
	// two programs of ours look at a node, and where looks take seconds a pod that
	// starts needs the processor itself.
	longestRest = 30 * time.Second
)

// Rest is the pause before the next look that an event asks for; the last one took
// so long.
func Rest(last time.Duration) time.Duration { return max(coalesce, min(busyShare*last, longestRest)) }
