package inventory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// A testNode is a simulated node that is looked at.
type testNode struct{ *node.Node }

func newTestNode(t *testing.T, hcas ...sysfs.HCA) testNode {
	t.Helper()
	return testNode{node.New(t, hcas...)}
}

func (n testNode) inventory() *Inventory {
	return New(Options{Node: n.RDMA(), Journal: n.Journal, StateDir: n.State(), Log: n.Log()})
}

// look reads an inventory and remembers what it saw.
func (n testNode) look(i *Inventory) []Device {
	n.Helper()
	s, err := i.Read(n.Ctx)
	n.Must(err)
	i.Remember(s)
	return s.Devices
}

func byName(t *testing.T, i *Inventory) map[string]Device {
	t.Helper()
	s, err := i.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]Device{}
	for _, d := range s.Devices {
		if _, twice := m[d.Name]; twice {
			t.Errorf("%s is there twice", d)
		}
		m[d.Name] = d
	}
	return m
}

func TestADeviceInAPodIsWhatItWasOnTheHost(t *testing.T) {
	pf := sysfs.MLX5(0)
	nic := sysfs.NIC(5)
	all := []sysfs.HCA{
		pf, sysfs.SF(pf, 2, 10), sysfs.VF(pf, 1, 11), sysfs.VF(pf, 2, 12),
		sysfs.BNXT(1), sysfs.IRDMA(2), nic, sysfs.RXE(20, nic), sysfs.RXE(21, sysfs.HCA{}),
	}
	for _, mode := range []rdma.Mode{rdma.Shared, rdma.Exclusive} {
		t.Run(string(mode), func(t *testing.T) {
			n := newTestNode(t, all...)
			before := byName(t, n.inventory())
			if len(before) != 8 {
				t.Fatalf("%d devices", len(before))
			}
			for _, h := range all {
				if h.RDMA == "" {
					continue
				}
				n.Attach(mode, h)
				if h.Parent == nic.Netdev {
					n.Must(n.TakeNetdev(nic))
				}
				after := byName(t, n.inventory())
				if len(after) != len(before) {
					t.Fatalf("%d devices with %s in a pod, %d before", len(after), h.RDMA, len(before))
				}
				d := after[h.RDMA]
				if d.Place != InPod || d.Holder == nil {
					t.Errorf("%s: place %q, holder %v", h.RDMA, d.Place, d.Holder)
				}
				if !reflect.DeepEqual(d.Device, before[h.RDMA].Device) {
					t.Errorf("%s\nbefore %+v\nafter  %+v", h.RDMA, before[h.RDMA].Device, d.Device)
				}
				for name, d := range after {
					if name != h.RDMA && d.Place != OnHost {
						t.Errorf("%s went to a pod with %s", name, h.RDMA)
					}
				}
				// And back.
				records, _, err := n.Journal.List()
				n.Must(err)
				n.Must(n.Journal.Remove(records[0].ID()))
				n.Must(n.ReturnRDMA(h))
				n.Must(n.ReturnNetdev(h))
				if h.Parent == nic.Netdev {
					n.Must(n.ReturnNetdev(nic))
				}
				if again := byName(t, n.inventory()); !reflect.DeepEqual(again, before) {
					t.Errorf("back: got %+v", again)
				}
			}
		})
	}
}

func TestADeviceThatIsUnpluggedWhileAPodHasItIsGone(t *testing.T) {
	h := sysfs.MLX5(0)
	n := newTestNode(t, h, sysfs.MLX5(1))
	n.Attach(rdma.Exclusive, h)
	n.Must(n.Unplug(h))
	d := byName(t, n.inventory())["mlx5_0"]
	if d.Place != Gone || d.Holder == nil {
		t.Errorf("place %q, holder %v", d.Place, d.Holder)
	}
}

func TestANICUnderItsNameInThePodHasItsNameOnTheHost(t *testing.T) {
	h := sysfs.MLX5(0)
	n := newTestNode(t, h)
	n.Attach(rdma.Shared, h)
	h.Netdev = "net1" // the namespace died, the kernel brought the NIC back
	n.Must(n.ReturnNetdev(h))
	d := byName(t, n.inventory())["mlx5_0"]
	if !slices.Equal(d.Netdevs, []string{"ens11np0"}) || d.Place != InPod {
		t.Errorf("got %v %s", d.Netdevs, d.Place)
	}
}

