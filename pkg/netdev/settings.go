package netdev

import (
	"encoding/binary"
	"net"

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
	attributes := values(answer[unix.SizeofIfInfomsg:])
	s := &Settings{
		Flags:     nl.DeserializeIfInfomsg(answer).Flags & settable,
		Broadcast: net.HardwareAddr(attributes[unix.IFLA_BROADCAST]).String(),
		Numbers:   map[string]uint32{},
	}
	for _, n := range numbers() {
		switch value := attributes[uint16(n.kind)]; len(value) {
		case 1:
			s.Numbers[n.name] = uint32(value[0])
		case 4:
			s.Numbers[n.name] = binary.NativeEndian.Uint32(value)
		}
	}
	return s
}

// changes are the attributes that make a netdev with the settings now one with
// s.
func (s *Settings) changes(now *Settings) (attributes []*nl.RtAttr) {
	if mac, err := net.ParseMAC(s.Broadcast); err == nil && s.Broadcast != now.Broadcast {
		attributes = append(attributes, nl.NewRtAttr(unix.IFLA_BROADCAST, mac))
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
