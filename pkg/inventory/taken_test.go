package inventory

import (
	"context"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestWhatWasTakenAwayOnPurposeLeavesAndWhatDiedStays(t *testing.T) {
	pf := sysfs.MLX5(0)
	vf := sysfs.VF(pf, 1, 10)
	nic := sysfs.MLX5(1)
	carrier := sysfs.VF(pf, 2, 11) // of a Soft-RoCE device
	carrier.RDMA = ""
	soft := sysfs.RXE(20, carrier)
	for name, test := range map[string]struct {
		happens func(n testNode) error
		gone    int // known to be away; what leaves is not known any more
	}{
		"fewer virtual functions":           {func(n testNode) error { return n.Unplug(vf) }, 0},
		"the whole card is pulled":          {func(n testNode) error { _ = n.Unplug(vf); return n.Unplug(pf) }, 2},
		"a function gets another driver":    {func(n testNode) error { return n.Bind(vf, "vfio-pci") }, 0},
		"a NIC gets another driver":         {func(n testNode) error { return n.Bind(nic, "vfio-pci") }, 0},
		"a NIC is pulled":                   {func(n testNode) error { return n.Unplug(nic) }, 1},
		"a Soft-RoCE device is elsewhere":   {func(n testNode) error { return n.Unplug(soft) }, 1},
		"Soft-RoCE and its NIC are gone":    {func(n testNode) error { _ = n.Unplug(soft); return n.Unplug(carrier) }, 1},
		"a NIC loses its driver":            {func(n testNode) error { return n.Unbind(nic) }, 1},
		"a driver makes no device any more": {func(n testNode) error { return n.Bind(nic, nic.Driver) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			n := newTestNode(t, pf, vf, nic, carrier, soft)
			n.look(n.inventory())
			n.Must(test.happens(n))
			for what, i := range map[string]*Inventory{"a program that starts": n.inventory(), "one that runs": n.inventory()} {
				gone := 0
				for _, d := range n.look(i) {
					if d.Place == Gone {
						gone++
					}
				}
				if gone != test.gone {
					t.Errorf("%s knows %d devices that are gone, want %d", what, gone, test.gone)
				}
			}
		})
	}
}

func TestAVirtualFunctionThatIsBackIsTheOneItWas(t *testing.T) {
	pf := sysfs.MLX5(0)
	vf := sysfs.VF(pf, 1, 10)
	n := newTestNode(t, pf, vf)
	i := n.inventory()
	before := n.look(i)
	n.Must(n.Unplug(vf))
	if after := n.look(i); len(after) != 1 {
		t.Errorf("without it: %v", after)
	}
	n.Must(n.Add(vf))
	if after := n.look(i); len(after) != 2 || after[1].Key() != before[1].Key() {
		t.Errorf("with it: %v", after)
	}
}

func TestADeviceIsForgottenWhenSomebodySaysSo(t *testing.T) {
	h := sysfs.MLX5(1)
	n := newTestNode(t, sysfs.MLX5(0), h)
	i := n.inventory()
	n.look(i)
	n.Must(n.Unplug(h))
	devices := n.look(i)
	if len(devices) != 2 || devices[1].Place != Gone {
		t.Fatalf("got %v", devices)
	}
	n.Must(i.Forget(devices[1]))
	for _, i := range []*Inventory{i, n.inventory()} {
		if devices := n.look(i); len(devices) != 1 {
			t.Errorf("got %v", devices)
		}
	}
}

func TestABondHasACarrierAsLongAsOneOfItsLinksHas(t *testing.T) {
	h := sysfs.MLX5(0)
	for kind, want := range map[string]bool{"bond": false, "team": false, "bridge": true} {
		t.Run(kind, func(t *testing.T) {
			n := newTestNode(t, h)
			i := n.inventory()
			master := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Name: "m0", Index: 7, RawFlags: unix.IFF_LOWER_UP}, LinkType: kind}
			leg := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: h.Netdev, Index: 8, MasterIndex: 7}}
			i.links = func(context.Context) ([]netlink.Link, error) { return []netlink.Link{leg, master}, nil }
			if d := byName(t, i)[h.RDMA]; d.NoCarrier != want || len(d.Masters) != 1 {
				t.Errorf("%s: no carrier %v, masters %v", kind, d.NoCarrier, d.Masters)
			}
			master.RawFlags = 0
			if d := byName(t, i)[h.RDMA]; !d.NoCarrier {
				t.Errorf("%s without a carrier: the device has one", kind)
			}
		})
	}
}

// A RoCE device without a netdev (erdma, pvrdma) is no reason to search all
// namespaces at every look.
func TestNetdevsThatWereNotFoundAreNotSoughtAtEveryLook(t *testing.T) {
	h := sysfs.MLX5(0)
	n := newTestNode(t, h)
	n.Must(n.TakeNetdev(h))
	i := n.inventory()
	searches := 0
	i.elsewhere = func(context.Context) ([]netlink.Link, error) { searches++; return nil, nil }
	for range 3 {
		n.look(i)
	}
	if searches != 1 {
		t.Errorf("%d searches in three looks", searches)
	}
	infiniband := sysfs.MLX5(2) // which has no netdev, as a rule
	infiniband.LinkLayer = "InfiniBand"
	n.Must(n.Add(infiniband))
	n.Must(n.TakeNetdev(infiniband))
	if n.look(i); searches != 1 {
		t.Errorf("%d searches after an InfiniBand device came", searches)
	}
	other := sysfs.MLX5(1)
	n.Must(n.Add(other))
	n.Must(n.TakeNetdev(other)) // moved before it was ever seen
	n.look(i)
	if searches != 2 {
		t.Errorf("%d searches after another device came", searches)
	}
	for key := range i.sought {
		i.sought[key] = time.Now().Add(-seekAgain)
	}
	n.look(i)
	if searches != 3 {
		t.Errorf("%d searches, and none after a while", searches)
	}
	n.Must(n.ReturnNetdev(h))
	n.look(i)
	n.Must(n.TakeNetdev(h)) // it was back meanwhile
	i.memory.devices = nil
	n.look(i)
	if searches != 4 {
		t.Errorf("%d searches, and none when a netdev left again", searches)
	}
}

func TestALookThatSawAPartOnlySaysSo(t *testing.T) {
	h := sysfs.MLX5(0)
	n := newTestNode(t, append(node.Eight()[1:], h)...)
	n.Must(n.TakePorts(h))
	i := n.inventory()
	for _, want := range []bool{true, false} {
		s, err := i.Read(n.Ctx)
		n.Must(err)
		if s.Partial != want {
			t.Errorf("partial: %v", s.Partial)
		}
		n.Must(n.ReturnRDMA(h))
	}
}
