package netdev

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// An ethtool is a netdev's settings below its queues, by group: what `ethtool`
// shows and sets. A move keeps them, and so what a pod has set. The value is
// the attributes as the kernel wrote them.
type ethtool map[string][]byte

// A group is one pair of ETHTOOL_MSG_…_GET and …_SET, which know the same
// attributes.
type group struct {
	name     string
	get, set uint8
	// takes are the attributes that the kernel accepts, not only reports.
	takes []uint16
	// bits are those of them that are sets of bits.
	bits []uint16
	// fixed are those that are negotiated, such as the speed, unless the first
	// of takes is 0.
	fixed []uint16
}

// ethtoolGroups are in the order in which they are restored: the indirection
// table depends on the channels.
func ethtoolGroups() []group {
	return []group{
		{name: "features", get: unix.ETHTOOL_MSG_FEATURES_GET, set: unix.ETHTOOL_MSG_FEATURES_SET,
			takes: []uint16{unix.ETHTOOL_A_FEATURES_WANTED}, bits: []uint16{unix.ETHTOOL_A_FEATURES_WANTED}},
		{name: "private flags", get: unix.ETHTOOL_MSG_PRIVFLAGS_GET, set: unix.ETHTOOL_MSG_PRIVFLAGS_SET,
			takes: []uint16{unix.ETHTOOL_A_PRIVFLAGS_FLAGS}, bits: []uint16{unix.ETHTOOL_A_PRIVFLAGS_FLAGS}},
		{name: "rings", get: unix.ETHTOOL_MSG_RINGS_GET, set: unix.ETHTOOL_MSG_RINGS_SET,
			takes: []uint16{unix.ETHTOOL_A_RINGS_RX, unix.ETHTOOL_A_RINGS_RX_MINI, unix.ETHTOOL_A_RINGS_RX_JUMBO, unix.ETHTOOL_A_RINGS_TX,
				unix.ETHTOOL_A_RINGS_RX_BUF_LEN, unix.ETHTOOL_A_RINGS_TCP_DATA_SPLIT, unix.ETHTOOL_A_RINGS_CQE_SIZE, unix.ETHTOOL_A_RINGS_TX_PUSH,
				unix.ETHTOOL_A_RINGS_RX_PUSH, unix.ETHTOOL_A_RINGS_TX_PUSH_BUF_LEN, unix.ETHTOOL_A_RINGS_HDS_THRESH}},
		{name: "channels", get: unix.ETHTOOL_MSG_CHANNELS_GET, set: unix.ETHTOOL_MSG_CHANNELS_SET,
			takes: []uint16{unix.ETHTOOL_A_CHANNELS_RX_COUNT, unix.ETHTOOL_A_CHANNELS_TX_COUNT, unix.ETHTOOL_A_CHANNELS_OTHER_COUNT, unix.ETHTOOL_A_CHANNELS_COMBINED_COUNT}},
		{name: "coalescing", get: unix.ETHTOOL_MSG_COALESCE_GET, set: unix.ETHTOOL_MSG_COALESCE_SET, takes: coalescing()},
		{name: "pause", get: unix.ETHTOOL_MSG_PAUSE_GET, set: unix.ETHTOOL_MSG_PAUSE_SET,
			takes: []uint16{unix.ETHTOOL_A_PAUSE_AUTONEG, unix.ETHTOOL_A_PAUSE_RX, unix.ETHTOOL_A_PAUSE_TX}},
		{name: "link modes", get: unix.ETHTOOL_MSG_LINKMODES_GET, set: unix.ETHTOOL_MSG_LINKMODES_SET,
			takes: []uint16{unix.ETHTOOL_A_LINKMODES_AUTONEG, unix.ETHTOOL_A_LINKMODES_OURS, unix.ETHTOOL_A_LINKMODES_SPEED, unix.ETHTOOL_A_LINKMODES_DUPLEX},
			bits:  []uint16{unix.ETHTOOL_A_LINKMODES_OURS}, fixed: []uint16{unix.ETHTOOL_A_LINKMODES_SPEED, unix.ETHTOOL_A_LINKMODES_DUPLEX}},
		{name: "forward error correction", get: unix.ETHTOOL_MSG_FEC_GET, set: unix.ETHTOOL_MSG_FEC_SET,
			takes: []uint16{fecModes, fecAuto}, bits: []uint16{fecModes}},
		{name: "energy-efficient Ethernet", get: unix.ETHTOOL_MSG_EEE_GET, set: unix.ETHTOOL_MSG_EEE_SET,
			takes: []uint16{unix.ETHTOOL_A_EEE_MODES_OURS, unix.ETHTOOL_A_EEE_ENABLED, unix.ETHTOOL_A_EEE_TX_LPI_ENABLED, unix.ETHTOOL_A_EEE_TX_LPI_TIMER},
			bits:  []uint16{unix.ETHTOOL_A_EEE_MODES_OURS}},
		{name: "wake-on-LAN", get: unix.ETHTOOL_MSG_WOL_GET, set: unix.ETHTOOL_MSG_WOL_SET,
			takes: []uint16{unix.ETHTOOL_A_WOL_MODES}, bits: []uint16{unix.ETHTOOL_A_WOL_MODES}},
		{name: "message level", get: unix.ETHTOOL_MSG_DEBUG_GET, set: unix.ETHTOOL_MSG_DEBUG_SET,
			takes: []uint16{unix.ETHTOOL_A_DEBUG_MSGMASK}, bits: []uint16{unix.ETHTOOL_A_DEBUG_MSGMASK}},
		{name: "receive hashing", get: unix.ETHTOOL_MSG_RSS_GET, set: rssSet, takes: []uint16{rssFunction, rssIndirection, rssKey}},
	}
}

