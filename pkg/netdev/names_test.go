package netdev

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// newNamespaceOfItsOwn puts the test into a namespace with links.
func newNamespaceOfItsOwn(t *testing.T, names ...string) *Namespace {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends with the test
	if _, err := netns.New(); errors.Is(err, os.ErrPermission) {
		t.Skip("needs root for network namespaces")
	} else if err != nil {
		t.Fatal(err)
	}
	n, err := OpenNamespace("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	for _, name := range names {
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "w"}); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func (n *Namespace) mustFind(t *testing.T, name string) netlink.Link {
	t.Helper()
	link, err := n.LinkNamed(name)
	if err != nil || link == nil {
		t.Fatalf("%s: %v, %v", name, link, err)
	}
	return link
}

func TestAnAlternativeNameMayBeThereAlreadyButNotOnAnotherLink(t *testing.T) {
	n := newNamespaceOfItsOwn(t, "one", "two")
	one := n.mustFind(t, "one")
	if err := n.addAltNames(one, []string{"rail1", "rail2"}); err != nil {
		t.Fatal(err)
	}
	if err := n.addAltNames(n.mustFind(t, "one"), []string{"rail1", "rail3"}); err != nil {
		t.Errorf("it has the name: %v", err)
	}
	if err := n.addAltNames(n.mustFind(t, "two"), []string{"rail1", "rail4"}); !errors.Is(err, unix.EEXIST) {
		t.Errorf("another has the name: %v", err)
	}
	for name, want := range map[string][]string{"one": {"rail1", "rail2", "rail3"}, "two": {"rail4"}} {
		have := slices.Sorted(slices.Values(n.mustFind(t, name).Attrs().AltNames))
		if !slices.Equal(have, want) {
			t.Errorf("%s is called %v, too; want %v", name, have, want)
		}
	}
}

func TestAlternativeNamesThatAreGoneKeepNoOthers(t *testing.T) {
	n := newNamespaceOfItsOwn(t, "one")
	one := n.mustFind(t, "one")
	if err := n.addAltNames(one, []string{"rail1", "rail2", "rail3"}); err != nil {
		t.Fatal(err)
	}
	if err := n.deleteAltNames(one, []string{"rail1", "gone", "rail3"}); err != nil {
		t.Error(err)
	}
	if have := n.mustFind(t, "one").Attrs().AltNames; !slices.Equal(have, []string{"rail2"}) {
		t.Errorf("left: %v", have)
	}
	if err := n.DropAltName(one, "rail2"); err != nil {
		t.Error(err)
	}
	if have := n.mustFind(t, "one").Attrs().AltNames; len(have) != 0 {
		t.Errorf("left: %v", have)
	}
}

func TestALinkTakesANameThatUdevGaveItAsAnAlternativeOne(t *testing.T) {
	n := newNamespaceOfItsOwn(t, "dev0", "dev1")
	index := n.mustFind(t, "dev0").Attrs().Index
	if err := n.addAltNames(n.mustFind(t, "dev0"), []string{"ens12np0", "rail1"}); err != nil {
		t.Fatal(err)
	}
	if err := n.rename(t.Context(), n.mustFind(t, "dev0"), "ens12np0"); err != nil {
		t.Error(err)
	}
	if a := n.mustFind(t, "ens12np0").Attrs(); a.Index != index || a.Name != "ens12np0" || !slices.Equal(a.AltNames, []string{"rail1"}) {
		t.Errorf("%s %d is called %v, too", a.Name, a.Index, a.AltNames)
	}
	if err := n.rename(t.Context(), n.mustFind(t, "dev1"), "rail1"); !errors.Is(err, unix.EEXIST) {
		t.Errorf("another has the name: %v", err)
	}
	if a := n.mustFind(t, "ens12np0").Attrs(); !slices.Equal(a.AltNames, []string{"rail1"}) {
		t.Errorf("it has lost its name to another: %v", a.AltNames)
	}
}

// A link that came under whatever name and address its holder gave it last.
func TestALinkThatCameIsCalledAsItWas(t *testing.T) {
	n := newNamespaceOfItsOwn(t, "nic0", "nic1")
	link := n.mustFind(t, "nic0")
	s, err := n.State(t.Context(), link)
	if err != nil {
		t.Fatal(err)
	}
	come := func(name string) netlink.Link {
		t.Helper()
		if err := n.Apply(link.Attrs().Index, Change{Name: name, MAC: net.HardwareAddr{2, 0, 0, 0, 0x66, 0x66}}); err != nil {
			t.Fatal(err)
		}
		if err := n.addAltNames(link, []string{"nic0"}); err != nil {
			t.Fatal(err)
		}
		return n.mustFind(t, name)
	}
	taken, err := n.putRight(come("evil0"), s, slog.New(slog.DiscardHandler))
	if now := n.mustFind(t, "nic0").Attrs(); taken != nil || err != nil || now.Index != link.Attrs().Index || now.HardwareAddr.String() != s.MAC || len(now.AltNames) > 0 {
		t.Errorf("%+v, %v, %v", now, taken, err)
	}
	s.Name = "nic1"
	if taken, err := n.putRight(n.mustFind(t, "nic0"), s, slog.New(slog.DiscardHandler)); err != nil || taken == nil || taken.Name != "nic1" {
		t.Errorf("%v, %v", taken, err)
	}
}
