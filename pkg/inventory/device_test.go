package inventory

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestADeviceIsDescribedByAllOfItsNetdevsOnTheHost(t *testing.T) {
	link := func(index int, name string, master int, lower bool, altNames ...string) netlink.Link {
		a := netlink.LinkAttrs{Index: index, Name: name, MasterIndex: master, AltNames: altNames}
		if lower {
			a.RawFlags = unix.IFF_LOWER_UP
		}
		return &netlink.Device{LinkAttrs: a}
	}
	master := func(kind netlink.Link, index int, name string, lower bool) netlink.Link {
		a := kind.Attrs()
		a.Index, a.Name = index, name
		if lower {
			a.RawFlags = unix.IFF_LOWER_UP
		}
		return kind
	}
	for name, tt := range map[string]struct {
		links             []netlink.Link
		altNames, masters []string
		noCarrier         bool
	}{
		"none on the host":     {[]netlink.Link{link(1, "other", 0, false, "x")}, nil, nil, false},
		"one with a carrier":   {[]netlink.Link{link(1, "p0", 0, true, "a", "b")}, []string{"a", "b"}, nil, false},
		"one without":          {[]netlink.Link{link(1, "p0", 0, false, "a")}, []string{"a"}, nil, true},
		"two, one with":        {[]netlink.Link{link(1, "p0", 0, false, "a"), link(2, "p1", 0, true, "b")}, []string{"a", "b"}, nil, false},
		"two without":          {[]netlink.Link{link(1, "p0", 0, false), link(2, "p1", 0, false)}, nil, nil, true},
		"a port of a bond":     {[]netlink.Link{link(1, "p0", 9, false), master(&netlink.Bond{}, 9, "bond0", true)}, nil, []string{"bond0"}, false},
		"of one without":       {[]netlink.Link{link(1, "p0", 9, false), master(&netlink.Bond{}, 9, "bond0", false)}, nil, []string{"bond0"}, true},
		"of a team":            {[]netlink.Link{link(1, "p0", 9, false), master(&netlink.GenericLink{LinkType: "team"}, 9, "team0", true)}, nil, []string{"team0"}, false},
		"of a bridge":          {[]netlink.Link{link(1, "p0", 9, false), master(&netlink.Bridge{}, 9, "br0", true)}, nil, []string{"br0"}, true}, // its other ports are not the device's
		"with its own carrier": {[]netlink.Link{link(1, "p0", 9, true), master(&netlink.Bond{}, 9, "bond0", false)}, nil, []string{"bond0"}, false},
	} {
		for i, l := range tt.links {
			l.Attrs().MTU = 9000 - 100*i
		}
		d := Device{Device: rdma.Device{Netdevs: []string{"p0", "p1"}}}
		d.describeNetdevs(newLinks(tt.links))
		if d.MTU != 9000 && name != "none on the host" {
			t.Errorf("%s: MTU %d", name, d.MTU)
		}
		if !slices.Equal(d.AltNames, tt.altNames) || !slices.Equal(d.Masters, tt.masters) || d.NoCarrier != tt.noCarrier {
			t.Errorf("%s: also called %v, in %v, no carrier %v", name, d.AltNames, d.Masters, d.NoCarrier)
		}
	}
}

