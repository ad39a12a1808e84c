package netdev

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/containernetworking/plugins/pkg/ns"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/retry"
)

// A Namespace is an open network namespace with sockets in it. Whatever lists
// something takes a context: such a list is asked for again while others change
// it, see Complete.
type Namespace struct {
	NS netns.NsHandle
	// ID identifies the namespace while it lives: the inode number of its
	// file in nsfs. A later namespace may get the number of one that ended.
	ID uint64
	// Cookie is a number that no other namespace has before the next boot, 0
	// where the kernel gives none (SO_NETNS_COOKIE, Linux 5.14).
	Cookie uint64
	// Path is where it was opened.
	Path string
	// Sandbox: AllNamespaces found it where container runtimes keep those of
	// pods.
	Sandbox bool

	at netns.NsHandle // NS, or None() where that is the caller's
	// route is a socket of NETLINK_ROUTE.
	route *Socket
	// ioctls is a socket for what netlink does not say, -1 until it is needed.
	ioctls  int
	opening sync.Mutex // guards ioctls
}

// OpenNamespace opens the namespace at path, such as /var/run/netns/x or
// /proc/<pid>/ns/net. The error wraps fs.ErrNotExist when the path is gone or
// holds no namespace any more: the file of a deleted `ip netns` namespace may
// outlive its mount.
func OpenNamespace(path string) (*Namespace, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return nil, &fs.PathError{Op: "open network namespace", Path: path, Err: err}
	}
	if st.Type != unix.NSFS_MAGIC {
		return nil, &fs.PathError{Op: "open network namespace", Path: path, Err: fs.ErrNotExist}
	}
	handle, err := netns.GetFromPath(path)
	if err != nil {
		return nil, &fs.PathError{Op: "open network namespace", Path: path, Err: err}
	}
	return newNamespace(handle, handle, path)
}

// CurrentNamespace opens the namespace of the calling process. It needs no
// privilege; entering any other one takes CAP_SYS_ADMIN.
func CurrentNamespace() (*Namespace, error) {
	handle, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("open the current network namespace: %w", err)
	}
	return newNamespace(handle, netns.None(), "/proc/self/ns/net")
}

// newNamespace makes sockets in the namespace at, or where the caller is.
func newNamespace(handle, at netns.NsHandle, path string) (*Namespace, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(handle), &st); err != nil {
		handle.Close()
		return nil, &fs.PathError{Op: "stat network namespace", Path: path, Err: err}
	}
	route, err := openSocket(at, unix.NETLINK_ROUTE)
	if err != nil {
		handle.Close()
		return nil, fmt.Errorf("open a netlink socket in %s: %w", path, err)
	}
	// A kernel without cookies does not have the option.
	cookie, _ := unix.GetsockoptUint64(route.fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	return &Namespace{NS: handle, ID: st.Ino, Cookie: cookie, Path: path, at: at, route: route, ioctls: -1}, nil
}

// Close closes the sockets and the handle on the namespace.
func (n *Namespace) Close() {
	n.route.Close()
	if n.ioctls >= 0 {
		_ = unix.Close(n.ioctls)
	}
	n.NS.Close()
}

// Do runs f inside the namespace, as In does.
func (n *Namespace) Do(f func() error) error { return In(n.NS, f) }

// In runs f on an OS thread inside a namespace, for what the kernel decides by
// the calling thread, such as /proc/sys/net. It is a new thread, unless the
// caller is in that namespace already; that needs no privilege.
func In(handle netns.NsHandle, f func() error) error {
	if IsOwn(handle) {
		return f()
	}
	return ns.WithNetNSPath("/proc/self/fd/"+strconv.Itoa(int(handle)), func(ns.NetNS) error { return f() })
}

// IsOwn tells whether a namespace is that of the calling thread.
func IsOwn(handle netns.NsHandle) bool {
	var st unix.Stat_t
	own := inodeOf("/proc/thread-self/ns/net")
	return own != 0 && unix.Fstat(int(handle), &st) == nil && st.Ino == own
}

// Complete asks for a list until nothing changed while the kernel wrote it:
// what an interrupted list leaves out would not be restored. It pauses in
// between: several callers that only ask would keep each other from ever
// finishing. If ctx ends first, or the changes do not stop, the error says that
// the list kept changing.
func Complete[T any](ctx context.Context, list func() ([]T, error)) (items []T, err error) {
	ctx, cancel := context.WithTimeout(ctx, completeWait)
	defer cancel()
	ended := retry.Until(ctx, time.Millisecond, 50*time.Millisecond, func() (bool, error) {
		items, err = list()
		return !errors.Is(err, netlink.ErrDumpInterrupted), nil
	})
	if ended != nil {
		return nil, fmt.Errorf("%w, until %w", err, ended)
	}
	return items, err
}

