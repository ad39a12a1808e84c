package offer

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// A Preferring is a resource whose units differ: it prefers to give those
// that are near each other.
type Preferring struct{ *Resource }

// Preferred implements kubelet.Preferrer: devices of one NUMA node, and below
// one PCIe root port, where possible.
func (p Preferring) Preferred(available, must []string, size int) ([]string, error) {
	return p.Offer().preferred(available, must, size)
}

// A spot is where a unit is: what preferred groups by, from wide to narrow.
type spot struct {
	id   string
	rank int
	near [2]string // NUMA node, PCIe root port
}

func (o Offer) preferred(available, must []string, size int) ([]string, error) {
	chosen := slices.Clone(must)
	taken := map[string]bool{}
	var anchors, free []spot
	for _, id := range slices.Concat(must, available) {
		g := o.grants[id]
		switch {
		case g != nil:
		case slices.Contains(must, id):
			return nil, fmt.Errorf("no device has the ID %q", id)
		default:
			continue // it has just left, and the kubelet will hear of it
		}
		s := spot{id: id, rank: g.rank}
		if len(g.devices) > 0 {
			s.near = [2]string{fmt.Sprint(g.devices[0].NUMANode), g.devices[0].Root}
		}
		switch {
		case taken[id]:
		case slices.Contains(must, id):
			anchors = append(anchors, s)
		default:
			free = append(free, s)
		}
		taken[id] = true
	}
	// The first units of all devices come before the second ones, so that a
	// container gets as many devices as units.
	slices.SortFunc(free, func(a, b spot) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.id, b.id))
	})
	for _, s := range nearest(free, anchors, size-len(chosen), 0) {
		chosen = append(chosen, s.id)
	}
	return chosen, nil
}

// nearest picks n of the free spots: from groups where there is an anchor
// already, then from the smallest group that has enough, else from the largest
// ones. level says what to group by.
func nearest(free, anchors []spot, n, level int) []spot {
	if n >= len(free) || level == len(spot{}.near) {
		return free[:max(0, min(n, len(free)))]
	}
	groups := map[string][]spot{}
	for _, s := range free {
		groups[s.near[level]] = append(groups[s.near[level]], s)
	}
	anchored := map[string][]spot{}
	for _, s := range anchors {
		anchored[s.near[level]] = append(anchored[s.near[level]], s)
	}
	var picked []spot
	names := slices.Sorted(maps.Keys(groups))
	for n > len(picked) && len(names) > 0 {
		left := n - len(picked)
		best := slices.MinFunc(names, func(a, b string) int {
			enoughA, enoughB := len(groups[a]) >= left, len(groups[b]) >= left
			sizes := cmp.Compare(len(groups[a]), len(groups[b]))
			if !enoughA {
				sizes = -sizes
			}
			return cmp.Or(-cmp.Compare(len(anchored[a]), len(anchored[b])), compareBool(enoughB, enoughA), sizes, cmp.Compare(a, b))
		})
		picked = append(picked, nearest(groups[best], anchored[best], left, level+1)...)
		names = slices.DeleteFunc(names, func(name string) bool { return name == best })
	}
	return picked
}

// compareBool has false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
