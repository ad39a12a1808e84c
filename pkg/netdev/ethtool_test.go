package netdev

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
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

// The driver has no private flags, rings or pauses, which keep nothing else.
func TestWhatEthtoolChangesOnALinkIsSetBack(t *testing.T) {
	n := newNamespaceOfItsOwn(t)
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "one", NumTxQueues: 2, NumRxQueues: 2}, PeerName: "onew"}); err != nil {
		t.Fatal(err)
	}
	one := n.mustFind(t, "one")
	s, err := n.openEthtool()
	if err != nil {
		t.Skip("not on this kernel: ", err)
	}
	defer s.Close()
	set := func(name string, attributes ...*nl.RtAttr) {
		t.Helper()
		groups := ethtoolGroups()
		if _, err := s.ask(groups[slices.IndexFunc(groups, func(g group) bool { return g.name == name })].set, one.Attrs().Index, attributes...); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	number := func(kind int, value uint32) *nl.RtAttr { return nl.NewRtAttr(kind, nl.Uint32Attr(value)) }
	receiveOffload := func(value uint32) *nl.RtAttr { // NETIF_F_GRO_BIT
		return attribute(unix.ETHTOOL_A_FEATURES_WANTED, number(unix.ETHTOOL_A_BITSET_SIZE, 32), number(unix.ETHTOOL_A_BITSET_VALUE, value<<14), number(unix.ETHTOOL_A_BITSET_MASK, 1<<14))
	}
	state := func() ethtool {
		t.Helper()
		e, err := n.readEthtool(one)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	set("channels", number(unix.ETHTOOL_A_CHANNELS_RX_COUNT, 2), number(unix.ETHTOOL_A_CHANNELS_TX_COUNT, 2))
	set("features", receiveOffload(0))
	host := state()
	set("channels", number(unix.ETHTOOL_A_CHANNELS_RX_COUNT, 1), number(unix.ETHTOOL_A_CHANNELS_TX_COUNT, 1))
	set("features", receiveOffload(1))
	if now := state(); bytes.Equal(now["features"], host["features"]) || bytes.Equal(now["channels"], host["channels"]) {
		t.Fatalf("nothing has changed: %v", now)
	}
	if err := n.restoreEthtool(one, host); err != nil {
		t.Error(err)
	}
	if now := state(); !reflect.DeepEqual(now, host) {
		t.Errorf("%v, was %v", now, host)
	}
	tooMany := ethtool{"channels": number(unix.ETHTOOL_A_CHANNELS_RX_COUNT, 99).Serialize(), "rings": number(unix.ETHTOOL_A_RINGS_RX, 7).Serialize()}
	if err := n.restoreEthtool(one, tooMany); err == nil || !strings.HasPrefix(err.Error(), "set its channels: ") {
		t.Errorf("%v", err)
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
