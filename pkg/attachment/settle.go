package attachment

import (
	"context"
	"errors"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/netmanager"
)

// SettleDue gives NICs that are on the host what is owed to them and due: their
// own name, if that is free by now, and what their network manager has not
// restored. owed are the notes, way is the way back for each. next is when the
// next of them falls due, zero if none does.
//
// No command asked for it, so it waits for no lock, and a failure is only
// logged: the note stays for the next try.
func SettleDue(ctx context.Context, owed []*Record, way func(*Record) Returner) (next time.Time) {
	for _, note := range owed {
		if due := note.Due(); time.Now().Before(due) {
			if next.IsZero() || due.Before(next) {
				next = due
			}
			continue
		}
		w := way(note)
		if err := w.settle(ctx, note); err != nil && ctx.Err() == nil {
			w.Log.Warn("cannot give the NIC everything that is owed to it yet", "err", err)
		}
	}
	return next
}

// settle is SettleDue for one NIC. The note may have changed by the time the
// NIC is locked, so it is read again.
func (w Returner) settle(ctx context.Context, note *Record) error {
	lock, err := w.Journal.TryNIC(note.NIC.Netdev.Key(), note.Host.Name, w.Who)
	if busy := (*HeldError)(nil); errors.As(err, &busy) {
		return nil // a pod gets it, or somebody else settles it
	}
	if err != nil {
		return err
	}
	defer lock.Unlock()
	r, err := w.Journal.stillOwed(note)
	if r == nil || err != nil || time.Now().Before(r.Due()) {
		return err
	}
	link, err := w.Host.Link(ctx, r.NIC.Netdev, w.Host)
	if link == nil || err != nil {
		return err
	}
	configured := w.settleConfiguration(ctx, r, link)
	taken, err := w.Host.RestoreNames(ctx, link, r.NIC.Netdev, r.Host)
	if err := errors.Join(configured, err); err != nil {
		return err
	}
	if taken == nil {
		w.Log.Info("the NIC has everything back that was owed to it")
		return w.Journal.Settle(r)
	}
	return nil
}

// settleConfiguration adds what a NIC's network manager has not restored, or what
// the host did not take, once.
func (w Returner) settleConfiguration(ctx context.Context, r *Record, link netlink.Link) error {
	managed := r.Manager != netmanager.None
	if !managed && r.Host.IsBare() {
		return nil
	}
	// If a manager's NIC is late, what it has by now is how the host wants it.
	missing, err := w.Host.AddMissing(ctx, link, r.Host, managed && time.Since(r.Back) > 2*managerWait)
	if err != nil {
		return err
	}
	if managed && missing > 0 {
		w.Log.Warn("the host's network manager did not restore everything that the NIC had; the rest is restored from the journal", "manager", r.Manager, "missing", missing)
	}
	r.Manager, r.Host = netmanager.None, r.Host.Bare()
	return w.Journal.Owe(r) // the name may be owed for long
}