// What the unix package has no names for, of <linux/ethtool_netlink.h>.
const (
	rssSet = 48 // ETHTOOL_MSG_RSS_SET, Linux 6.17

	fecModes       = 2 // ETHTOOL_A_FEC_MODES
	fecAuto        = 3 // ETHTOOL_A_FEC_AUTO
	rssFunction    = 2 // ETHTOOL_A_RSS_HFUNC
	rssIndirection = 3 // ETHTOOL_A_RSS_INDIR
	rssKey         = 4 // ETHTOOL_A_RSS_HKEY
)

// coalescing is ETHTOOL_A_COALESCE_RX_USECS and all behind it, without the
// profiles.
func coalescing() (all []uint16) {
	const last = 0x1c // ETHTOOL_A_COALESCE_TX_AGGR_TIME_USECS
	for a := uint16(unix.ETHTOOL_A_COALESCE_RX_USECS); a <= last; a++ {
		all = append(all, a)
	}
	return all
}

// openEthtool opens the kernel's ethtool interface in the namespace: a socket, and
// the number by which messages go to it.
func (n *Namespace) openEthtool() (*ethtoolSocket, error) {
	s, err := OpenSocket(n.NS, unix.NETLINK_GENERIC)
	if err != nil {
		return nil, err
	}
	answers, err := s.Request(unix.GENL_ID_CTRL, 0, &nl.Genlmsg{Command: unix.CTRL_CMD_GETFAMILY, Version: 1},
		nl.NewRtAttr(unix.CTRL_ATTR_FAMILY_NAME, nl.ZeroTerminated(unix.ETHTOOL_GENL_NAME)))
	if err == nil {
		for _, answer := range answers {
			if id := valueAt(answer[nl.SizeofGenlmsg:], unix.CTRL_ATTR_FAMILY_ID); len(id) == 2 {
				return &ethtoolSocket{Socket: s, family: int(binary.NativeEndian.Uint16(id))}, nil
			}
		}
		err = unix.ENOENT
	}
	s.Close()
	return nil, err
}

type ethtoolSocket struct {
	*Socket
	family int
}

