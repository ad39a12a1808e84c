package inventory

import (
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// links are the host's, to be looked up.
type links struct {
	byName  map[string]netlink.Link
	byIndex map[int]netlink.Link
}

func newLinks(all []netlink.Link) links {
	l := links{byName: map[string]netlink.Link{}, byIndex: map[int]netlink.Link{}}
	for _, link := range all {
		l.byName[link.Attrs().Name] = link
		l.byIndex[link.Attrs().Index] = link
	}
	return l
}

// have tells whether all of these netdevs are among the links.
func (l links) have(netdevs []string) bool {
	return !slices.ContainsFunc(netdevs, func(name string) bool { return l.byName[name] == nil })
}

// carrier tells whether a link has a carrier, or its bond does: a bond has one
// while any of its ports has, and with it the RDMA device that the driver makes
// for all of them on the function of the first.
func (l links) carrier(link netlink.Link) bool {
	if hasCarrier(link) {
		return true
	}
	switch master := l.byIndex[link.Attrs().MasterIndex]; {
	case master == nil:
		return false
	case master.Type() == "bond", master.Type() == "team":
		return hasCarrier(master)
	}
	return false
}

func hasCarrier(link netlink.Link) bool { return link.Attrs().RawFlags&unix.IFF_LOWER_UP != 0 }
