package cni

import (
	"context"
	"errors"
	"sync"
	"time"
)

// lanes is for how many NICs of one call an IPAM plugin is asked at a time. It
// hands out addresses one by one, under a lock: Whereabouts under a lease of the
// whole cluster, for which whoever waits asks again every half second. So all at
// once take longer than one after another. With two, one starts while the other
// has the lock.
const lanes = 2

// errNoTimeToAsk is for those whose turn comes too late.
var errNoTimeToAsk = errors.New("not asked: with the call's other NICs it took all the time that it has")

// An ipamQueue is how the NICs of one call ask their IPAM plugins for the same
// command.
type ipamQueue struct {
	lanes     chan struct{}
	turn, all time.Duration

	mutex  sync.Mutex
	asking int // those that wait for their turn, too
	until  time.Time
}

// newIPAMQueue makes one that gives each NIC a turn of so long at most, and so
// long to all who ask at the same time.
func newIPAMQueue(turn, all time.Duration) *ipamQueue {
	return &ipamQueue{lanes: make(chan struct{}, lanes), turn: turn, all: all}
}

// ask runs an IPAM plugin when it is the NIC's turn. The error is errNoTimeToAsk
// if the others left no time for it: one that hangs must not take its time from
// the call for each NIC. DHCP has no turns: its server is waited for, not a lock.
func (q *ipamQueue) ask(ctx context.Context, ipam string, exec func(context.Context) error) error {
	until := q.join()
	defer q.leave()
	if ipam != ipamInPod {
		q.lanes <- struct{}{}
		defer func() { <-q.lanes }()
	}
	if !time.Now().Before(until) {
		return errNoTimeToAsk
	}
	ctx, cancelAll := context.WithDeadline(ctx, until)
	defer cancelAll()
	ctx, cancel := context.WithTimeout(ctx, q.turn)
	defer cancel()
	return exec(ctx)
}

func (q *ipamQueue) join() (until time.Time) {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	if q.asking++; q.asking == 1 {
		q.until = time.Now().Add(q.all)
	}
	return q.until
}

func (q *ipamQueue) leave() {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	q.asking--
}
