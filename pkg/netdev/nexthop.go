package netdev

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// nexthopID is RTA_NH_ID of <linux/rtnetlink.h>.
const nexthopID = 30

// A nexthop is an object that routes refer to by its ID (Linux 5.3): a next hop,
// or a group of others.
type nexthop struct {
	link    int
	gateway netip.Addr
	group   []uint32
}

// resolve fills in what routes go through by nexthop objects. With the sysctl
// net.ipv4.nexthop_compat_mode=0, usual with routing daemons, the kernel tells
// nothing but their IDs (fib_dump_info, rt6_fill_node).
func (n *Namespace) resolve(ctx context.Context, routes []Way) error {
	answers, err := n.list(ctx, unix.RTM_GETNEXTHOP, make(raw, sizeofNhmsg))
	if err != nil {
		return fmt.Errorf("list the next hops in %s: %w", n.Path, err)
	}
	hops := map[uint32]nexthop{}
	for _, answer := range answers {
		if id, hop := nexthopIn(answer); id != 0 {
			hops[id] = hop
		}
	}
	for i := range routes {
		r := &routes[i]
		if r.nexthop == 0 || len(r.Links) > 0 {
			continue
		}
		hop := hops[r.nexthop]
		r.Multipath = len(hop.group) > 0
		if !r.Multipath && hop.link != 0 {
			r.Links, r.Gateway = []int{hop.link}, hop.gateway
		}
		for _, id := range hop.group {
			r.Links = append(r.Links, hops[id].link)
		}
	}
	return nil
}

// sizeofNhmsg is that of struct nhmsg of <linux/nexthop.h>; an empty one means all
// objects.
const sizeofNhmsg = 8

// nexthopIn reads an object and its ID.
func nexthopIn(answer []byte) (id uint32, hop nexthop) {
	if len(answer) < sizeofNhmsg {
		return 0, hop
	}
	for kind, value := range Attributes(answer[sizeofNhmsg:]) {
		switch kind {
		case unix.NHA_ID:
			id, _ = number32(value)
		case unix.NHA_OIF:
			hop.link = numberIn(value)
		case unix.NHA_GATEWAY:
			hop.gateway = Addr(value)
		case unix.NHA_GROUP: // struct nexthop_grp: ID, weight
			const size = 8
			for ; len(value) >= size; value = value[size:] {
				hop.group = append(hop.group, binary.NativeEndian.Uint32(value))
			}
		}
	}
	return id, hop
}