// ask sends one message about a netdev. Every group's header is its first
// attribute, also in the answer.
func (s *ethtoolSocket) ask(command uint8, index int, parts ...*nl.RtAttr) ([]byte, error) {
	const header = 1 // ETHTOOL_A_…_HEADER
	request := []nl.NetlinkRequestData{
		&nl.Genlmsg{Command: command, Version: unix.ETHTOOL_GENL_VERSION},
		attribute(header, nl.NewRtAttr(unix.ETHTOOL_A_HEADER_DEV_INDEX, nl.Uint32Attr(uint32(index))),
			nl.NewRtAttr(unix.ETHTOOL_A_HEADER_FLAGS, nl.Uint32Attr(unix.ETHTOOL_FLAG_COMPACT_BITSETS))),
	}
	for _, p := range parts {
		request = append(request, p)
	}
	flags := 0
	if len(parts) > 0 {
		flags = unix.NLM_F_ACK
	}
	answers, err := s.Request(s.family, flags, request...)
	if err != nil || len(answers) == 0 {
		return nil, err
	}
	return answers[0][nl.SizeofGenlmsg:], nil
}

// readEthtool reads a netdev's settings. A group that the driver does not have is
// left out, all of them where the kernel has no such interface (before 5.6).
func (n *Namespace) readEthtool(link netlink.Link) (ethtool, error) {
	s, err := n.openEthtool()
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open the ethtool interface: %w", err)
	}
	defer s.Close()
	found := ethtool{}
	for _, g := range ethtoolGroups() {
		have, err := s.ask(g.get, link.Attrs().Index)
		if err != nil {
			continue
		}
		var kept []byte
		for _, kind := range g.takes {
			if value := valueAt(have, kind); value != nil {
				kept = append(kept, nl.NewRtAttr(int(kind), value).Serialize()...)
			}
		}
		if len(kept) > 0 {
			found[g.name] = kept
		}
	}
	return found, nil
}

// restoreEthtool sets again what differs. What the driver no longer has is left
// out.
func (n *Namespace) restoreEthtool(link netlink.Link, want ethtool) error {
	if len(want) == 0 {
		return nil
	}
	s, err := n.openEthtool()
	if err != nil {
		return fmt.Errorf("open the ethtool interface: %w", err)
	}
	defer s.Close()
	var errs []error
	for _, g := range ethtoolGroups() {
		recorded := want[g.name]
		if len(recorded) == 0 {
			continue
		}
		have, err := s.ask(g.get, link.Attrs().Index)
		if err != nil {
			continue
		}
		if changes := g.changes(recorded, have); len(changes) > 0 {
			_, err := s.ask(g.set, link.Attrs().Index, changes...)
			errs = append(errs, wrap("set its "+g.name, err))
		}
	}
	return errors.Join(errs...)
}

// changes are the attributes that make have the recorded ones.
func (g group) changes(recorded, have []byte) (changes []*nl.RtAttr) {
	for _, kind := range g.takes {
		old, now := valueAt(recorded, kind), valueAt(have, kind)
		if old == nil || now == nil || bytes.Equal(old, now) {
			continue
		}
		if slices.Contains(g.fixed, kind) && slices.ContainsFunc(valueAt(recorded, g.takes[0]), nonZero) {
			continue // negotiated
		}
		if !slices.Contains(g.bits, kind) {
			changes = append(changes, nl.NewRtAttr(int(kind), old))
		} else if set := bitChanges(old, now); set != nil {
			changes = append(changes, attribute(int(kind), set...))
		}
	}
	return changes
}

// bitChanges is the bitset that turns now into old, nil if they are equal. It
// has only the bits that differ, because the kernel rejects some even
// unchanged.
func bitChanges(old, now []byte) []*nl.RtAttr {
	value, is := valueAt(old, unix.ETHTOOL_A_BITSET_VALUE), valueAt(now, unix.ETHTOOL_A_BITSET_VALUE)
	if len(value) == 0 || len(value) != len(is) {
		return nil
	}
	mask := slices.Clone(value)
	for i := range mask {
		mask[i] ^= is[i]
	}
	value = slices.Clone(value)
	for i := range value {
		value[i] &= mask[i]
	}
	if !slices.ContainsFunc(mask, nonZero) {
		return nil
	}
	return []*nl.RtAttr{
		nl.NewRtAttr(unix.ETHTOOL_A_BITSET_SIZE, valueAt(old, unix.ETHTOOL_A_BITSET_SIZE)),
		nl.NewRtAttr(unix.ETHTOOL_A_BITSET_VALUE, value),
		nl.NewRtAttr(unix.ETHTOOL_A_BITSET_MASK, mask),
	}
}
