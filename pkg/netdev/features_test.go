package netdev

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Of a kernel that is as new as the newest of them nothing is lacking. A veth is no
// hardware that a driver could say anything of.
func TestANewKernelHasEveryFeature(t *testing.T) {
	n := newNamespaceOfItsOwn(t, "one")
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(string(release), "%d.%d", &major, &minor); err != nil || major < 6 {
		t.Skipf("a kernel without some: %s", release)
	}
	features, err := n.Features(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, f := range features {
		have = append(have, fmt.Sprintf("%s (%s): %s", f.Name, f.Since, f.Support))
		if f.Cost == "" {
			t.Errorf("%s costs nothing", f.Name)
		}
	}
	want := []string{
		"the name of the device below a NIC (5.14): unknown", "permanent addresses by netlink (5.6): unknown", "lists of another namespace's links (5.0): yes",
		"cookies of network namespaces (5.14): yes", "alternative names (5.5): yes", "ethtool by netlink (5.6): yes",
	}
	if !slices.Equal(have, want) {
		t.Errorf("%q, want %q", have, want)
	}
}

func TestWhatTheKernelTellsOfOneNICItKnows(t *testing.T) {
	n := newNamespaceOfItsOwn(t)
	link := func(attributes ...*nl.RtAttr) []byte {
		answer := nl.NewIfInfomsg(unix.AF_UNSPEC).Serialize()
		for _, a := range append(attributes, nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated("nic0"))) {
			answer = append(answer, a.Serialize()...)
		}
		return answer
	}
	parent := nl.NewRtAttr(unix.IFLA_PARENT_DEV_NAME, nl.ZeroTerminated("0000:08:00.0"))
	burnt := nl.NewRtAttr(unix.IFLA_PERM_ADDRESS, []byte{2, 0, 0, 0, 0, 1})
	veth := attribute(unix.IFLA_LINKINFO, nl.NewRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("veth")))
	for name, tt := range map[string]struct {
		answers          [][]byte
		parents, burntIn Support
	}{
		"no link":                   {nil, Unknown, Unknown},
		"one that it says all of":   {[][]byte{link(), link(parent, burnt), link()}, Supported, Supported},
		"one that it says none of":  {[][]byte{link()}, Unknown, Unknown},
		"one that is not hardware":  {[][]byte{link(veth)}, Unknown, Unknown},
		"one that cannot be parsed": {[][]byte{append(link(), 3, 0, 5, 0), link(parent)}, Supported, Unknown},
	} {
		if is := n.parentNames(tt.answers).Support; is != tt.parents {
			t.Errorf("%s: names of parents: %s", name, is)
		}
		if is := permanentAddresses(tt.answers).Support; is != tt.burntIn {
			t.Errorf("%s: permanent addresses: %s", name, is)
		}
	}
}
