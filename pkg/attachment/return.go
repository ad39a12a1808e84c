package attachment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/netmanager"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// A Returner is the way back to the host: the undo of every step of an
// attachment.
type Returner struct {
	Journal *Journal
	// Host is the host's namespace.
	Host *netdev.Namespace
	// Who names the caller to those who wait for the lock on RDMA moves.
	Who string
	// Log has the record's NIC and pod as attributes.
	Log *slog.Logger
	// Appear has udev treat a netdev of the host as one that appears now, under
	// the name that it has. It is nil where that is not allowed, or ifupdown
	// has configured the NIC already. For a NIC that appeared under the pod's
	// name, udev does not run ifupdown.
	Appear func(name string) error
}

// Return brings a record's NIC back to the host and restores what the host had
// configured: the RDMA device first, then the netdev. It finds both by
// identity, whatever they are called now, and does only what is left to do, so
// it can be repeated after any failure.
//
// The caller holds the NIC's lock, and closes the record when Return succeeds.
// It also succeeds if there is nothing to return: a virtual netdev that the
// kernel destroyed with its namespace, or a NIC that somebody else has now. A
// NIC whose name another link has counts as returned: the name is owed. So are
// its addresses and routes if the host's network manager restores them, or if
// the host does not take them as it is now.
func (w Returner) Return(ctx context.Context, r *Record) error {
	if !w.Journal.Current(r) {
		return nil // the reboot brought the NIC back
	}
	pod, err := openPod(r)
	if err != nil {
		return err
	}
	if pod != nil {
		defer pod.Close()
	}
	place, link, err := w.find(ctx, pod, r)
	if taken := (*elsewhereError)(nil); errors.As(err, &taken) {
		w.Log.Warn("somebody else has the NIC now; leaving it there", "netns", taken.path)
		return nil
	}
	if err != nil {
		return err
	}
	if place != nil && place != w.Host && place != pod {
		defer place.Close()
	}
	var errs []error
	if pod != nil && len(r.Rules) > 0 {
		errs = append(errs, pod.DeleteRules(r.Rules))
	}
	if r.NIC.RDMAMoved {
		if err := w.returnRDMA(ctx, pod, place, r); err != nil {
			errs = append(errs, fmt.Errorf("return RDMA device %s: %w", r.NIC.RDMA, err))
		}
	}
	if link == nil {
		if pod == nil {
			w.Log.Warn("the NIC was destroyed with its namespace")
		} else {
			w.Log.Warn("the NIC is gone, but its namespace is not: somebody deleted it, or changed everything that identifies it")
		}
		return errors.Join(errs...)
	}
	moved := place != w.Host // else the kernel brought it
	state, managed := hostState(r, link), w.isManaged(r, moved)
	if managed {
		state = state.Bare()
	}
	taken, unset, err := w.Host.Restore(ctx, place, link, r.NIC.Netdev, state, w.Log)
	if refused := (*netdev.MACRefusedError)(nil); errors.As(err, &refused) {
		// Another pod may keep the address for long. From here on it is told by the
		// one that it has.
		w.Log.Warn("the NIC does not take its MAC address back", "mac", state.MAC, "has", refused.Has, "err", refused)
		r.NIC.Netdev.MAC, r.Host.MAC, state.MAC = refused.Has, refused.Has, refused.Has
		taken, unset, err = w.Host.Restore(ctx, place, link, r.NIC.Netdev, state, w.Log)
	}
	r.Back = time.Now().UTC()
	if failed := errors.Join(err, unset); failed != nil && w.isSomebodyElses(ctx, pod, r) {
		// It was on the host, free for all, before we were done.
		w.Log.Warn("the NIC came back, and somebody took it at once; leaving it there", "err", failed)
		return errors.Join(errs...)
	}
	if errs = append(errs, err); taken != nil {
		w.Log.Warn("the NIC is back under a name that is not its own", "because", taken.String())
	}
	if unset != nil {
		w.Log.Warn("the host does not take back all that the NIC had; it will be tried again", "err", unset)
	}
	if taken != nil || managed || unset != nil {
		note := *r
		if !managed {
			note.Host = w.lacking(ctx, r)
		}
		errs = append(errs, w.Journal.Owe(&note))
	}
	if managed && taken == nil {
		if err := w.announce(r); err != nil {
			w.Log.Warn("ifupdown will not configure the NIC", "err", err)
		}
	}
	if err == nil {
		w.remakeSoft(ctx, r)
	}
	return errors.Join(errs...)
}

// lacking is the host's state of a NIC that is back, of its addresses and routes
// only those that it has not.
func (w Returner) lacking(ctx context.Context, r *Record) netdev.State {
	link, err := w.Host.Link(ctx, r.NIC.Netdev, w.Host)
	if link == nil || err != nil {
		return r.Host
	}
	s, err := w.Host.Lacking(ctx, link, r.Host)
	if err != nil {
		return r.Host
	}
	return s
}

// isManaged tells whether a network manager will configure a NIC that comes
// back, so that we must not.
func (w Returner) isManaged(r *Record, moved bool) bool {
	return r.Manager == netmanager.NetworkManager || r.Manager == netmanager.Ifupdown && (moved || w.Appear != nil)
}

// announce has udev run ifupdown for a NIC, which may not have appeared under its
// own name: the kernel brought it back, or the pod had another link of that name.
func (w Returner) announce(r *Record) error {
	if r.Manager != netmanager.Ifupdown || w.Appear == nil {
		return nil
	}
	return w.Appear(r.Host.Name)
}

