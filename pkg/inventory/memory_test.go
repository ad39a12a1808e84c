package inventory

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestMemoryEndsWithTheBoot(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	i := n.inventory()
	n.look(i)
	for _, h := range node.Eight() {
		n.Must(n.Unplug(h))
	}
	if devices := byName(t, n.inventory()); len(devices) != 8 || devices["mlx5_0"].Place != Gone {
		t.Errorf("got %v", devices)
	}
	n.Boot("33333333-0000-0000-0000-000000000000")
	if devices := byName(t, n.inventory()); len(devices) != 0 {
		t.Errorf("after a reboot: %v", devices)
	}
}

func TestANICThatIsRenamedOnTheHostIsKnownByItsNewName(t *testing.T) {
	h := sysfs.MLX5(0)
	n := newTestNode(t, h)
	i := n.inventory()
	n.look(i)
	n.Must(n.TakeNetdev(h))
	h.Netdev = "rail0"
	n.Must(n.ReturnNetdev(h))
	n.look(i)
	n.Must(n.TakeNetdev(h))
	if d := byName(t, n.inventory())["mlx5_0"]; len(d.Netdevs) != 1 || d.Netdevs[0] != "rail0" || d.Place != InPod {
		t.Errorf("got %v %s", d.Netdevs, d.Place)
	}
}

func TestAMemoryOfNoUseIsNone(t *testing.T) {
	for name, content := range map[string]string{
		"cut short":                     `{"version": 1, "dev`,
		"of another version":            `{"version": 99}`,
		"of a device without identity":  `{"version": 1, "bootID": "11111111-0000-0000-0000-000000000000", "devices": [{}]}`,
		"of another boot":               `{"version": 1, "bootID": "x", "devices": [{"name": "mlx5_9", "bus": "pci", "address": "0000:99:00.0"}]}`,
		"a file where no file could be": "",
	} {
		t.Run(name, func(t *testing.T) {
			n := newTestNode(t, node.Eight()...)
			if content == "" {
				n.Must(os.MkdirAll(n.State()+"/device-plugin.json/x", 0o755))
			} else {
				n.Write("state/device-plugin.json", content)
			}
			i := n.inventory()
			for range 2 {
				if devices := n.look(i); len(devices) != 8 {
					t.Errorf("%d devices", len(devices))
				}
			}
			if c := strings.Count(n.Logs.String(), "cannot write the record"); content == "" && c != 1 {
				t.Errorf("logged %d times:\n%s", c, n.Logs)
			}
			unread := name == "cut short" || name == "of another version" || content == ""
			if c := strings.Count(n.Logs.String(), "starting without the record of earlier devices"); (c == 1) != unread {
				t.Errorf("said %d times:\n%s", c, n.Logs)
			}
		})
	}
}

func TestMemoryIsWrittenOnlyWhenThereIsNews(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	i := n.inventory()
	n.look(i)
	if n.Logs.String() != "" { // there is none at the first start
		t.Errorf("logged:\n%s", n.Logs)
	}
	n.Must(os.Remove(n.State() + "/device-plugin.json"))
	n.Must(n.SetPort(node.Eight()[0], "DOWN", "Disabled")) // links come and go
	n.look(i)
	if _, err := os.Stat(n.State() + "/device-plugin.json"); !os.IsNotExist(err) {
		t.Errorf("written without news: %v", err)
	}
	n.Must(n.Add(sysfs.MLX5(8)))
	n.look(i)
	if _, err := os.Stat(n.State() + "/device-plugin.json"); err != nil {
		t.Error(err)
	}
}

func TestAMemoryThatCouldNotBeWrittenIsWrittenLater(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Write("state", "a file where the folder should be")
	i := n.inventory()
	n.look(i)
	n.Must(os.Remove(n.State()))
	n.look(i) // without news
	if _, err := os.Stat(n.State() + "/device-plugin.json"); err != nil {
		t.Error(err)
	}
	n.Must(os.Remove(n.State() + "/device-plugin.json"))
	n.look(i)
	if _, err := os.Stat(n.State() + "/device-plugin.json"); !os.IsNotExist(err) {
		t.Errorf("written again, without news: %v", err)
	}
}

func TestMemoryHasTheNamesByWhichADeviceWasAlsoCalled(t *testing.T) {
	const boot = "11111111-0000-0000-0000-000000000000"
	n := newTestNode(t)
	n.Must(os.MkdirAll(n.State(), 0o700))
	ports := []rdma.Port{{Number: 1, State: "ACTIVE", PhysState: "LinkUp", LinkLayer: "Ethernet"}, {Number: 2, State: "DOWN", LinkLayer: "InfiniBand"}}
	openMemory(n.State(), boot, n.Log()).keep([]Device{{
		Device: rdma.Device{Name: "mlx5_0", Bus: rdma.BusPCI, Address: "0000:08:00.0", Ports: ports}, AltNames: []string{"rail1"}, Masters: []string{"bond0"}, MTU: 4200, Rate: 4e11,
	}})
	kept := openMemory(n.State(), boot, n.Log()).all()
	if len(kept) != 1 || !slices.Equal(kept[0].AltNames, []string{"rail1"}) || !slices.Equal(kept[0].Masters, []string{"bond0"}) || kept[0].MTU != 4200 || kept[0].Rate != 4e11 {
		t.Errorf("%+v", kept)
	}
	if want := []rdma.Port{{Number: 1, LinkLayer: "Ethernet"}, {Number: 2, LinkLayer: "InfiniBand"}}; !slices.Equal(kept[0].Ports, want) || ports[0].State != "ACTIVE" {
		t.Errorf("%+v of %+v", kept[0].Ports, ports)
	}
}

// What is decided by a link's rate must not change because a pod has the NIC, or
// somebody has pulled the cable.
func TestWhatALinkWasLikeIsKnownWhileItIsDownOrAway(t *testing.T) {
	away, down := sysfs.MLX5(0), sysfs.MLX5(1)
	n := newTestNode(t, away, down)
	inventory := func() *Inventory {
		links := node.Links(netlink.LinkAttrs{Index: 2, Name: away.Netdev, MTU: 4200}, netlink.LinkAttrs{Index: 3, Name: down.Netdev, MTU: 4200})
		return New(Options{Node: n.RDMA(), Journal: n.Journal, StateDir: n.State(), Links: links, Rates: true, Log: n.Log()})
	}
	for _, h := range []sysfs.HCA{away, down} {
		n.Must(n.SetCounter(h, "rate", "400 Gb/sec (4X NDR)"))
	}
	check := func(when string) {
		t.Helper()
		for _, d := range n.look(inventory()) {
			if d.Rate != 400e9 || d.MTU != 4200 && d.Place == OnHost {
				t.Errorf("%s, %s: %g bits per second, MTU %d", when, d, d.Rate, d.MTU)
			}
		}
	}
	if d := byName(t, n.inventory())[away.RDMA]; d.Rate != 0 {
		t.Errorf("the firmware was asked, for nobody: %g bits per second", d.Rate)
	}
	check("at first")
	n.Must(n.SetPort(down, "DOWN", "Disabled"))
	n.Must(n.SetCounter(down, "rate", "40 Gb/sec (4X QDR)"))
	n.Attach(rdma.Exclusive, away)
	check("down and away")
	if got := byName(t, n.inventory())[away.RDMA]; got.MTU != 9000 {
		t.Errorf("the record has an MTU of 9000, not %d", got.MTU)
	}
}
