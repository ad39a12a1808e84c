package netdev

import (
	"slices"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The numbers are those of the ETHTOOL_A_… of <linux/ethtool_netlink.h> that the
// kernel's ethnl_…_policy for the group's SET has, without the header. No driver has
// all of them.
func TestWhatEthtoolSetsIsSetAgainInEveryGroup(t *testing.T) {
	const most = 40
	for _, tt := range []struct {
		group string
		plain []uint16
		bits  []uint16
	}{
		{"features", nil, []uint16{3}},      // wanted
		{"private flags", nil, []uint16{2}}, // flags
		// rx, rx-mini, rx-jumbo, tx, rx-buf-len, tcp-data-split, cqe-size,
		// tx-push, rx-push, tx-push-buf-len, hds-thresh
		{"rings", []uint16{6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17}, nil},
		{"channels", []uint16{6, 7, 8, 9}, nil},  // rx, tx, other, combined
		{"coalescing", span(2, 28), nil},         // rx-usecs to tx-aggr-time-usecs
		{"pause", []uint16{2, 3, 4}, nil},        // autoneg, rx, tx
		{"link modes", []uint16{2}, []uint16{3}}, // autoneg, modes
		{"forward error correction", []uint16{3}, []uint16{2}},
		{"energy-efficient Ethernet", []uint16{5, 6, 7}, []uint16{2}}, // enabled, tx-lpi-enabled, tx-lpi-timer, modes
		{"wake-on-LAN", nil, []uint16{2}},
		{"message level", nil, []uint16{2}},
		{"receive hashing", []uint16{2, 3, 4}, nil}, // function, table, key
	} {
		index := slices.IndexFunc(ethtoolGroups(), func(g group) bool { return g.name == tt.group })
		if index < 0 {
			t.Errorf("no %s", tt.group)
			continue
		}
		var recorded, now []byte
		for a := uint16(1); a < most; a++ {
			old, other := []byte{1}, []byte{0}
			if slices.Contains(tt.bits, a) {
				old, other = bits(0b01), bits(0b10)
			}
			recorded = append(recorded, nl.NewRtAttr(int(a), old).Serialize()...)
			now = append(now, nl.NewRtAttr(int(a), other).Serialize()...)
		}
		var plain, sets []uint16
		for _, change := range ethtoolGroups()[index].changes(recorded, now) {
			if kind := change.Type &^ unix.NLA_F_NESTED; slices.Equal(change.Data, valueAt(recorded, kind)) && change.Type == kind {
				plain = append(plain, kind)
			} else {
				sets = append(sets, kind)
			}
		}
		slices.Sort(plain)
		slices.Sort(sets)
		if !slices.Equal(plain, tt.plain) || !slices.Equal(sets, tt.bits) {
			t.Errorf("%s: sets %v and the bits of %v, want %v and %v", tt.group, plain, sets, tt.plain, tt.bits)
		}
	}
}

// bits is a compact set of eight.
func bits(value byte) []byte {
	return append(nl.NewRtAttr(unix.ETHTOOL_A_BITSET_SIZE, nl.Uint32Attr(8)).Serialize(),
		nl.NewRtAttr(unix.ETHTOOL_A_BITSET_VALUE, []byte{value, 0, 0, 0}).Serialize()...)
}

func span(first, last uint16) (all []uint16) {
	for a := first; a <= last; a++ {
		all = append(all, a)
	}
	return all
}
