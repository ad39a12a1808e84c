package netdev

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestALinkThatIsGoneHasNoNeighbourSettings(t *testing.T) {
	n := newNamespaceOfItsOwn(t)
	if found, err := n.readNeighbours("none0"); len(found) != 0 || err != nil {
		t.Errorf("%v, %v", found, err)
	}
}

// The kernel takes a hop limit of up to 255.
func TestASysctlThatIsRefusedKeepsNoOther(t *testing.T) {
	n := newNamespaceOfItsOwn(t, "one")
	one := n.mustFind(t, "one")
	answer, err := n.getLink(one.Attrs().Index)
	if err != nil {
		t.Fatal(err)
	}
	d, err := n.devconf(one, answer)
	if err != nil || len(d.IPv6) < 10 {
		t.Skipf("without IPv6: %v", err)
	}
	const hopLimit, autoconf = 1, 5
	d.IPv6[hopLimit], d.IPv6[autoconf] = 999, 1-d.IPv6[autoconf]
	d.Neighbours["ipv6/app_solicit"], d.Neighbours["ipv4/mcast_solicit"], d.Neighbours["ipv4/not_of_this_kernel"] = "7", "8", "9"
	if err := n.RestoreSysctls(one, State{Devconf: d}); err == nil || !strings.HasPrefix(err.Error(), `set net/ipv6/conf/one/hop_limit to "999": `) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
	for file, want := range map[string]string{"ipv6/conf/one/autoconf": fmt.Sprint(d.IPv6[autoconf]), "ipv6/neigh/one/app_solicit": "7", "ipv4/neigh/one/mcast_solicit": "8", "ipv4/neigh/one/app_solicit": "0"} {
		if b, err := os.ReadFile("/proc/sys/net/" + file); err != nil || strings.TrimSpace(string(b)) != want {
			t.Errorf("%s is %q, %v; want %s", file, b, err, want)
		}
	}
	if err := n.RestoreSysctls(one, State{}); err != nil {
		t.Errorf("of a record without: %v", err)
	}
	if err := n.RestoreSysctls(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 99}}, State{}); !errors.Is(err, unix.ENODEV) {
		t.Errorf("of a link that is gone: %v", err)
	}
}

// As in a container: the thread sees /proc/sys read-only.
func TestASysctlThatIsAsItShouldBeNeedNotBeWritable(t *testing.T) {
	n := newNamespaceOfItsOwn(t, "one")
	one := n.mustFind(t, "one")
	answer, err := n.getLink(one.Attrs().Index)
	if err != nil {
		t.Fatal(err)
	}
	d, err := n.devconf(one, answer)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	for _, flags := range []uintptr{unix.MS_REC | unix.MS_PRIVATE, unix.MS_BIND, unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY} {
		at := "/proc/sys"
		if flags&unix.MS_PRIVATE != 0 {
			at = "/"
		}
		if err := unix.Mount(at, at, "", flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.RestoreSysctls(one, State{Devconf: d}); err != nil {
		t.Errorf("nothing differs: %v", err)
	}
	if err := n.AddAddresses(one, []Address{{Prefix: netip.MustParsePrefix("fd00::1/64")}}); err != nil {
		t.Errorf("IPv6 is on: %v", err)
	}
	d.Neighbours["ipv4/app_solicit"] = "7"
	if err := n.RestoreSysctls(one, State{Devconf: d}); !errors.Is(err, unix.EROFS) {
		t.Errorf("one differs: %v", err)
	}
}
