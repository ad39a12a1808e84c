package netdev

import (
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func namesOf(links []netlink.Link) (names []string) {
	for _, l := range links {
		names = append(names, l.Attrs().Name)
	}
	slices.Sort(names)
	return names
}

func TestAnOddLinkHidesNoOthers(t *testing.T) {
	link := func(name string, more ...byte) []byte {
		return slices.Concat(nl.NewIfInfomsg(unix.AF_UNSPEC).Serialize(), nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)).Serialize(), more)
	}
	links := parseLinks([][]byte{link("first"), link("odd", 3, 0, 5, 0), link("last")})
	if names := namesOf(links); !slices.Equal(names, []string{"first", "last"}) {
		t.Errorf("%q", names)
	}
}

func TestLinksThatAreReadAgainAreThoseOfTheMoment(t *testing.T) {
	n := newNamespaceOfItsOwn(t, "one")
	reader := n.LinkReader()
	for _, step := range []struct {
		change func() error
		want   []string
	}{
		{func() error { return nil }, []string{"lo", "one", "onew"}},
		{func() error { return netlink.LinkSetName(n.mustFind(t, "onew"), "other") }, []string{"lo", "one", "other"}},
		{func() error { return netlink.LinkSetName(n.mustFind(t, "other"), "onew") }, []string{"lo", "one", "onew"}},
		{func() error { return netlink.LinkDel(n.mustFind(t, "one")) }, []string{"lo"}},
	} {
		if err := step.change(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			links, err := reader.Links(t.Context())
			if names := namesOf(links); err != nil || !slices.Equal(names, step.want) {
				t.Errorf("%q, %v; want %q", names, err, step.want)
			}
		}
	}
	answers, err := n.listLinks(t.Context())
	for _, answer := range answers {
		if valueAt(ofLink(answer), unix.IFLA_AF_SPEC, unix.AF_INET6, unix.IFLA_INET6_STATS) != nil {
			t.Error("with its counters")
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	one, err := reader.Links(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := reader.Links(t.Context()); err != nil || again[0] != one[0] {
		t.Errorf("what did not change was parsed again: %v", err)
	}
}
