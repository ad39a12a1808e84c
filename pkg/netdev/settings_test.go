package netdev

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func TestARecordOfAnEarlierVersionSetsNothingThatItDoesNotKnow(t *testing.T) {
	var s State
	if err := json.Unmarshal([]byte(`{"name": "ens12np0", "mtu": 9000, "mac": "02:00:00:00:00:01", "up": true}`), &s); err != nil {
		t.Fatal(err)
	}
	if set, which := s.flags(); set != unix.IFF_UP || which != unix.IFF_UP|unix.IFF_PROMISC|unix.IFF_ALLMULTI {
		t.Errorf("flags %x of %x", set, which)
	}
	if s.Settings != nil || s.Devconf != nil || s.Ethtool != nil || s.Qdiscs != nil {
		t.Errorf("%+v", s)
	}
}

func TestOnlyWhatDiffersIsSet(t *testing.T) {
	kinds := func(s, now Settings) (list []uint16) {
		for _, a := range s.changes(&now) {
			list = append(list, a.Type)
		}
		return list
	}
	host := Settings{Broadcast: "ff:ff:ff:ff:ff:ff", Numbers: map[string]uint32{"group": 3, "linkmode": 0, "gso_max_size": 65536, "gso_ipv4_max_size": 65536, "gro_max_size": 9}}
	now := Settings{Broadcast: host.Broadcast, Numbers: map[string]uint32{"group": 3, "linkmode": 1, "gso_max_size": 65536, "gso_ipv4_max_size": 65536, "gro_max_size": 9, "txqueuelen": 7}}
	if got := kinds(host, now); !slices.Equal(got, []uint16{unix.IFLA_LINKMODE}) {
		t.Errorf("attributes %v", got)
	}
	// One size changes another one.
	now.Numbers["gso_max_size"], now.Numbers["linkmode"], now.Broadcast = 2000, 0, "02:00:00:00:00:66"
	if got := kinds(host, now); !slices.Equal(got, []uint16{unix.IFLA_BROADCAST, unix.IFLA_GSO_MAX_SIZE, unix.IFLA_GRO_MAX_SIZE, unix.IFLA_GSO_IPV4_MAX_SIZE}) {
		t.Errorf("attributes %v", got)
	}
	if got := kinds(Settings{}, now); got != nil {
		t.Errorf("attributes %v that nobody knows", got)
	}
}

func TestIPv6SysctlsAreNamedByTheirIndex(t *testing.T) {
	d, now := &Devconf{IPv6: make([]int32, 70)}, &Devconf{IPv6: make([]int32, 70)}
	d.IPv6[2], d.IPv6[3], d.IPv6[8], d.IPv6[47], d.IPv6[69] = 1300, 2, 5000, 1, 1
	want := []Sysctl{
		{"net/ipv6/conf/a.7/accept_ra", "2"},
		{"net/ipv6/conf/a.7/router_solicitation_interval", "5"},
		{"net/ipv6/conf/a.7/addr_gen_mode", "1"},
	}
	if got := d.ipv6Changes(now, "a.7"); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestASetOfBitsHasThoseThatDiffer(t *testing.T) {
	set := func(value byte) []byte {
		return append(nl.NewRtAttr(unix.ETHTOOL_A_BITSET_SIZE, nl.Uint32Attr(8)).Serialize(),
			nl.NewRtAttr(unix.ETHTOOL_A_BITSET_VALUE, []byte{value, 0, 0, 0}).Serialize()...)
	}
	got := bitChanges(set(0b1010), set(0b0110))
	if len(got) != 3 || got[1].Data[0] != 0b1000 || got[2].Data[0] != 0b1100 {
		t.Errorf("%v", got)
	}
	if got := bitChanges(set(3), set(3)); got != nil {
		t.Errorf("%v", got)
	}
	if got := bitChanges(nil, set(3)); got != nil {
		t.Errorf("%v", got)
	}
}

func TestAForcedSpeedIsSetAndANegotiatedOneIsNot(t *testing.T) {
	modes := ethtoolGroups()[6]
	speed := func(autoneg, speed byte) []byte {
		return append(nl.NewRtAttr(unix.ETHTOOL_A_LINKMODES_AUTONEG, []byte{autoneg}).Serialize(),
			nl.NewRtAttr(unix.ETHTOOL_A_LINKMODES_SPEED, []byte{speed, 0, 0, 0}).Serialize()...)
	}
	if got := modes.changes(speed(1, 100), speed(1, 10)); got != nil {
		t.Errorf("%v", got)
	}
	if got := modes.changes(speed(0, 100), speed(0, 10)); len(got) != 1 || got[0].Type != unix.ETHTOOL_A_LINKMODES_SPEED {
		t.Errorf("%v", got)
	}
}

func TestAnErrorHasTheKernelsWords(t *testing.T) {
	message := func(flags uint16, quoted int) syscall.NetlinkMessage {
		data := binary.NativeEndian.AppendUint32(nil, ^uint32(unix.EINVAL)+1)
		request := make([]byte, quoted)
		binary.NativeEndian.PutUint32(request, uint32(quoted))
		data = append(append(data, request...), nl.NewRtAttr(nl.NLMSGERR_ATTR_MSG, nl.ZeroTerminated("mtu less than device minimum")).Serialize()...)
		return syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: unix.NLMSG_ERROR, Flags: flags}, Data: data}
	}
	for _, m := range []syscall.NetlinkMessage{
		message(unix.NLM_F_ACK_TLVS|unix.NLM_F_CAPPED, unix.NLMSG_HDRLEN), message(unix.NLM_F_ACK_TLVS, 48),
	} {
		if err := errorOf(m); err == nil || !strings.HasSuffix(err.Error(), "invalid argument: mtu less than device minimum") {
			t.Errorf("%v", err)
		}
	}
	if err := errorOf(message(0, 48)); !errors.Is(err, unix.EINVAL) {
		t.Errorf("%v", err)
	}
}
