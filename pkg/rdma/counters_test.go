package rdma_test

import (
	"errors"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestCountersAreReadWithThePortsThatTheyAreOf(t *testing.T) {
	tree, err := sysfs.New(t.TempDir())
	must(t, err)
	h := sysfs.MLX5(0)
	must(t, tree.Add(h))
	must(t, tree.SetCounter(h, "counters/port_xmit_data", "1000"))
	must(t, tree.SetCounter(h, "counters/port_rcv_data", "2000"))
	must(t, tree.SetCounter(h, "hw_counters/out_of_sequence", "18446744073709551615"))
	must(t, tree.SetCounter(h, "../../hw_counters/of_the_device", "5"))
	must(t, tree.SetPort(h, "INIT", "Polling"))
	must(t, tree.SetCounter(h, "rate", "2.5 Gb/sec (1X SDR)"))
	must(t, tree.SetCounter(h, "../../hca_type", "MT4129"))
	must(t, tree.SetCounter(h, "../../board_id", "MT_0000000838"))
	node := rdma.Node{Sys: tree.Sys(), Dev: tree.Dev()}
	reader := rdma.NewCounterReader()
	got, err := reader.Read(node, "mlx5_0")
	must(t, err)
	want := rdma.Counts{
		HCAType: "MT4129", Firmware: "28.39.1002", Board: "MT_0000000838", Counters: []netdev.Counter{{Name: "of_the_device", Value: 5}},
		Ports: []rdma.PortCounts{{
			Number: 1, LinkLayer: "Ethernet", State: "INIT", StateNumber: 2, PhysState: "Polling", Rate: 2.5e9,
			Counters: []netdev.Counter{{Name: "out_of_sequence", Value: 1<<64 - 1}, {Name: "port_rcv_data_bytes", Value: 8000}, {Name: "port_xmit_data_bytes", Value: 4000}},
		}},
	}
	for _, p := range got.Ports { // in the order of the folder
		slices.SortFunc(p.Counters, func(a, b netdev.Counter) int { return strings.Compare(a.Name, b.Name) })
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if _, err := reader.Read(node, "mlx5_1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a device that is not there: %v", err)
	}
}

func TestALinkThatTheKernelDoesNotTellIsNone(t *testing.T) {
	tree, err := sysfs.New(t.TempDir())
	must(t, err)
	h := sysfs.MLX5(0)
	must(t, errors.Join(tree.Add(h), tree.AddCounters(0, h)))
	node := rdma.Node{Sys: tree.Sys(), Dev: tree.Dev()}
	if got, want := node.PCIeLink(h.PCI), (rdma.PCIeLink{Speed: 16e9, MaxSpeed: 32e9, Width: 8, MaxWidth: 16}); got != want {
		t.Errorf("%+v", got)
	}
	must(t, errors.Join(tree.SetPCI(h, "current_link_speed", "Unknown"), tree.SetPCI(h, "current_link_width", "255")))
	if got, want := node.PCIeLink(h.PCI), (rdma.PCIeLink{MaxSpeed: 32e9, MaxWidth: 16}); got != want {
		t.Errorf("%+v", got)
	}
	if got := node.PCIeLink("0000:ff:00.0"); got != (rdma.PCIeLink{}) {
		t.Errorf("of no function: %+v", got)
	}
}

func TestAnOutlineIsADeviceWithoutStatesAndCharacterDevices(t *testing.T) {
	tree, err := sysfs.New(t.TempDir())
	must(t, err)
	nic := sysfs.NIC(3)
	must(t, tree.Add(sysfs.MLX5(0), sysfs.VF(sysfs.MLX5(0), 1, 10), sysfs.SF(sysfs.MLX5(0), 2, 11), nic, sysfs.RXE(4, nic)))
	must(t, tree.AddRepresentor(sysfs.MLX5(0), "ens11np0_0", "pf0vf0"))
	node := rdma.Node{Sys: tree.Sys(), Dev: tree.Dev()}
	devices, err := node.Devices()
	must(t, err)
	names, err := node.Names()
	must(t, err)
	if len(names) != 4 || len(devices) != 4 {
		t.Fatalf("%v, %d devices", names, len(devices))
	}
	for i, want := range devices {
		got, err := node.Outline(names[i])
		must(t, err)
		want.CharDevices, want.LinkType, want.Beside = nil, "", false
		for p := range want.Ports {
			want.Ports[p].State, want.Ports[p].PhysState = "", ""
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
}
