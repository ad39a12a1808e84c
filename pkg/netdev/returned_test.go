package netdev_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

func TestALinkWhoseNameIsTakenComesBackUnderAnotherAndGetsItsOwnLater(t *testing.T) {
	host := node.NewHost(t)
	node.AddNIC(t, host, "nic0")
	shell(t, "ip link property add dev nic0 altname rail0; ip link property add dev nic0 altname rail1")
	link, s, _ := stateOf(t, host, "nic0")
	id := netdev.IdentityOf(link)
	pod := open(t, host, newPod(t, host))
	must(t, host.Apply(link.Attrs().Index, netdev.Change{Namespace: pod, Name: "net1"}))
	shell(t, "ip link add nic0 type veth peer name otherw; ip link property add dev nic0 altname rail1")
	there, err := pod.LinkNamed("net1")
	must(t, err)
	var log bytes.Buffer
	taken, unset, err := host.Restore(t.Context(), pod, there, id, s, slog.New(slog.NewTextHandler(&log, nil)))
	if taken == nil || taken.Name != "nic0" || !strings.HasPrefix(taken.Has, "dev") || !strings.HasPrefix(taken.Holder, "another link (veth, ifindex ") || unset != nil || err != nil {
		t.Fatalf("%+v, %v, %v\n%s", taken, unset, err, &log)
	}
	expect := func(name, holder string) {
		t.Helper()
		back, err := host.Link(t.Context(), id, host)
		if err != nil || back == nil || back.Attrs().Name != name || !slices.Contains(back.Attrs().AltNames, "rail0") {
			t.Fatalf("%v, %v; want %s", back, err, name)
		}
		again, err := host.RestoreNames(t.Context(), back, id, s)
		if err != nil || (again == nil) != (holder == "") || again != nil && again.Name != holder {
			t.Errorf("%+v, %v; want %s", again, err, holder)
		}
	}
	expect(taken.Has, "nic0")
	shell(t, "ip link set nic0 name other0") // it keeps the alternative name
	expect(taken.Has, "rail1")
	expect("nic0", "rail1")
	shell(t, "ip link property del dev other0 altname rail1")
	expect("nic0", "")
	if back, err := host.LinkNamed("rail1"); err != nil || back == nil || back.Attrs().Name != "nic0" {
		t.Errorf("rail1 is %v, %v", back, err)
	}
}

func TestAnAlternativeNameThatIsTakenIsOwedAndKeepsNothingElse(t *testing.T) {
	host := node.NewHost(t)
	node.AddNIC(t, host, "nic0")
	shell(t, "ip link property add dev nic0 altname rail0 altname rail1; ip addr add 192.0.2.1/24 dev nic0")
	link, s, _ := stateOf(t, host, "nic0")
	pod := open(t, host, newPod(t, host))
	must(t, host.Apply(link.Attrs().Index, netdev.Change{Namespace: pod, Name: "net1"}))
	other := node.AddNIC(t, host, "nic1")
	shell(t, "ip link property add dev nic1 altname rail0")
	there, err := pod.LinkNamed("net1")
	must(t, err)
	taken, unset, err := host.Restore(t.Context(), pod, there, netdev.IdentityOf(link), s, slog.New(slog.DiscardHandler))
	want := netdev.NameTaken{Name: "rail0", Has: "nic0", Holder: fmt.Sprintf("another link (veth, ifindex %d)", other.Attrs().Index)}
	if taken == nil || *taken != want || unset != nil || err != nil {
		t.Errorf("%+v, %v, %v; want %+v", taken, unset, err, want)
	}
	if _, back, _ := stateOf(t, host, "nic0"); len(back.Addresses) != 1 || !slices.Equal(back.AltNames, []string{"rail1"}) {
		t.Errorf("%+v", back)
	}
}

// A veth is known by its peer, a macvlan by its MAC address.
func TestALinkThatDoesNotTakeItsMACAddressComesBackUnlessItIsToldByThat(t *testing.T) {
	for kind, want := range map[string]string{"type veth": "", "link nic0 type macvlan": "bring back to the host: set its MAC address 01:00:5e:00:00:01: "} {
		host := node.NewHost(t)
		node.AddNIC(t, host, "nic0")
		shell(t, "ip link add rail0 "+kind)
		link, s, _ := stateOf(t, host, "rail0")
		pod := open(t, host, newPod(t, host))
		must(t, host.Apply(link.Attrs().Index, netdev.Change{Namespace: pod, Name: "net1"}))
		there, err := pod.LinkNamed("net1")
		must(t, err)
		s.MAC = "01:00:5e:00:00:01" // a group's
		var log bytes.Buffer
		_, _, err = host.Restore(t.Context(), pod, there, netdev.IdentityOf(link), s, slog.New(slog.NewTextHandler(&log, nil)))
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %q", kind, err, want)
		}
		if back, err := host.LinkNamed("rail0"); err != nil || (back != nil) != (want == "") {
			t.Errorf("%s: %v, %v", kind, back, err)
		}
		if said := strings.Contains(log.String(), "the NIC does not take its MAC address back"); said != (want == "") {
			t.Errorf("%s: %s", kind, &log)
		}
	}
}