// Finish does what a Return by the device plugin could not: its container has a
// read-only /proc/sys, and cannot have a NIC appear. The addresses go before it
// appears, because ifupdown must find none. After any other Return there is
// nothing left to do. The caller holds the NIC's lock, and nobody has the NIC.
func (w Returner) Finish(ctx context.Context, r *Record) error {
	if !w.Journal.Current(r) {
		return nil
	}
	link, err := w.Host.Link(ctx, r.NIC.Netdev, w.Host)
	if link == nil || err != nil {
		return err
	}
	err = w.Host.RestoreSysctls(link, r.Host)
	if r.Manager != netmanager.Ifupdown || w.Appear == nil || link.Attrs().Name != r.Host.Name {
		return err
	}
	r.Back = time.Now().UTC()
	if oweErr := w.Journal.Owe(r); oweErr != nil {
		return errors.Join(err, oweErr)
	}
	return errors.Join(err, w.Host.DeleteAddresses(link, r.Host.Addresses), w.announce(r))
}

// dyingWait bounds the wait for the end of a software RDMA device that the
// kernel deletes in the background (ib_unregister_device_queued).
const dyingWait = 200 * time.Millisecond

// remakeSoft recreates the software RDMA device that was on the netdev: the
// kernel's drivers delete theirs when a netdev changes namespace (rxe_notify,
// siw_netdev_event). Such a device has no other state that the host could miss.
func (w Returner) remakeSoft(ctx context.Context, r *Record) {
	device := cmp.Or(r.NIC.RDMA, r.NIC.Soft)
	if device == nil || !device.Soft || device.SoftKind == "" {
		return
	}
	err := func() error {
		host, err := rdma.Open(w.Host.NS)
		if err != nil {
			return err
		}
		defer host.Close()
		wait := time.Duration(0)
		if r.Step == Prepared { // it has only just moved
			wait = dyingWait
		}
		if gone, err := host.IsGone(ctx, *device, wait); !gone || err != nil {
			return err
		}
		link, err := w.Host.Link(ctx, r.NIC.Netdev, w.Host)
		if link == nil || err != nil {
			return err
		}
		w.Log.Info("recreating the NIC's software RDMA device, which the kernel deleted", "rdma", device.Name)
		return host.AddSoft(*device, link.Attrs().Name)
	}()
	if err != nil {
		w.Log.Warn("the NIC's software RDMA device is gone", "rdma", device.Name, "err", err)
	}
}

func (w Returner) isSomebodyElses(ctx context.Context, pod *netdev.Namespace, r *Record) bool {
	place, _, err := w.find(ctx, pod, r)
	if place != nil && place != w.Host && place != pod {
		place.Close()
	}
	taken := (*elsewhereError)(nil)
	return errors.As(err, &taken)
}

// hostState is what the host gets back. If there is another card in the slot,
// it keeps its own address.
func hostState(r *Record, link netlink.Link) netdev.State {
	s := r.Host
	if own := link.Attrs().PermHWAddr.String(); own != r.NIC.Netdev.PermanentMAC && s.MAC == r.NIC.Netdev.PermanentMAC {
		s.MAC = own
	}
	return s
}

// returnRDMA brings the RDMA device back. It is with its netdev, in the pod,
// on the host already, or, after a crash between two steps, somewhere else.
// Wherever that is, it goes with its netdev, which is this attachment's.
func (w Returner) returnRDMA(ctx context.Context, pod, place *netdev.Namespace, r *Record) error {
	lock, err := w.Journal.LockRDMAMoves(ctx, w.Who)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	host, err := rdma.Open(w.Host.NS)
	if err != nil {
		return err
	}
	defer host.Close()

	device, wait := *r.NIC.RDMA, returnWait
	if device.Soft {
		wait = softWait
	}
	see := func(_ context.Context, in *netdev.Namespace) (bool, error) {
		there, err := rdma.Open(in.NS)
		if err != nil {
			return false, err
		}
		defer there.Close()
		_, ok, err := there.Find(device)
		return ok, err
	}
	if place == nil {
		place = pod
	}
	if place != nil { // with its netdev, in most cases
		if ok, err := see(ctx, place); err != nil {
			return err
		} else if ok {
			return w.bringRDMA(device, place, host)
		}
	}
	place, err = w.search(ctx, wait, pod, anywhere, see)
	if device.Soft && errors.Is(err, ErrOutOfReach) {
		return nil // see remakeSoft
	}
	if err != nil {
		return err
	}
	if place != pod && place != w.Host {
		defer place.Close()
	}
	return w.bringRDMA(device, place, host)
}

// bringRDMA moves the device from where it is to the host, and gives it its own
// name back.
func (w Returner) bringRDMA(device rdma.Device, from *netdev.Namespace, host *rdma.Namespace) error {
	if from.ID != w.Host.ID {
		there, err := rdma.Open(from.NS)
		if err != nil {
			return err
		}
		defer there.Close()
		link, ok, err := there.Find(device)
		if !ok || err != nil {
			return errors.Join(err, rdma.ErrNoDevice)
		}
		if err := there.Move(link, host); err != nil {
			return err
		}
	}
	link, ok, err := host.Find(device)
	if !ok || err != nil {
		return errors.Join(err, rdma.ErrNoDevice)
	}
	return host.Rename(link, device.Name)
}
