package attachment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/pkg/retry"
)

// returnWait bounds the wait for a NIC whose namespace is going away. The
// kernel takes a namespace down in the background (cleanup_net), some tens of
// milliseconds after its last user; until then its NICs cannot be reached.
const returnWait = 5 * time.Second

// softWait is the same for a Soft-RoCE device, which may be gone for good.
const softWait = time.Second

// Between two looks for a NIC.
const (
	firstPause   = 2 * time.Millisecond
	longestPause = 100 * time.Millisecond
)

// ErrOutOfReach says that a NIC is on no namespace that this process can
// enter. It may come back by itself; until then it stays in the journal.
var ErrOutOfReach = errors.New("the NIC is in no reachable network namespace")

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
}

// Return brings a record's NIC back to the host and restores what the host had
// configured: the RDMA device first, then the netdev. It finds both by
// identity, wherever they are and whatever they are called now, and does only
// what is left to do, so it can be repeated after any failure.
//
// The caller holds the NIC's lock, and closes the record when Return succeeds.
// A virtual netdev that the kernel destroyed with its namespace is not there to
// be returned, which is no failure.
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
	place, link, err := w.findNetdev(ctx, pod, r.NIC.Netdev)
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
		if err := w.returnRDMA(ctx, pod, place, *r.NIC.RDMA); err != nil {
			errs = append(errs, fmt.Errorf("return RDMA device %s: %w", r.NIC.RDMA, err))
		}
	}
	if link == nil {
		w.Log.Warn("the NIC ended with its namespace")
		return errors.Join(errs...)
	}
	return errors.Join(append(errs, w.Host.Restore(ctx, place, link, r.Host, w.Log))...)
}

// PodAlive tells whether the namespace of a record's pod is still there.
func PodAlive(r *Record) (bool, error) {
	pod, err := openPod(r)
	if pod != nil {
		pod.Close()
	}
	return pod != nil, err
}

// openPod opens the pod's namespace, nil if it is gone: also when its path
// leads to another namespace by now.
func openPod(r *Record) (*netdev.Namespace, error) {
	ns, err := netdev.OpenNamespace(r.Netns.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if ns.ID != r.Netns.ID {
		ns.Close()
		return nil, nil
	}
	return ns, nil
}

// findNetdev looks for a netdev in the pod, on the host, then everywhere. A
// place other than pod and host is for the caller to close. A nil link without
// an error: a virtual netdev that is gone.
func (w Returner) findNetdev(ctx context.Context, pod *netdev.Namespace, id netdev.Identity) (place *netdev.Namespace, link netlink.Link, err error) {
	ctx, cancel := context.WithTimeout(ctx, returnWait)
	defer cancel()
	err = retry.Until(ctx, firstPause, longestPause, func() (bool, error) {
		for _, place = range []*netdev.Namespace{pod, w.Host} {
			if place == nil {
				continue
			}
			if link, err = place.Link(ctx, id); link != nil || err != nil {
				return true, err
			}
		}
		place, link = findElsewhere(ctx, id)
		return link != nil || !id.Physical(), nil
	})
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = ErrOutOfReach
	}
	return place, link, err
}

func findElsewhere(ctx context.Context, id netdev.Identity) (*netdev.Namespace, netlink.Link) {
	for ns := range netdev.AllNamespaces(ctx) {
		link, err := ns.Link(ctx, id)
		if err != nil || link == nil {
			continue
		}
		if kept, err := netdev.OpenNamespace(ns.Path); err == nil {
			return kept, link
		}
	}
	return nil, nil
}

// returnRDMA brings the RDMA device back. It is with its netdev, in the pod,
// on the host already, or, after a crash between two steps, somewhere else.
func (w Returner) returnRDMA(ctx context.Context, pod, place *netdev.Namespace, device rdma.Device) error {
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

	wait := returnWait
	if device.Soft {
		wait = softWait
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	err = retry.Until(ctx, firstPause, longestPause, func() (bool, error) {
		for _, from := range []*netdev.Namespace{place, w.Host, pod} {
			if from == nil || from == pod && pod == place {
				continue
			}
			if found, err := bringRDMA(device, from, host, from.ID == w.Host.ID); found || err != nil {
				return true, err
			}
		}
		for from := range netdev.AllNamespaces(ctx) {
			if found, err := bringRDMA(device, from, host, from.ID == w.Host.ID); found && err == nil {
				return true, nil
			}
		}
		return false, nil
	})
	switch {
	case ctx.Err() == nil || !errors.Is(err, ctx.Err()):
		return err
	case device.Soft:
		// The Soft-RoCE driver as it is in Linux deletes the device when its
		// netdev changes namespace. Nothing is left to return.
		w.Log.Warn("the Soft-RoCE device is gone", "rdma", device.Name)
		return nil
	}
	return ErrOutOfReach
}

// bringRDMA moves the device to the host if it is in from, and gives it its own
// name back.
func bringRDMA(device rdma.Device, from *netdev.Namespace, host *rdma.Namespace, fromHost bool) (found bool, err error) {
	if !fromHost {
		if found, err := moveRDMA(device, from, host); !found || err != nil {
			return found, err
		}
	}
	link, ok, err := host.Find(device)
	if !ok || err != nil {
		return false, err
	}
	return true, host.Rename(link, device.Name)
}

func moveRDMA(device rdma.Device, from *netdev.Namespace, to *rdma.Namespace) (found bool, err error) {
	there, err := rdma.Open(from.NS)
	if err != nil {
		return false, err
	}
	defer there.Close()
	link, ok, err := there.Find(device)
	if !ok || err != nil {
		return false, err
	}
	return true, there.Move(link, to)
}