func TestWhatADeviceLacksWhileItsNetdevIsAwayIsRemembered(t *testing.T) {
	before := rdma.Device{Bus: rdma.BusPCI, Address: "0000:08:00.0", Vendor: "15b3", DeviceID: "1021", Driver: "mlx5_core", NUMANode: 1, LinkType: "ether"}
	soft := Device{Device: rdma.Device{Name: "rxe0", Netdevs: []string{"p1"}, LinkType: "?"}, AltNames: []string{"b"}}
	soft.restore(before, []string{"p1", "p0"}, []string{"a"})
	if !slices.Equal(soft.Netdevs, []string{"p0", "p1"}) || !slices.Equal(soft.AltNames, []string{"b", "a"}) {
		t.Errorf("netdevs %v, also called %v", soft.Netdevs, soft.AltNames)
	}
	if soft.Bus != before.Bus || soft.Address != before.Address || soft.Vendor != before.Vendor || soft.DeviceID != before.DeviceID ||
		soft.Driver != before.Driver || soft.NUMANode != before.NUMANode || soft.LinkType != before.LinkType {
		t.Errorf("%+v", soft)
	}
	own := rdma.Device{Bus: rdma.BusAuxiliary, Address: "mlx5_core.sf.2", Vendor: "v", DeviceID: "d", Driver: "x", NUMANode: 3, LinkType: "ether"}
	hard := Device{Device: own}
	before.LinkType = ""
	hard.restore(before, nil, nil)
	if hard.Bus != own.Bus || hard.Address != own.Address || hard.Vendor != own.Vendor || hard.DeviceID != own.DeviceID ||
		hard.Driver != own.Driver || hard.NUMANode != own.NUMANode || hard.LinkType != own.LinkType {
		t.Errorf("%+v", hard)
	}
}

func TestADeviceThatNothingWouldTellFromOthersIsNotRemembered(t *testing.T) {
	const boot = "11111111-0000-0000-0000-000000000000"
	n := newTestNode(t)
	for device, kept := range map[string]bool{
		`{"name": "mlx5_9", "bus": "pci", "address": "0000:99:00.0"}`:       true,
		`{"name": "mlx5_9", "nodeGUID": "946d:ae03:00c6:0001"}`:             false,
		`{"name": "", "bus": "pci", "address": "0000:99:00.0"}`:             false,
		`{"name": "rxe0", "soft": true, "nodeGUID": "5054:00ff:fe00:0001"}`: true,
		`{"name": "rxe0", "soft": true, "address": "0000:99:00.0"}`:         false,
	} {
		n.Write("state/device-plugin.json", `{"version": 1, "bootID": "`+boot+`", "devices": [`+device+`]}`)
		m := openMemory(n.State(), boot, n.Log())
		if have := len(m.all()) == 1; have != kept {
			t.Errorf("%s: %v", device, have)
		}
	}
}

func TestEachBadJournalFileIsLogged(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	for _, name := range []string{"c1@net1.json", "c2@net1.json", "c3@net1.json"} {
		n.Write("state/attachments/"+name, "{")
	}
	n.look(n.inventory())
	for _, name := range []string{"c1@net1.json", "c2@net1.json", "c3@net1.json"} {
		if strings.Count(n.Logs.String(), "file="+filepath.Join(n.State(), "attachments", name)) != 1 {
			t.Errorf("nothing of %s in\n%s", name, n.Logs)
		}
	}
}

func TestNothingIsLeftBehindByAMemoryThatCannotBeWritten(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0))
	n.Must(os.MkdirAll(n.State()+"/device-plugin.json/x", 0o755))
	n.look(n.inventory())
	entries, err := os.ReadDir(n.State())
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestADeviceWithoutCharacterDevicesIsStillOnTheHost(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0))
	n.Must(n.RemoveCharDevices(sysfs.MLX5(0)))
	n.Must(n.TakeNetdev(sysfs.MLX5(0))) // and nobody can look for it elsewhere
	if d := byName(t, n.inventory())["mlx5_0"]; d.Place != OnHost || len(d.CharDevices) > 0 {
		t.Errorf("%+v", d)
	}
}

func TestADeviceIsCalledByItsNetdevIfItHasOne(t *testing.T) {
	d := Device{Device: rdma.Device{Name: "mlx5_0", Bus: rdma.BusPCI, Address: "0000:08:00.0"}}
	if got := d.String(); got != "mlx5_0 (0000:08:00.0)" {
		t.Errorf("without one: %s", got)
	}
	if d.Netdevs = []string{"ens12np0", "ens13np0"}; d.String() != "ens12np0/mlx5_0 (0000:08:00.0)" {
		t.Errorf("with two: %s", d)
	}
}
