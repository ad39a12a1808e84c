package deviceplugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// rescueAgain is the pause after a rescue that failed, which doubles up to
// rescueLongest: mostly udev or a network manager was at the same NIC, and is
// done by then.
const (
	rescueAgain   = time.Second
	rescueLongest = 30 * time.Second
)

// A rescuer restores a NIC's state on the host when the kernel, and not the CNI
// plugin, brought it there: its namespace died without a DEL, and it is down,
// under its name in the pod or one that the kernel picked.
//
// The record stays, marked as returned, until the CNI plugin has freed the
// address: by a DEL, a GC or the NIC's next ADD.
type rescuer struct {
	host    *netdev.Namespace
	journal *attachment.Journal
	log     *slog.Logger
	// done is told how each rescue ended.
	done func(error)
	// failed are the rescues to be tried again, by container and interface.
	failed map[string]failedRescue
}

type failedRescue struct {
	pause time.Duration
	again time.Time
}

// rescue brings back what is stranded. A CNI operation on the same container or NIC
// goes first: after it there may be nothing left to do. next is when there is
// something to try again, the zero time if there is not.
func (r *rescuer) rescue(ctx context.Context, records []*attachment.Record) (next time.Time) {
	before := r.failed
	r.failed = map[string]failedRescue{}
	for _, record := range records {
		id := record.ContainerID + "@" + record.IfName
		last := before[id]
		if time.Now().Before(last.again) {
			r.failed[id] = last
			next = earlier(next, last.again)
			continue
		}
		rescued, err := r.one(ctx, record)
		switch {
		case ctx.Err() != nil:
			return time.Time{}
		case err != nil:
			pause := min(max(2*last.pause, rescueAgain), rescueLongest)
			again := time.Now().Add(pause)
			r.failed[id] = failedRescue{pause, again}
			next = earlier(next, again)
			if busy := (*attachment.HeldError)(nil); errors.As(err, &busy) && pause < rescueLongest {
				continue // whoever holds it brings the NIC where it belongs, unless it hangs
			}
			r.log.Error("could not restore a NIC that came back without its state", "nic", record.Host.Name,
				"was", record.Holder(), "again", pause.String(), "err", err)
		case rescued:
			r.log.Warn("rescued a NIC whose namespace ended without a DEL", "nic", record.Host.Name, "was", record.Holder())
		default:
			continue
		}
		r.done(err)
	}
	return next
}

// earlier is the earlier of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (r *rescuer) one(ctx context.Context, seen *attachment.Record) (rescued bool, err error) {
	lock, err := r.journal.TryContainer(seen.ContainerID, rescuing)
	if err != nil {
		return false, err
	}
	defer lock.Unlock()
	record, _, err := r.journal.Read(seen.ID()) // the inventory reports bad files
	if err != nil {
		return false, err
	}
	if record == nil || !r.journal.Current(record) || record.Step == attachment.Returned {
		return false, nil
	}
	if record.NIC.Netdev.ToldByMAC() {
		// The kernel brings none back, and whoever can make a link on the host can
		// give it that address. DEL and ADD can look into the pod; we cannot.
		return false, nil
	}
	nic, err := r.journal.TryNIC(record.NIC.Netdev.Key(), record.Host.Name, rescuing)
	if err != nil {
		return false, err
	}
	defer nic.Unlock()
	link, err := r.host.Link(ctx, record.NIC.Netdev, r.host)
	if err != nil || link == nil {
		return false, err
	}
	if err := r.way(record).Return(ctx, record); err != nil {
		return false, err
	}
	record.Step = attachment.Returned
	if err := r.journal.Update(record); err != nil {
		return false, fmt.Errorf("write down that it is back: %w", err)
	}
	return true, nil
}

// rescuing names this program to those who wait for its locks.
const rescuing = "rdma-device-plugin, rescuing"

func (r *rescuer) way(record *attachment.Record) attachment.Returner {
	return attachment.Returner{
		Journal: r.journal, Host: r.host, Who: rescuing,
		Log: r.log.With("nic", record.Host.Name, "pod", record.Pod.String()),
	}
}