// completeWait bounds the wait for a list that keeps changing.
const completeWait = 5 * time.Second

// list asks for all of something.
func (n *Namespace) list(ctx context.Context, command int, about ...nl.NetlinkRequestData) ([][]byte, error) {
	return Complete(ctx, func() ([][]byte, error) {
		return n.route.Request(command, unix.NLM_F_DUMP, about...)
	})
}

// Link finds the netdev with an identity in this namespace; nil if it is not
// there, an error if that cannot be told. host is the host's namespace, in which
// a virtual netdev has its lower device.
func (n *Namespace) Link(ctx context.Context, id Identity, host *Namespace) (found netlink.Link, err error) {
	away, index := n.ID != host.ID, id.Index
	if away && id.AwayIndex != 0 {
		index = id.AwayIndex
	}
	// The ifindex mostly survives a move: one request instead of a dump.
	if first, err := n.LinkAt(index); err == nil { // else all of them are looked at
		hostID, err := n.hostNumber(id, host)
		if err != nil {
			return nil, err
		}
		if id.compare(first, away, hostID) == itself {
			return first, nil
		}
	}
	_, err = Complete(ctx, func() ([][]byte, error) {
		answers, err := n.dumpLinks()
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, err
		}
		hostID, numberErr := n.hostNumber(id, host)
		if numberErr != nil {
			return nil, numberErr
		}
		found = id.among(n.parse(answers), away, hostID)
		if found != nil && id.compare(found, away, hostID) == itself {
			return nil, nil
		}
		return nil, err
	})
	// Whoever makes and deletes links without pause must not keep a search from
	// ending. A list that changed meanwhile has all the links that stayed, as
	// the kernel goes through them by number (rtnl_dump_ifinfo, Linux 6.9;
	// before, it leaves one out now and then): what is in none of many lists is
	// not there.
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list links in %s: %w", n.Path, err)
	}
	return found, nil
}

// hostNumber is the number of the host's namespace in this one, here for none,
// for a netdev that is identified by its lower device. The kernel assigns one
// at the latest when it reports a link that is on one of the host's: so ask
// after that.
func (n *Namespace) hostNumber(id Identity, host *Namespace) (int, error) {
	if n.ID == host.ID || id.Physical() {
		return here, nil
	}
	return n.numberOf(host.NS)
}

// LinkNamed finds a link by its name or one of its alternative names; nil if
// there is none. One that has left does not count, see linkNamed.
func (n *Namespace) LinkNamed(name string) (netlink.Link, error) {
	link, err := n.linkNamed(name)
	if link == nil || err != nil || !slices.Contains(link.Attrs().AltNames, name) {
		return link, err
	}
	here, err := n.LinkAt(link.Attrs().Index)
	if errors.Is(err, unix.ENODEV) || err == nil && !slices.Contains(here.Attrs().AltNames, name) {
		return nil, nil
	}
	return here, err
}

// linkNamed is what the kernel finds by a name. Before Linux 6.6 that may be a
// link which has left: the alternative names that it got here stay behind, and
// are not found where it is now (dev_change_net_namespace). No other link can
// have such a name here.
func (n *Namespace) linkNamed(name string) (netlink.Link, error) {
	kind := unix.IFLA_IFNAME
	if len(name) >= unix.IFNAMSIZ {
		kind = unix.IFLA_ALT_IFNAME
	}
	answer, err := n.getLink(0, nl.NewRtAttr(kind, nl.ZeroTerminated(name)))
	if errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up link %s in %s: %w", name, n.Path, err)
	}
	return n.parseLink(answer)
}

// LinkAt returns the link with an ifindex.
func (n *Namespace) LinkAt(index int) (netlink.Link, error) {
	answer, err := n.getLink(index)
	if err != nil {
		return nil, fmt.Errorf("look up link %d in %s: %w", index, n.Path, err)
	}
	return n.parseLink(answer)
}

// SetUp sets a link up.
func (n *Namespace) SetUp(link netlink.Link) error {
	return n.Apply(link.Attrs().Index, Change{Flags: unix.IFF_UP, Which: unix.IFF_UP})
}

// setDown sets a link down.
func (n *Namespace) setDown(index int) error {
	return n.Apply(index, Change{Which: unix.IFF_UP})
}