// What its holder did to it shows when it leaves, or after the last look at it there.
func TestALinkIsPutRightOnTheHostWhateverItsHolderDidLast(t *testing.T) {
	for name, tt := range map[string]struct{ before, after string }{
		"a MAC address below a macvlan in passthru mode": {"ip link set net1 address 02:00:00:00:66:66; ip link add m1 link net1 type macvlan mode passthru; ip link set m1 address $MAC", ""},
		"an alternative name that the host has":          {"", "ip link property add dev net1 altname rail1"},
		"another name":                                   {"", "ip link set net1 name evil0"},
	} {
		t.Run(name, func(t *testing.T) {
			host := node.NewHost(t)
			node.AddNIC(t, host, "nic0")
			shell(t, "ip link add rail1 type dummy 2>/dev/null || ip link add rail1 type bridge")
			link, s, want := stateOf(t, host, "nic0")
			id, pod := netdev.IdentityOf(link), open(t, host, newPod(t, host))
			must(t, host.Apply(link.Attrs().Index, netdev.Change{Namespace: pod, Name: "net1"}))
			in := func(commands string) {
				must(t, netns.Set(pod.NS))
				shell(t, "MAC="+s.MAC+"; "+commands)
				must(t, netns.Set(host.NS))
			}
			in(tt.before)
			there, err := pod.Link(t.Context(), id, host)
			must(t, err)
			in(tt.after)
			var log bytes.Buffer
			taken, unset, err := host.Restore(t.Context(), pod, there, id, s, slog.New(slog.NewTextHandler(&log, nil)))
			if taken != nil || unset != nil || err != nil {
				t.Errorf("%v, %v, %v\n%s", taken, unset, err, &log)
			}
			if _, _, got := stateOf(t, host, "nic0"); got != want {
				t.Errorf("%s\nwas\n%s", got, want)
			}
		})
	}
}

// The pod gives the ifindex of its link to another one after the last look at it.
func TestALinkThatComesInThePlaceOfAnotherGoesBack(t *testing.T) {
	host := node.NewHost(t)
	node.AddNIC(t, host, "nic0")
	link, s, _ := stateOf(t, host, "nic0")
	id, pod, third := netdev.IdentityOf(link), open(t, host, newPod(t, host)), open(t, host, newPod(t, host))
	must(t, host.Apply(link.Attrs().Index, netdev.Change{Namespace: pod, Name: "net1"}))
	there, err := pod.LinkNamed("net1")
	must(t, err, pod.Apply(there.Attrs().Index, netdev.Change{Namespace: third}), netns.Set(pod.NS))
	shell(t, fmt.Sprintf("ip link add z0 index %d type veth peer name z1", there.Attrs().Index))
	must(t, netns.Set(host.NS))
	if _, _, err := host.Restore(t.Context(), pod, there, id, s, slog.New(slog.DiscardHandler)); err == nil || err.Error() != "not on the host after the move" {
		t.Errorf("%v", err)
	}
	if came, err := host.LinkNamed("nic0"); came != nil || err != nil {
		t.Errorf("the host has %v, %v", came, err)
	}
	links, err := pod.Links(t.Context())
	if must(t, err); len(links) != 3 { // with lo and the peer
		t.Errorf("the pod has %v", links)
	}
}

// What it is on may have a smaller MTU by now.
func TestAMacvlanComesBackWithTheModeThatTheHostGaveItAndUpWhateverItsMTU(t *testing.T) {
	host := node.NewHost(t)
	node.AddNIC(t, host, "nic0")
	shell(t, "ip link set nic0 up; ip link add rail0 link nic0 type macvlan mode bridge; ip link set rail0 up")
	link, s, want := stateOf(t, host, "rail0")
	s.MTU = 9000
	pod := open(t, host, newPod(t, host))
	must(t, host.Apply(link.Attrs().Index, netdev.Change{Namespace: pod, Name: "net1"}), netns.Set(pod.NS))
	shell(t, "ip link set net1 type macvlan mode private bcqueuelen 7")
	must(t, netns.Set(host.NS))
	there, err := pod.LinkNamed("net1")
	must(t, err)
	var log bytes.Buffer
	_, _, err = host.Restore(t.Context(), pod, there, netdev.IdentityOf(link), s, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil || strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "set MTU and flags: ") {
		t.Errorf("%v\n%s", err, &log)
	}
	if _, _, got := stateOf(t, host, "rail0"); got != want {
		t.Errorf("%s\nwas\n%s", got, want)
	}
	out, err := exec.Command("ip", "-details", "link", "show", "rail0").CombinedOutput()
	if !strings.Contains(string(out), "macvlan mode bridge") || !strings.Contains(string(out), ",UP") || err != nil {
		t.Errorf("%s, %v", out, err)
	}
}

func TestAChangeIsMadeWithTheMoveAsAWhole(t *testing.T) {
	host := node.NewHost(t)
	nic := node.AddNIC(t, host, "nic0")
	pod := open(t, host, newPod(t, host))
	alias, mac := "rail of net1", net.HardwareAddr{2, 0, 0, 0, 0, 9}
	must(t, host.Apply(nic.Attrs().Index, netdev.Change{Namespace: pod, Name: "net1", MTU: 1400, MAC: mac, Alias: &alias, Flags: unix.IFF_UP, Which: unix.IFF_UP | unix.IFF_MULTICAST}))
	link, err := pod.LinkNamed("net1")
	must(t, err)
	a := link.Attrs()
	if a.MTU != 1400 || !bytes.Equal(a.HardwareAddr, mac) || a.Alias != alias || a.RawFlags&(unix.IFF_UP|unix.IFF_MULTICAST|unix.IFF_BROADCAST) != unix.IFF_UP|unix.IFF_BROADCAST {
		t.Errorf("%+v", a)
	}
	alias = ""
	must(t, pod.Apply(a.Index, netdev.Change{Alias: &alias}))
	if link, err = pod.LinkNamed("net1"); err != nil || link.Attrs().Alias != "" || link.Attrs().MTU != 1400 {
		t.Errorf("%+v, %v", link.Attrs(), err)
	}
}
