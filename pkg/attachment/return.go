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
)

// returnWait bounds the wait for a NIC whose namespace is going away. The
// kernel takes a namespace down in the background (cleanup_net), some tens of
// milliseconds after its last user; until then its NICs cannot be reached.
const returnWait = 5 * time.Second

// softWait is the same for a Soft-RoCE device, which may be gone for good.
const softWait = time.Second

// ErrOutOfReach says that a NIC is on no namespace that this process can
// enter. It may come back by itself; until then it stays in the journal.
var ErrOutOfReach = errors.New("the NIC is in no reachable network namespace")

// Return brings a record's NIC back to the host and restores what the host had
// configured: the RDMA device first, then the netdev. It finds both by
// identity, wherever they are and whatever they are called now, and does only
// what is left to do, so it can be repeated after any failure. It is the undo
// of every step of an attachment.
//
// The caller holds the NIC's lock, and closes the record when Return succeeds.
// host is the host's namespace; who names the caller to those who wait for the
// lock on RDMA moves. A virtual netdev that the kernel destroyed with its
// namespace is not there to be returned, which is no error.
func (j *Journal) Return(ctx context.Context, host *netdev.Namespace, r *Record, who string, log *slog.Logger) error {
	if !j.Current(r) {
		return nil // the reboot brought the NIC back
	}
	pod, err := openPod(r)
	if err != nil {
		return err
	}
	if pod != nil {
		defer pod.Close()
	}
	place, link, err := findNetdev(ctx, host, pod, r.NIC.Netdev)
	if err != nil {
		return fmt.Errorf("%s: %w", r.Host.Name, err)
	}
	if place != nil && place != host && place != pod {
		defer place.Close()
	}
	var errs []error
	if pod != nil && len(r.Rules) > 0 {
		errs = append(errs, pod.DeleteRules(r.Rules))
	}
	if r.NIC.RDMAMoved {
		if err := j.returnRDMA(ctx, host, pod, place, r, who, log); err != nil {
			errs = append(errs, fmt.Errorf("%s: return RDMA device %s: %w", r.Host.Name, r.NIC.RDMA, err))
		}
	}
	if link == nil {
		log.Warn("the NIC ended with its namespace", "nic", r.Host.Name, "pod", r.Pod.String())
		return errors.Join(errs...)
	}
	if err := host.Restore(place, link, r.Host); err != nil {
		errs = append(errs, fmt.Errorf("%s: %w", r.Host.Name, err))
	}
	return errors.Join(errs...)
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
func findNetdev(ctx context.Context, host, pod *netdev.Namespace, id netdev.Identity) (*netdev.Namespace, netlink.Link, error) {
	ctx, cancel := context.WithTimeout(ctx, returnWait)
	defer cancel()
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		for _, ns := range []*netdev.Namespace{pod, host} {
			if ns == nil {
				continue
			}
			if link, err := ns.Link(id); link != nil || err != nil {
				return ns, link, err
			}
		}
		if ns, link := findElsewhere(id); link != nil {
			return ns, link, nil
		}
		if !id.Physical() {
			return nil, nil, nil
		}
		select {
		case <-ctx.Done():
			return nil, nil, ErrOutOfReach
		case <-time.After(pause):
		}
	}
}

func findElsewhere(id netdev.Identity) (*netdev.Namespace, netlink.Link) {
	for ns := range netdev.AllNamespaces() {
		link, err := ns.Link(id)
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
func (j *Journal) returnRDMA(ctx context.Context, host, pod, place *netdev.Namespace, r *Record, who string, log *slog.Logger) error {
	lock, err := j.LockRDMAMoves(ctx, who)
	if err != nil {
		return err
	}
	defer lock.Unlock()

	device := *r.NIC.RDMA
	wait := returnWait
	if r.NIC.RDMA.Soft {
		wait = softWait
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		for _, ns := range []*netdev.Namespace{place, host, pod} {
			if ns == nil {
				continue
			}
			moved, err := moveRDMA(device, ns, host)
			if err != nil {
				return err
			}
			if moved {
				return rdma.Rename(device, host.NS, device.Name)
			}
		}
		for ns := range netdev.AllNamespaces() {
			if moved, err := moveRDMA(device, ns, host); err == nil && moved {
				return rdma.Rename(device, host.NS, device.Name)
			}
		}
		select {
		case <-ctx.Done():
			if r.NIC.RDMA.Soft {
				// The Soft-RoCE driver as it is in Linux deletes the device
				// when its netdev changes namespace. Nothing is left to return.
				log.Warn("the Soft-RoCE device is gone", "nic", r.Host.Name, "rdma", r.NIC.RDMA.Name)
				return nil
			}
			return ErrOutOfReach
		case <-time.After(pause):
		}
	}
}

// moveRDMA moves the device to the host if it is in ns.
func moveRDMA(device rdma.Device, ns, host *netdev.Namespace) (bool, error) {
	_, ok, err := rdma.Find(ns.NS, device)
	if !ok || err != nil || ns.ID == host.ID {
		return ok, err
	}
	return true, rdma.Move(device, ns.NS, host.NS)
}
