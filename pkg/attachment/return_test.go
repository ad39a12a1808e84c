package attachment_test

import (
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/netmanager"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

// Another link may have the name, which is none of ifupdown's business then.
func TestIfupdownIsCalledForANICUnderItsOwnNameOnly(t *testing.T) {
	for taken, want := range map[bool][]string{false: {"ens12np0", "ens12np0"}, true: nil} {
		t.Run(fmt.Sprint("taken: ", taken), func(t *testing.T) {
			host := node.NewHost(t)
			r := record("c1")
			r.NIC.Netdev, r.Manager = netdev.IdentityOf(node.AddNIC(t, host, "net1")), netmanager.Ifupdown
			if taken {
				node.AddNIC(t, host, r.Host.Name)
			}
			j := open(t, t.TempDir(), "boot-1")
			must(t, j.Write(r))
			var called []string
			w := attachment.Returner{Journal: j, Host: host, Log: slog.New(slog.DiscardHandler), Appear: func(name string) error {
				called = append(called, name)
				return nil
			}}
			must(t, w.Return(t.Context(), r))
			must(t, w.Finish(t.Context(), r)) // as if the device plugin had returned it
			if !slices.Equal(called, want) {
				t.Errorf("called for %v, want %v", called, want)
			}
		})
	}
}

// Of such a veth the peer says nothing: the host has no link of that ifindex, or
// another.
func TestAVethWhosePeerIsNotTheHostsComesBackFromWhereverItIs(t *testing.T) {
	host := node.NewHost(t)
	node.AddNIC(t, host, "nic0")
	peer, err := netlink.LinkByName("nic0w")
	must(t, err)
	away, err := netns.New()
	must(t, err)
	defer away.Close()
	elsewhere, err := netns.New()
	must(t, err)
	defer elsewhere.Close()
	process := exec.Command("sleep", "60") // in the namespace of this thread
	must(t, process.Start())
	defer func() { _, _ = process.Process.Kill(), process.Wait() }()
	must(t, netns.Set(host.NS))
	must(t, netlink.LinkSetNsFd(peer, int(away)))
	nic, err := host.LinkNamed("nic0")
	must(t, err)
	must(t, netlink.LinkSetNsFd(nic, int(elsewhere)))

	r := record("c1")
	r.Step, r.NIC.Netdev = attachment.Attached, netdev.IdentityOf(nic)
	j := open(t, t.TempDir(), "boot-1")
	must(t, j.Write(r))
	w := attachment.Returner{Journal: j, Host: host, Log: slog.New(slog.DiscardHandler)}
	must(t, w.Return(t.Context(), r))
	if link, err := host.LinkNamed(r.Host.Name); link == nil || err != nil || !r.NIC.Netdev.LowerAway {
		t.Errorf("on the host: %v, %v; it was %+v", link, err, r.NIC.Netdev)
	}
}
