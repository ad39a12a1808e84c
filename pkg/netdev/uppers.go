package netdev

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// An Upper is a netdev on top of another one: a VLAN, a macvlan.
type Upper struct{ Kind, Name string }

func (u Upper) String() string { return u.Kind + " " + u.Name }

// Uppers lists the netdevs of the namespace that are on top of a link. It asks
// for all links, of which a node has hundreds, and so reads no more of each
// than it needs.
func (n *Namespace) Uppers(ctx context.Context, link netlink.Link) (uppers []Upper, err error) {
	answers, err := n.listLinks(ctx)
	if err != nil {
		return nil, fmt.Errorf("list links in %s: %w", n.Path, err)
	}
	for _, answer := range answers {
		if s := stackingOf(answer); s.on == link.Attrs().Index && s.where == here {
			uppers = append(uppers, s.Upper)
		}
	}
	return uppers, nil
}

// A Tunnel is a netdev that sends from an address, by whatever NIC has it.
type Tunnel struct {
	Upper
	From netip.Addr
}

// Tunnels lists those of the namespace that have an address of their own to send
// from, and no NIC named.
func (n *Namespace) Tunnels(ctx context.Context) ([]Tunnel, error) {
	answers, err := n.listLinks(ctx)
	if err != nil {
		return nil, fmt.Errorf("list links in %s: %w", n.Path, err)
	}
	return tunnelsIn(answers), nil
}

func tunnelsIn(answers [][]byte) (tunnels []Tunnel) {
	local := localAddresses()
	for _, answer := range answers {
		info := valueAt(ofLink(answer), unix.IFLA_LINKINFO)
		for _, kind := range local[unix.ByteSliceToString(valueAt(info, nl.IFLA_INFO_KIND))] {
			if from := Addr(valueAt(info, nl.IFLA_INFO_DATA, kind)); from.IsValid() && !from.IsUnspecified() {
				tunnels = append(tunnels, Tunnel{stackingOf(answer).Upper, from})
			}
		}
	}
	return tunnels
}

// localAddresses are the attributes with the address that a tunnel sends from, by
// its kind.
func localAddresses() map[string][]uint16 {
	ip, gre, vti := []uint16{nl.IFLA_IPTUN_LOCAL}, []uint16{nl.IFLA_GRE_LOCAL}, []uint16{nl.IFLA_VTI_LOCAL}
	return map[string][]uint16{
		"vxlan": {nl.IFLA_VXLAN_LOCAL, nl.IFLA_VXLAN_LOCAL6},
		"ipip":  ip, "sit": ip, "ip6tnl": ip,
		"gre": gre, "gretap": gre, "ip6gre": gre, "ip6gretap": gre, "erspan": gre, "ip6erspan": gre,
		"vti": vti, "vti6": vti,
	}
}

// A Stacked is a netdev on top of another one, wherever it is.
type Stacked struct {
	Netns uint64 `json:"netns"` // as Namespace.ID
	Index int    `json:"index"` // its ifindex there
}

// Stacked lists what is on top of a link of this namespace, here and in all others
// that this process can reach.
func (n *Namespace) Stacked(ctx context.Context, link netlink.Link) (all []Stacked, err error) {
	answers, err := n.listLinks(ctx)
	if err != nil {
		return nil, fmt.Errorf("list links in %s: %w", n.Path, err)
	}
	add := func(in *Namespace, answers [][]byte, number int) {
		for _, answer := range answers {
			if s := stackingOf(answer); s.on == link.Attrs().Index && s.where == number {
				all = append(all, Stacked{in.ID, s.index})
			}
		}
	}
	add(n, answers, here)
	for other := range n.uppersElsewhere(ctx, link) {
		answers, err := other.dumpLinks()
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			continue // it ended since
		}
		if number, err := other.numberOf(n.NS); err == nil && number != here {
			add(other, answers, number)
		}
	}
	return all, nil
}

// A stacking is a netdev and what it is on.
type stacking struct {
	Upper
	index int
	on    int // an ifindex, 0 for nothing
	where int // the number of the namespace of on
}

// here is no namespace's number.
const here = -1

func stackingOf(answer []byte) stacking {
	attributes := ofLink(answer)
	info := valueAt(attributes, unix.IFLA_LINKINFO)
	s := stacking{
		Upper: Upper{
			Kind: unix.ByteSliceToString(valueAt(info, nl.IFLA_INFO_KIND)),
			Name: unix.ByteSliceToString(valueAt(attributes, unix.IFLA_IFNAME)),
		},
		index: int(nl.DeserializeIfInfomsg(answer).Index), where: here,
	}
	pair := s.Kind == "veth" || s.Kind == "netkit" || s.Kind == "vxcan" // is "on" its peer
	on := valueAt(attributes, unix.IFLA_LINK)
	if s.Kind == "vxlan" { // alone has no ndo_get_iflink
		on = valueAt(info, nl.IFLA_INFO_DATA, nl.IFLA_VXLAN_LINK)
	}
	if index, ok := number32(on); ok && !pair {
		s.on = int(index)
	}
	if where, ok := number32(valueAt(attributes, unix.IFLA_LINK_NETNSID)); ok {
		s.where = int(int32(where))
	}
	return s
}

// surveyWait bounds the walk through all namespaces.
const surveyWait = 2 * time.Second

