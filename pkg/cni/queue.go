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

// errSilent is for those that are not asked for any more.
var errSilent = errors.New("not asked: it did not answer in time about another NIC")

// An ipamQueue is how the NICs of one call ask their IPAM plugins for the same
// command.
type ipamQueue struct {
	lanes  chan struct{}
	silent sync.Map // the plugins that did not answer in time
}

func newIPAMQueue() *ipamQueue { return &ipamQueue{lanes: make(chan struct{}, lanes)} }

// ask runs an IPAM plugin when it is the NIC's turn, and bounds its answer from
// then on. A plugin that does not answer in time is not asked for the other NICs
// (errSilent), or a call would take that time for each. DHCP has no turns: its
// server is waited for, not a lock.
func (q *ipamQueue) ask(ctx context.Context, ipam string, timeout time.Duration, exec func(context.Context) error) error {
	if ipam != ipamInPod {
		q.lanes <- struct{}{}
		defer func() { <-q.lanes }()
	}
	if _, silent := q.silent.Load(ipam); silent {
		return errSilent
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := exec(ctx)
	if err != nil && ctx.Err() != nil {
		q.silent.Store(ipam, nil)
	}
	return err
}
