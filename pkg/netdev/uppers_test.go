package netdev

import (
	"bytes"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The numbers are those of <linux/if_link.h> and <linux/if_tunnel.h>.
func TestATunnelOfAnyKindSendsFromItsAddress(t *testing.T) {
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	var answers [][]byte
	var want []string
	add := func(kind string, number int, from netip.Addr, counts bool) {
		info := attribute(unix.IFLA_LINKINFO, nl.NewRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(kind)), attribute(nl.IFLA_INFO_DATA, nl.NewRtAttr(number, from.AsSlice())))
		answers = append(answers, slices.Concat(nl.NewIfInfomsg(unix.AF_UNSPEC).Serialize(), nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated("t0")).Serialize(), info.Serialize()))
		if counts {
			want = append(want, kind+" t0 "+from.String())
		}
	}
	for kind, number := range map[string]int{"vxlan": 4, "ipip": 2, "sit": 2, "gre": 6, "gretap": 6, "erspan": 6, "vti": 4} {
		add(kind, number, four, true)
		add(kind, number, netip.IPv4Unspecified(), false)
		add(kind, number+1, four, false) // its other end, say
	}
	for kind, number := range map[string]int{"vxlan": 17, "ip6tnl": 2, "ip6gre": 6, "ip6gretap": 6, "ip6erspan": 6, "vti6": 4} {
		add(kind, number, six, true)
		add(kind, number, netip.IPv6Unspecified(), false)
	}
	add("geneve", 2, four, false)
	var have []string
	for _, tunnel := range tunnelsIn(answers) {
		have = append(have, tunnel.String()+" "+tunnel.From.String())
	}
	if !slices.Equal(have, want) {
		t.Errorf("%q, want %q", have, want)
	}
}

func TestWhatIsOnALinkGoesWhereverItIsAndNothingElse(t *testing.T) {
	n := newNamespaceOfItsOwn(t, "one", "two")
	one := n.mustFind(t, "one")
	handle, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	other, err := OpenNamespace("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	// In the other one a link has the ifindex, too, and something on it.
	same := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "same", Index: one.Attrs().Index}, PeerName: "samew"}
	if err := netlink.LinkAdd(same); err != nil {
		t.Fatal(err)
	}
	macvlan := func(name string, on netlink.Link) {
		t.Helper()
		if err := netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: on.Attrs().Index}, Mode: netlink.MACVLAN_MODE_BRIDGE}); err != nil {
			t.Fatal(err)
		}
	}
	macvlan("theirs", other.mustFind(t, "same"))
	if err := netns.Set(n.NS); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"here", "kept", "moved", "renamed", "stays"} {
		macvlan(name, one)
	}
	renamed, stays := n.mustFind(t, "renamed").Attrs().Index, n.mustFind(t, "stays").Attrs().Index
	if err := n.Apply(stays, Change{Namespace: other}); err != nil {
		t.Fatal(err)
	}
	if all, err := n.Stacked(t.Context(), one); err != nil || !slices.Contains(all, Stacked{n.ID, renamed}) {
		t.Errorf("%v, %v", all, err)
	}
	macvlan("others", n.mustFind(t, "two"))
	if err := n.Apply(n.mustFind(t, "moved").Attrs().Index, Change{Namespace: other}); err != nil {
		t.Fatal(err)
	}
	third, err := netns.New() // which knows nothing of the first
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	stranger, err := OpenNamespace("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	var log bytes.Buffer
	ended := &Namespace{ID: 1, Path: "/ended", route: &Socket{fd: -1}}
	n.deleteUppers(one, slices.Values([]*Namespace{stranger, ended, n, other}), State{Uppers: []string{"kept"}, Stacked: []Stacked{{n.ID, renamed}, {other.ID, stays}}}, slog.New(slog.NewTextHandler(&log, nil)))
	for name, place := range map[string]*Namespace{"here": n, "kept": n, "renamed": n, "stays": other, "others": n, "theirs": other, "moved": other, "same": other, "two": n} {
		link, err := place.LinkNamed(name)
		if gone := name == "here" || name == "moved"; err != nil || (link == nil) != gone {
			t.Errorf("%s: %v, %v", name, link, err)
		}
	}
	if said := log.String(); strings.Count(said, "\n") != 3 || !strings.Contains(said, `level=WARN msg="something may be left on top of the NIC" netns=/ended err=`) || !strings.Contains(said, `msg="deleted what was on top of the NIC" link="macvlan here"`) || !strings.Contains(said, `link="macvlan moved"`) {
		t.Error(said)
	}
}

// The kernel lists no links of a namespace that has ended.
func TestANamespaceThatEndedHasNoLinks(t *testing.T) {
	n := newNamespaceOfItsOwn(t)
	if answers, known, err := n.linksIn(t.Context(), 1<<20); len(answers) != 0 || !known || err != nil {
		t.Errorf("%d links, known %v, %v", len(answers), known, err)
	}
}

func TestWhoSharesASocketGetsHisOwnAnswer(t *testing.T) {
	n := newNamespaceOfItsOwn(t, "one", "two")
	names := map[int]string{1: "lo", n.mustFind(t, "one").Attrs().Index: "one", n.mustFind(t, "two").Attrs().Index: "two"}
	errs := make(chan string)
	for index, want := range names {
		go func() {
			for range 300 {
				if link, err := n.LinkAt(index); err != nil || link.Attrs().Name != want {
					errs <- want + " is another"
					return
				}
			}
			errs <- ""
		}()
	}
	for range names {
		if err := <-errs; err != "" {
			t.Error(err)
		}
	}
}