func TestRecordsOfAnEarlierBootSayNothing(t *testing.T) {
	h := sysfs.MLX5(0)
	n := newTestNode(t, h)
	n.Attach(rdma.Exclusive, h)
	n.Boot("22222222-0000-0000-0000-000000000000")
	if devices := byName(t, n.inventory()); len(devices) != 0 {
		t.Errorf("got %v", devices)
	}
	n.Must(n.ReturnRDMA(h))
	n.Must(n.ReturnNetdev(h))
	if d := byName(t, n.inventory())["mlx5_0"]; d.Place != OnHost {
		t.Errorf("got %+v", d)
	}
}

func TestARecordOfANICThatIsBackHoldsNothing(t *testing.T) {
	h := sysfs.MLX5(0)
	n := newTestNode(t, h)
	n.Attach(rdma.Shared, h)
	n.Must(n.ReturnNetdev(h))
	records, _, err := n.Journal.List()
	n.Must(err)
	records[0].Step = attachment.Returned
	n.Must(n.Journal.Write(records[0]))
	if d := byName(t, n.inventory())["mlx5_0"]; d.Place != OnHost || d.Holder != nil {
		t.Errorf("got %+v", d)
	}
}

func TestANICWhoseRDMADeviceStayedBehindIsFoundByItsAddress(t *testing.T) {
	h := sysfs.MLX5(0)
	n := newTestNode(t, h)
	n.Must(n.Journal.Write(&attachment.Record{
		Step: attachment.Attached, ContainerID: "c", IfName: "net1",
		NIC:  attachment.NIC{Netdev: netdev.Identity{Index: 1}, Bus: "pci", Address: h.PCI},
		Host: netdev.State{Name: h.Netdev, AltNames: []string{"enp8s0np0"}},
	}))
	n.Must(n.TakeNetdev(h))
	d := byName(t, n.inventory())["mlx5_0"]
	if !slices.Equal(d.Netdevs, []string{h.Netdev}) || !slices.Equal(d.AltNames, []string{"enp8s0np0"}) {
		t.Errorf("got %+v", d)
	}
}

func TestABadJournalFileIsLoggedOnceAndHidesNothing(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Attach(rdma.Exclusive, node.Eight()...)
	n.Write("state/attachments/bad@net1.json", "{")
	i := n.inventory()
	for range 3 {
		if devices := byName(t, i); len(devices) != 8 {
			t.Fatalf("%d devices", len(devices))
		}
	}
	if c := strings.Count(n.Logs.String(), "bad@net1.json"); c == 0 || strings.Count(n.Logs.String(), "\n") != 1 {
		t.Errorf("logged:\n%s", n.Logs)
	}
	// Another mistake in the same file is news, as is the same one later.
	n.Write("state/attachments/bad@net1.json", "[]")
	byName(t, i)
	n.Must(os.Remove(filepath.Join(n.Dir, "state/attachments/bad@net1.json")))
	byName(t, i)
	if lines := strings.Count(n.Logs.String(), "\n"); lines != 2 {
		t.Errorf("logged:\n%s", n.Logs)
	}
	n.Write("state/attachments/bad@net1.json", "[]")
	byName(t, i)
	if lines := strings.Count(n.Logs.String(), "\n"); lines != 3 {
		t.Errorf("logged:\n%s", n.Logs)
	}
}

func TestAnUnreadableJournalDoesNotHideWhatIsThere(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Write("state/attachments", "a file where the folder should be")
	if devices := byName(t, n.inventory()); len(devices) != 8 {
		t.Errorf("%d devices", len(devices))
	}
	if !strings.Contains(n.Logs.String(), "cannot read the journal") {
		t.Errorf("logged: %s", n.Logs)
	}
}

