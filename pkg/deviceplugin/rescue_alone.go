package deviceplugin

import (
	"context"
	"fmt"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/watch"
)

// rescueEvery is the pause between two looks, in case no event announced a
// change.
const rescueEvery = time.Minute

// Rescue restores NICs that came back to the host without a DEL, until ctx ends,
// and does nothing else: for a node on which something else offers them.
func Rescue(ctx context.Context, o Options) error {
	journal, err := attachment.Open(o.StateDir, o.Proc)
	if err != nil {
		return err
	}
	host, err := netdev.CurrentNamespace()
	if err != nil {
		return fmt.Errorf("see the host's links: %w", err)
	}
	i := newInventory(o, journal, host)
	m := newManager(o, i)
	defer closeLater(host, i, &m.abandoned)
	m.rescuer = &rescuer{host: host, journal: journal, log: o.Log, done: m.metrics.rescued}
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		i.Watch(ctx, m.notice)
	}()
	defer func() { <-watching }()
	free := make(chan struct{}, 1)
	free <- struct{}{}
	tick := time.NewTicker(rescueEvery)
	defer tick.Stop()
	for m.notice(); ; {
		select {
		case <-ctx.Done():
			o.Log.Info("stopped")
			return nil
		case <-m.events:
			time.Sleep(watch.Rest(0)) // for those that come with it
		case <-tick.C:
		}
		seen, err := i.Held(ctx)
		failure := fmt.Sprint(err)
		if m.said.News("links", failure) && err != nil && ctx.Err() == nil {
			o.Log.Error("cannot look for NICs that came back", "err", err)
		}
		m.rescue(ctx, seen, free)
	}
}