// deleteUppers deletes the netdevs that are on a link of this namespace: they
// would stay on it when it moves, and whoever had it would go on sending and
// receiving through it. others are the namespaces to look through; this one may
// be among them. Those that a state says were on it before stay.
//
// It takes each list as it comes: a list that others keep changing has all
// links that stay, because the kernel goes through them by number.
func (n *Namespace) deleteUppers(link netlink.Link, others iter.Seq[*Namespace], but State, log *slog.Logger) {
	for other := range others {
		answers, err := other.dumpLinks()
		number := here
		if other.ID != n.ID && (err == nil || errors.Is(err, netlink.ErrDumpInterrupted)) {
			number, err = other.numberOf(n.NS)
		}
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			log.Warn("something may be left on top of the NIC", "netns", other.Path, "err", err)
			continue
		}
		if other.ID != n.ID && number == here {
			continue
		}
		for _, answer := range answers {
			s := stackingOf(answer)
			if s.on != link.Attrs().Index || s.where != number || slices.Contains(but.Uppers, s.Name) || slices.Contains(but.Stacked, Stacked{other.ID, s.index}) {
				continue
			}
			msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
			msg.Index = int32(s.index)
			_, err := other.route.Request(unix.RTM_DELLINK, unix.NLM_F_ACK, msg)
			if err != nil && !errors.Is(err, unix.ENODEV) {
				log.Warn("something is left on top of the NIC", "link", s.Upper, "netns", other.Path, "err", err)
				continue
			}
			log.Info("deleted what was on top of the NIC", "link", s.Upper, "netns", other.Path)
		}
	}
}

// uppersElsewhere goes through the namespaces in which something may be on top
// of links of this one: those with a link on one of their ifindexes of another
// namespace.
func (n *Namespace) uppersElsewhere(ctx context.Context, links ...netlink.Link) iter.Seq[*Namespace] {
	return func(yield func(*Namespace) bool) {
		for _, path := range n.survey(ctx, func(answer []byte) bool {
			s := stackingOf(answer)
			return s.where != here && slices.ContainsFunc(links, func(l netlink.Link) bool { return s.on == l.Attrs().Index })
		}) {
			other, err := OpenNamespace(path)
			if err != nil {
				continue // it ended since
			}
			more := yield(other)
			other.Close()
			if !more {
				return
			}
		}
	}
}

// UppersElsewhere lists the netdevs that are on top of links of this namespace, in
// all others that this process can reach, by the ifindex of the link that each is
// on.
func (n *Namespace) UppersElsewhere(ctx context.Context, links ...netlink.Link) map[int][]Upper {
	uppers := map[int][]Upper{}
	for other := range n.uppersElsewhere(ctx, links...) {
		answers, err := other.dumpLinks()
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			continue // it ended since
		}
		number, err := other.numberOf(n.NS)
		for _, answer := range answers {
			if s := stackingOf(answer); err == nil && number != here && s.where == number {
				uppers[s.on] = append(uppers[s.on], s.Upper)
			}
		}
	}
	return uppers
}

// HasPeerIn tells whether a link of this namespace is a veth whose peer is in
// another one.
func (n *Namespace) HasPeerIn(link netlink.Link, other *Namespace) (bool, error) {
	if link.Type() != "veth" || link.Attrs().NetNsID < 0 {
		return false, nil
	}
	number, err := n.numberOf(other.NS)
	return number == link.Attrs().NetNsID, err
}

// numberOf is the number that another namespace has in this one, here for none.
func (n *Namespace) numberOf(other netns.NsHandle) (int, error) {
	answers, err := n.route.Request(unix.RTM_GETNSID, 0, nl.NewRtGenMsg(), nl.NewRtAttr(unix.NETNSA_FD, nl.Uint32Attr(uint32(other))))
	if err == nil && len(answers) != 1 {
		err = unix.EBADMSG
	}
	if err != nil {
		return here, fmt.Errorf("ask %s for the number of another namespace: %w", n.Path, err)
	}
	number, ok := number32(valueAt(behindRtgenmsg(answers[0]), unix.NETNSA_NSID))
	if !ok {
		return here, nil
	}
	return int(int32(number)), nil
}

// BorrowedAddresses are the Ethernet addresses that a link receives for others
// than itself: those of macvlans on top of it that are up, wherever they are.
// One that was moved into a pod is in no list of this namespace's links.
func (n *Namespace) BorrowedAddresses(ctx context.Context, link netlink.Link) ([]net.HardwareAddr, error) {
	// The kernel knows a dump of the forwarding database by this header, and
	// its index as the link to which it is limited (rtnl_fdb_dump).
	header := nl.NewIfInfomsg(unix.AF_BRIDGE)
	header.Index = int32(link.Attrs().Index)
	answers, err := n.list(ctx, unix.RTM_GETNEIGH, header)
	if err != nil {
		return nil, fmt.Errorf("list the address filter of %s: %w", link.Attrs().Name, err)
	}
	var borrowed []net.HardwareAddr
	for _, answer := range answers {
		entry, err := netlink.NeighDeserialize(answer)
		if err != nil {
			return nil, fmt.Errorf("list the address filter of %s: %w", link.Attrs().Name, err)
		}
		const group = 1 // first bit on the wire: a multicast address
		if entry.LinkIndex == link.Attrs().Index && entry.Flags&netlink.NTF_SELF != 0 && len(entry.HardwareAddr) == 6 && entry.HardwareAddr[0]&group == 0 {
			borrowed = append(borrowed, entry.HardwareAddr)
		}
	}
	return borrowed, nil
}