// host-device keeps no journal; it leaves the host's name in the alias.
func TestANICThatSomebodyMovedBeforeTheFirstStartIsFoundInItsNamespace(t *testing.T) {
	pf, soft := sysfs.MLX5(0), sysfs.RXE(20, sysfs.HCA{})
	sf, away, bare := sysfs.SF(pf, 2, 10), sysfs.MLX5(1), sysfs.MLX5(2)
	n := newTestNode(t, pf, sf, soft, away, bare)
	before := byName(t, n.inventory())
	for _, h := range []sysfs.HCA{sf, soft, away, bare} {
		n.Must(n.TakeNetdev(h))
	}
	i := n.inventory()
	mac, err := net.ParseMAC(soft.MAC)
	n.Must(err)
	i.elsewhere = node.Links(
		netlink.LinkAttrs{Name: "lo"},
		netlink.LinkAttrs{Name: "net1", Alias: away.Netdev, AltNames: []string{"enp11s0np0"}, ParentDevBus: "pci", ParentDev: away.PCI},
		netlink.LinkAttrs{Name: "net2", Alias: soft.Netdev, HardwareAddr: mac},
		netlink.LinkAttrs{Name: "net3", Alias: sf.Netdev, ParentDevBus: "auxiliary", ParentDev: sf.Auxiliary},
		netlink.LinkAttrs{Name: bare.Netdev, ParentDevBus: "pci", ParentDev: bare.PCI}, // moved as it was
	)
	after := byName(t, i)
	for _, h := range []sysfs.HCA{sf, soft, away, bare} {
		d := after[h.RDMA]
		if d.Place != InPod || !slices.Equal(d.Netdevs, before[h.RDMA].Netdevs) || d.LinkType != "ether" {
			t.Errorf("%s: %s, netdevs %v, link type %s", h.RDMA, d.Place, d.Netdevs, d.LinkType)
		}
	}
	if names := after[away.RDMA].AltNames; !slices.Equal(names, []string{"enp11s0np0"}) {
		t.Errorf("alternative names %v", names)
	}
	if d := after[pf.RDMA]; d.Place != OnHost {
		t.Errorf("%s is on the host, not in place %s", pf.RDMA, d.Place)
	}
	// What was seen once is remembered, whatever the pod does next.
	i.Remember(Snapshot{Devices: slices.Collect(maps.Values(after))})
	i.elsewhere = node.Links()
	if d := byName(t, i)[away.RDMA]; d.Place != InPod || !slices.Equal(d.Netdevs, []string{away.Netdev}) {
		t.Errorf("later: %s, netdevs %v", d.Place, d.Netdevs)
	}
}

func TestNamespacesThatCannotBeSeenAreLoggedOnce(t *testing.T) {
	h := sysfs.MLX5(0)
	n := newTestNode(t, h)
	n.Must(n.TakeNetdev(h))
	i := n.inventory()
	searches := 0
	i.elsewhere = func(context.Context) ([]netlink.Link, error) { searches++; return nil, errors.New("permission denied") }
	for range 3 {
		if d := byName(t, i)[h.RDMA]; d.Place != OnHost || len(d.Netdevs) != 0 {
			t.Errorf("got %+v", d)
		}
		clear(i.sought) // as if it were long ago
	}
	if searches != 3 {
		t.Errorf("%d searches", searches)
	}
	if c := strings.Count(n.Logs.String(), "permission denied"); c != 1 {
		t.Errorf("logged %d times", c)
	}
}

func BenchmarkInventory(b *testing.B) {
	for _, count := range []int{8, 64, 512} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			dir := b.TempDir()
			tree, err := sysfs.New(dir)
			if err != nil {
				b.Fatal(err)
			}
			for n := range count {
				if err := tree.Add(sysfs.MLX5(n)); err != nil {
					b.Fatal(err)
				}
			}
			journal, err := attachment.Open(filepath.Join(dir, "state"), "/proc")
			if err != nil {
				b.Fatal(err)
			}
			log := slog.New(slog.DiscardHandler)
			i := New(Options{Node: rdma.Node{Sys: tree.Sys(), Dev: tree.Dev()}, Journal: journal, StateDir: dir, Log: log})
			for b.Loop() {
				s, err := i.Read(b.Context())
				if err != nil || len(s.Devices) != count {
					b.Fatal(len(s.Devices), err)
				}
			}
		})
	}
}
