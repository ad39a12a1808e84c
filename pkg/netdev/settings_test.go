package netdev

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"reflect"
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
			size, ok := map[uint16]int{unix.IFLA_LINKMODE: 1, unix.IFLA_PROTO_DOWN: 1, unix.IFLA_BROADCAST: 6}[a.Type]
			if !ok {
				size = 4
			}
			if len(a.Data) != size {
				t.Errorf("attribute %d has %d bytes", a.Type, len(a.Data))
			}
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
	host.Numbers["protodown"], now.Numbers["protodown"] = 0, 1
	if got := kinds(host, now); !slices.Contains(got, unix.IFLA_PROTO_DOWN) {
		t.Errorf("attributes %v", got)
	}
	if got := kinds(Settings{}, now); got != nil {
		t.Errorf("attributes %v that nobody knows", got)
	}
}

// What the kernel tells of a link of a kind, and what it takes back: of a VLAN's flags
// with a mask of those that it knows.
func TestTheSettingsOfAKindAreThoseThatAreTakenBack(t *testing.T) {
	answer := func(kind string, data ...*nl.RtAttr) []byte {
		info := attribute(unix.IFLA_LINKINFO, nl.NewRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(kind)), attribute(nl.IFLA_INFO_DATA, data...))
		return append(nl.NewIfInfomsg(unix.AF_UNSPEC).Serialize(), info.Serialize()...)
	}
	plain := func(kind int, value ...byte) *nl.RtAttr { return nl.NewRtAttr(kind, value) }
	for name, tt := range map[string]struct {
		answer, other []byte
		want          []*nl.RtAttr
	}{
		"a VLAN": {
			answer("vlan", plain(nl.IFLA_VLAN_ID, 10, 0), plain(nl.IFLA_VLAN_FLAGS, 1, 0, 0, 0, 255, 255, 255, 255)), answer("vlan", plain(nl.IFLA_VLAN_FLAGS, 2, 0, 0, 0, 255, 255, 255, 255)),
			[]*nl.RtAttr{plain(nl.IFLA_VLAN_FLAGS, 1, 0, 0, 0, 31, 0, 0, 0)},
		},
		"a macvlan": {
			answer("macvlan", plain(nl.IFLA_MACVLAN_MACADDR_COUNT, 9, 0, 0, 0), plain(nl.IFLA_MACVLAN_MODE, 4, 0, 0, 0), plain(nl.IFLA_MACVLAN_FLAGS, 1, 0), plain(nl.IFLA_MACVLAN_BC_QUEUE_LEN, 5, 0, 0, 0)),
			answer("macvlan", plain(nl.IFLA_MACVLAN_MODE, 1, 0, 0, 0)),
			[]*nl.RtAttr{plain(nl.IFLA_MACVLAN_MODE, 4, 0, 0, 0), plain(nl.IFLA_MACVLAN_FLAGS, 1, 0), plain(nl.IFLA_MACVLAN_BC_QUEUE_LEN, 5, 0, 0, 0)},
		},
		"a veth": {answer("veth", plain(1, 7)), answer("veth", plain(1, 8)), nil},
	} {
		var want []byte
		for _, a := range tt.want {
			want = append(want, a.Serialize()...)
		}
		s := settingsOf(tt.answer)
		if !bytes.Equal(s.Kind, want) {
			t.Errorf("%s: % x, want % x", name, s.Kind, want)
		}
		if change := s.kindChange(tt.answer); change != nil {
			t.Errorf("%s: %v, and it is as it was", name, change)
		}
		change := s.kindChange(tt.other)
		if (change != nil) != (want != nil) {
			t.Errorf("%s: %v", name, change)
		}
		if change != nil {
			info := change.Serialize()[unix.SizeofNlAttr:]
			if kind := string(valueAt(info, nl.IFLA_INFO_KIND)); "a "+kind != strings.ToLower(name) || !bytes.Equal(valueAt(info, nl.IFLA_INFO_DATA), want) {
				t.Errorf("%s: a %s with % x", name, kind, info)
			}
		}
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

// Another kernel may have more of them, or fewer.
func TestSysctlsThatOneOfTwoKernelsLacksAreLeftAlone(t *testing.T) {
	// Of multicast forwarding, the second, nothing but a routing daemon may say.
	d, now := &Devconf{IPv4: []int32{1, 1, 0, 3, 5}, IPv6: []int32{1, 9, 0, 3}}, &Devconf{IPv4: []int32{0, 0, 0, 2}, IPv6: []int32{0, 9}}
	want := []*nl.RtAttr{nl.NewRtAttr(1, nl.Uint32Attr(1)), nl.NewRtAttr(4, nl.Uint32Attr(3))}
	if got := d.ipv4Changes(now); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := d.ipv6Changes(now, "nic0"); !slices.Equal(got, []Sysctl{{"net/ipv6/conf/nic0/forwarding", "1"}}) {
		t.Errorf("%v", got)
	}
	if got, more := now.ipv4Changes(d), now.ipv6Changes(d, "nic0"); len(got) != 2 || len(more) != 1 {
		t.Errorf("%v, %v", got, more)
	}
}

// What the kernel refuses, here a size, is set alone, and so keeps no other.
func TestASettingThatIsRefusedKeepsNoOther(t *testing.T) {
	n := newNamespaceOfItsOwn(t, "one")
	one := n.mustFind(t, "one")
	answer, err := n.getLink(one.Attrs().Index)
	if err != nil {
		t.Fatal(err)
	}
	s := State{Settings: settingsOf(answer), Devconf: devconfOf(answer)}
	const arpIgnore = 18 // IPV4_DEVCONF_ARP_IGNORE
	s.Settings.Numbers["group"], s.Settings.Numbers["gso_max_segs"], s.Devconf.IPv4[arpIgnore] = 7, 1<<31, 3
	if err := n.restoreSettings(one, s, answer); err == nil || !strings.HasPrefix(err.Error(), "set its settings: ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
	if answer, err = n.getLink(one.Attrs().Index); err != nil {
		t.Fatal(err)
	}
	if now := settingsOf(answer); now.Numbers["group"] != 7 || devconfOf(answer).IPv4[arpIgnore] != 3 {
		t.Errorf("group %d, arp_ignore %d", now.Numbers["group"], devconfOf(answer).IPv4[arpIgnore])
	}
	if err := n.Apply(one.Attrs().Index, Change{MTU: 1}); err == nil || err.Error() != "invalid argument: mtu less than device minimum" {
		t.Errorf("without the kernel's words: %v", err)
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
	if got := modes.changes(speed(0, 100), nil); got != nil {
		t.Errorf("%v that the driver does not have", got)
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
