package attachment

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/retry"
)

// returnWait bounds the search for a NIC whose namespace is going away. The
// kernel takes a namespace down in the background (cleanup_net), some tens of
// milliseconds after its last user; until then its NICs cannot be reached.
const returnWait = 5 * time.Second

// softWait is the same for a Soft-RoCE device, which may be gone for good.
const softWait = time.Second

// Between two looks.
const (
	firstPause   = 2 * time.Millisecond
	longestPause = 100 * time.Millisecond
)

// Bounds of a search elsewhere: of each round, and of the look into one
// namespace whose links keep changing.
const (
	elsewhereWait = 4 * time.Second
	lookWait      = 50 * time.Millisecond
)

// deepAfter is how many looks come before those that also search namespaces
// without a process. Such a search takes long, and nearly always the kernel
// just is not done with a namespace yet.
const deepAfter = 6

// ErrOutOfReach says that a NIC is in none of the namespaces that this process
// found and may enter. A physical one may come back by itself; until then it
// stays in the journal.
var ErrOutOfReach = errors.New("the NIC is in no reachable network namespace")

// An elsewhereError says that a NIC is where this attachment cannot have
// brought it: somebody else has it now.
type elsewhereError struct{ path string }

func (e *elsewhereError) Error() string { return "the NIC is in " + e.path }

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
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !r.Netns.is(ns) {
		ns.Close()
		return nil, nil
	}
	return ns, nil
}

// errEnded says that a virtual netdev is gone.
var errEnded = errors.New("the NIC was destroyed with its namespace")

// isVeth tells whether a link of the host is a veth. While it exists, so does
// its peer, wherever the pod put it: the two are destroyed together.
func (w Returner) isVeth(index int) (bool, error) {
	link, err := w.Host.LinkAt(index)
	if errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	return err == nil && link.Type() == "veth", err
}

// find looks for a record's netdev. A place other than pod and host is for the
// caller to close. A nil link without an error means a virtual netdev that is
// gone.
func (w Returner) find(ctx context.Context, pod *netdev.Namespace, r *Record) (place *netdev.Namespace, link netlink.Link, err error) {
	id, wait := r.NIC.Netdev, returnWait
	hasPeer := id.Kind == "veth" && !id.LowerAway
	if !id.Physical() && !hasPeer {
		wait = 0 // it is destroyed with its namespace
		if pod != nil {
			wait = softWait // a pod that runs may move it to and fro between two looks
		}
	}
	place, err = w.search(ctx, wait, pod, func(in *netdev.Namespace) (bool, error) { return w.mayBeIn(r, in) }, func(ctx context.Context, in *netdev.Namespace) (bool, error) {
		id := id
		if pod == nil && !r.isIn(in) {
			id.AwayIndex = 0 // others have that ifindex, too
		}
		found, err := in.Link(ctx, id, w.Host)
		if found != nil {
			link = found
		}
		if found == nil && err == nil && hasPeer && in == w.Host {
			var whole bool
			if whole, err = w.isVeth(id.Lower); err == nil && !whole {
				err = errEnded
			}
		}
		return found != nil, err
	})
	if !id.Physical() && errors.Is(err, ErrOutOfReach) || errors.Is(err, errEnded) {
		return nil, nil, nil
	}
	return place, link, err
}

// search looks until see finds something: in the pod, on the host, and in the
// other namespaces. The error is an *elsewhereError if it is in one where, as
// may says, it cannot be this attachment's. It is ErrOutOfReach only if the
// last look failed in no namespace that this process may enter; otherwise it is
// that failure.
func (w Returner) search(ctx context.Context, wait time.Duration, pod *netdev.Namespace, may func(*netdev.Namespace) (bool, error), see sight) (place *netdev.Namespace, err error) {
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	looks, begun := 0, time.Now()
	var missed error // by the last look
	err = retry.Until(waiting, firstPause, longestPause, func() (bool, error) {
		for _, ns := range []*netdev.Namespace{pod, w.Host} {
			if ns == nil {
				continue
			}
			if found, err := see(ctx, ns); found || err != nil {
				place = ns
				return found, err
			}
		}
		looks++
		var err error
		// If looks take long, there are not that many.
		deep := looks > deepAfter || time.Since(begun) >= wait/2
		place, missed, err = searchElsewhere(ctx, deep, may, see)
		return place != nil, err
	})
	if err != nil && waiting.Err() != nil && errors.Is(err, waiting.Err()) {
		return nil, cmp.Or(missed, ErrOutOfReach)
	}
	return place, err
}

// A sight tells whether something is in a namespace.
type sight func(ctx context.Context, in *netdev.Namespace) (found bool, err error)

// searchElsewhere looks in the other namespaces, where anybody may slow it
// down. The caller closes the place. missed is why it could not look into some
// namespace: what is found nowhere may be there.
func searchElsewhere(ctx context.Context, deep bool, may func(*netdev.Namespace) (bool, error), see sight) (place *netdev.Namespace, missed, err error) {
	ctx, cancel := context.WithTimeout(ctx, elsewhereWait)
	defer cancel()
	for ns, err := range netdev.AllNamespaces(ctx, deep) {
		found := false
		if err == nil {
			found, err = seeBriefly(ctx, ns, see)
		}
		if err != nil {
			missed = err
			continue
		}
		if !found {
			continue
		}
		mine, err := may(ns)
		if err != nil {
			return nil, nil, err
		}
		if !mine {
			return nil, nil, &elsewhereError{ns.Path}
		}
		place, err = netdev.OpenNamespace(ns.Path) // ns is closed after the loop's body
		return place, nil, err
	}
	return nil, missed, nil
}

func seeBriefly(ctx context.Context, ns *netdev.Namespace, see sight) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	return see(ctx, ns)
}

// mayBeIn tells whether a NIC that is in a namespace is still this attachment's
// to bring back: the namespace is the pod's own, or the pod has had the NIC
// and it is neither one that a runtime keeps for a pod nor another
// attachment's.
func (w Returner) mayBeIn(r *Record, in *netdev.Namespace) (bool, error) {
	if r.isIn(in) {
		return true, nil
	}
	if in.Sandbox || r.Step == Prepared && r.NIC.Netdev.AwayIndex == 0 {
		return false, nil
	}
	// Not every runtime gives its namespaces names.
	others, _, err := w.Journal.List()
	return !slices.ContainsFunc(others, func(other *Record) bool {
		return w.Journal.Current(other) && other.Netns.is(in)
	}), err
}

// isIn tells whether a namespace that was found is the pod's own, by whatever
// name: a runtime may pass it by a process, and keep a file elsewhere. Only where
// there are no cookies may another pod's namespace have the inode number by now.
func (r *Record) isIn(found *netdev.Namespace) bool {
	return r.Netns.is(found) && (r.Netns.Cookie != 0 || !found.Sandbox || found.Path == r.Netns.Path)
}

// anywhere is for what goes with a NIC that has been found.
func anywhere(*netdev.Namespace) (bool, error) { return true, nil }
