package netdev

import (
	"bytes"
	"encoding/binary"
	"net"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Settings are what else `ip link set` changes on a netdev and a move keeps.
type Settings struct {
	// Flags are those of settable.
	Flags uint32 `json:"flags"`
	// Broadcast is the link layer's broadcast address.
	Broadcast string `json:"broadcast,omitempty"`
	// Numbers are named as by numbers. One that is not there is not known.
	Numbers map[string]uint32 `json:"numbers,omitempty"`
	// Kind is what a virtual netdev's kind has of its own, as attributes of the
	// kernel: see kindSettings.
	Kind []byte `json:"kind,omitempty"`
}

// downReasons is the number for the reasons of protodown, of which the kernel
// takes some at a time, by a mask.
const downReasons = "protodown_reasons"

// kindSettings are the attributes of IFLA_INFO_DATA that whoever has a netdev of a
// kind may change, and that it takes back as it tells them.
func kindSettings(kind string) []uint16 {
	switch kind {
	case "macvlan":
		return []uint16{nl.IFLA_MACVLAN_MODE, nl.IFLA_MACVLAN_FLAGS, nl.IFLA_MACVLAN_BC_QUEUE_LEN}
	case "vlan":
		return []uint16{nl.IFLA_VLAN_FLAGS}
	}
	return nil
}

// kindOf reads a netdev's kind and the attributes of kindSettings from an answer
// to RTM_GETLINK.
func kindOf(answer []byte) (kind string, settings []byte) {
	info := valueAt(ofLink(answer), unix.IFLA_LINKINFO)
	kind = unix.ByteSliceToString(valueAt(info, nl.IFLA_INFO_KIND))
	for _, setting := range kindSettings(kind) {
		value := slices.Clone(valueAt(info, nl.IFLA_INFO_DATA, setting))
		if len(value) == 0 {
			continue
		}
		if kind == "vlan" { // struct ifla_vlan_flags: the kernel tells a mask of all that may be, and takes one of those that it knows
			const known = 0x1f // VLAN_FLAG_REORDER_HDR to _BRIDGE_BINDING
			binary.NativeEndian.PutUint32(value[4:], known)
		}
		settings = append(settings, nl.NewRtAttr(int(setting), value).Serialize()...)
	}
	return kind, settings
}

// settable are the flags that the kernel takes as they are given, beside those
// that it counts or knows better (__dev_change_flags).
const settable = unix.IFF_DEBUG | unix.IFF_NOTRAILERS | unix.IFF_NOARP | unix.IFF_DYNAMIC | unix.IFF_MULTICAST | unix.IFF_PORTSEL | unix.IFF_AUTOMEDIA

// A number is an attribute that RTM_NEWLINK takes as RTM_GETLINK tells it.
type number struct {
	name string
	kind int
}

func numbers() []number {
	return []number{
		{"group", unix.IFLA_GROUP},
		{"txqueuelen", unix.IFLA_TXQLEN},
		{"linkmode", unix.IFLA_LINKMODE},
		{"protodown", unix.IFLA_PROTO_DOWN},
		{"gso_max_segs", unix.IFLA_GSO_MAX_SEGS},
		// A small one of the next two sets the one for IPv4 as well
		// (netif_set_gso_max_size, netif_set_gro_max_size), which comes later.
		{"gso_max_size", unix.IFLA_GSO_MAX_SIZE},
		{"gro_max_size", unix.IFLA_GRO_MAX_SIZE},
		{"gso_ipv4_max_size", unix.IFLA_GSO_IPV4_MAX_SIZE},
		{"gro_ipv4_max_size", unix.IFLA_GRO_IPV4_MAX_SIZE},
	}
}

// sizes tells whether setting a number may change others.
func (n number) sizes() bool { return n.kind >= unix.IFLA_GSO_MAX_SEGS }

// settingsOf reads them from an answer to RTM_GETLINK.
func settingsOf(answer []byte) *Settings {
	attributes := ofLink(answer)
	s := &Settings{
		Flags:     nl.DeserializeIfInfomsg(answer).Flags & settable,
		Broadcast: net.HardwareAddr(valueAt(attributes, unix.IFLA_BROADCAST)).String(),
		Numbers:   map[string]uint32{},
	}
	for _, n := range numbers() {
		switch value := valueAt(attributes, uint16(n.kind)); len(value) {
		case 1:
			s.Numbers[n.name] = uint32(value[0])
		case 4:
			s.Numbers[n.name] = binary.NativeEndian.Uint32(value)
		}
	}
	if len(valueAt(attributes, unix.IFLA_PROTO_DOWN)) > 0 {
		s.Numbers[downReasons], _ = number32(valueAt(attributes, unix.IFLA_PROTO_DOWN_REASON, unix.IFLA_PROTO_DOWN_REASON_VALUE))
	}
	_, s.Kind = kindOf(answer)
	return s
}

// changes are the attributes that make a netdev with the settings now one with
// s.
func (s *Settings) changes(now *Settings) (attributes []*nl.RtAttr) {
	if mac, err := net.ParseMAC(s.Broadcast); err == nil && s.Broadcast != now.Broadcast {
		attributes = append(attributes, nl.NewRtAttr(unix.IFLA_BROADCAST, mac))
	}
	// While there are reasons the kernel ends no protodown (do_set_proto_down).
	if want, known := s.Numbers[downReasons]; known && want != now.Numbers[downReasons] {
		const all = ^uint32(0)
		attributes = append(attributes, attribute(unix.IFLA_PROTO_DOWN_REASON,
			nl.NewRtAttr(unix.IFLA_PROTO_DOWN_REASON_MASK, nl.Uint32Attr(all)), nl.NewRtAttr(unix.IFLA_PROTO_DOWN_REASON_VALUE, nl.Uint32Attr(want))))
	}
	resized := false
	for _, n := range numbers() {
		want, known := s.Numbers[n.name]
		have, exists := now.Numbers[n.name]
		again := n.sizes() && resized
		if !known || !exists || want == have && !again {
			continue
		}
		resized = resized || n.sizes()
		value := nl.Uint32Attr(want)
		if n.kind == unix.IFLA_LINKMODE || n.kind == unix.IFLA_PROTO_DOWN {
			value = []byte{byte(want)}
		}
		attributes = append(attributes, nl.NewRtAttr(n.kind, value))
	}
	return attributes
}

// kindChange is the attribute that makes the netdev of an answer to RTM_GETLINK one
// with the settings of its kind of s, nil if it is.
func (s *Settings) kindChange(answer []byte) *nl.RtAttr {
	kind, now := kindOf(answer)
	if len(s.Kind) == 0 || bytes.Equal(s.Kind, now) {
		return nil
	}
	return attribute(unix.IFLA_LINKINFO, nl.NewRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(kind)),
		nl.NewRtAttr(nl.IFLA_INFO_DATA|unix.NLA_F_NESTED, s.Kind))
}
