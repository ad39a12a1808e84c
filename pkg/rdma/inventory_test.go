package rdma_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// simulate makes a simulated sysfs tree with HCAs in it.
func simulate(t *testing.T, hcas ...sysfs.HCA) (rdma.Node, *sysfs.Tree) {
	t.Helper()
	tree, err := sysfs.New(t.TempDir())
	must(t, err)
	must(t, tree.Add(hcas...))
	return rdma.Node{Sys: tree.Sys(), Dev: tree.Dev()}, tree
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// only is the one device of a node.
func only(t *testing.T, node rdma.Node) rdma.Device {
	t.Helper()
	devices, err := node.Devices()
	must(t, err)
	if len(devices) != 1 {
		t.Fatalf("%d devices: %v", len(devices), devices)
	}
	return devices[0]
}

func TestDevicesAreReadWithAllThatTheNodeKnows(t *testing.T) {
	hca, nic := sysfs.MLX5(9), sysfs.NIC(3)
	tests := []struct {
		name string
		hcas []sysfs.HCA
		want rdma.Device
	}{
		{"PCI function", []sysfs.HCA{hca}, rdma.Device{Name: "mlx5_9", Bus: "pci", Address: hca.PCI, Vendor: "15b3", DeviceID: "1021",
			Driver: "mlx5_core", NUMANode: 1, Netdevs: []string{hca.Netdev}, LinkType: "ether", CharDevices: []string{"issm9", "umad9", "uverbs9"}}},
		{"scalable function", []sysfs.HCA{sysfs.SF(hca, 2, 17)}, rdma.Device{Name: "mlx5_17", Bus: "auxiliary", Address: "mlx5_core.sf.2",
			Vendor: "15b3", DeviceID: "1021", Driver: "mlx5_core.sf", NUMANode: 1, Netdevs: []string{sysfs.SF(hca, 2, 17).Netdev},
			LinkType: "ether", CharDevices: []string{"issm17", "umad17", "uverbs17"}}},
		{"without umad and issm", []sysfs.HCA{sysfs.IRDMA(0)}, rdma.Device{Name: "irdma0", Bus: "pci", Address: sysfs.IRDMA(0).PCI, Vendor: "8086",
			DeviceID: "1592", Driver: "ice", Netdevs: []string{sysfs.IRDMA(0).Netdev}, LinkType: "ether", CharDevices: []string{"uverbs0"}}},
		{"Soft-RoCE on a PCI NIC", []sysfs.HCA{nic, sysfs.RXE(1, nic)}, rdma.Device{Name: "rxe1", Soft: true, Bus: "pci", Address: nic.PCI,
			Vendor: "1af4", DeviceID: "1041", Driver: "virtio-pci", Netdevs: []string{nic.Netdev}, LinkType: "ether",
			CharDevices: []string{"issm1", "umad1", "uverbs1"}}},
		{"Soft-RoCE on a virtual netdev", []sysfs.HCA{sysfs.RXE(4, sysfs.HCA{})}, rdma.Device{Name: "rxe4", Soft: true, NUMANode: -1,
			Netdevs: []string{"veth4"}, LinkType: "ether", CharDevices: []string{"issm4", "umad4", "uverbs4"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			node, _ := simulate(t, tt.hcas...)
			have := only(t, node)
			for i, name := range tt.want.CharDevices {
				tt.want.CharDevices[i] = filepath.Join(node.Dev, "infiniband", name)
			}
			if !slices.Equal(have.Netdevs, tt.want.Netdevs) || !slices.Equal(have.CharDevices, tt.want.CharDevices) {
				t.Errorf("netdevs %v, character devices %v", have.Netdevs, have.CharDevices)
			}
			if !have.IsRoCE() || have.Ports[0].State != "ACTIVE" || have.NodeGUID == "" {
				t.Errorf("ports %+v, node GUID %q", have.Ports, have.NodeGUID)
			}
			have.Ports, have.NodeGUID, have.Netdevs, have.CharDevices = nil, "", nil, nil
			tt.want.Netdevs, tt.want.CharDevices = nil, nil
			if !equal(have, tt.want) {
				t.Errorf("have %+v\nwant %+v", have, tt.want)
			}
		})
	}
}

// equal compares the fields that are not slices.
func equal(a, b rdma.Device) bool {
	return a.Name == b.Name && a.Soft == b.Soft && a.Bus == b.Bus && a.Address == b.Address && a.Vendor == b.Vendor &&
		a.DeviceID == b.DeviceID && a.Driver == b.Driver && a.NUMANode == b.NUMANode && a.LinkType == b.LinkType
}

func TestANodeWithoutRDMAHasNoDevices(t *testing.T) {
	devices, err := rdma.Node{Sys: t.TempDir(), Dev: t.TempDir()}.Devices()
	if len(devices) != 0 || err != nil {
		t.Errorf("%v, %v", devices, err)
	}
}

func TestADeviceWhoseNetdevIsAwayHasNone(t *testing.T) {
	hca := sysfs.MLX5(0)
	node, tree := simulate(t, hca)
	must(t, tree.TakeNetdev(hca))
	d := only(t, node)
	if len(d.Netdevs) != 0 || d.Address != hca.PCI || d.LinkType != "ether" {
		t.Errorf("%+v", d)
	}
}

// Its function has not even a folder for netdevs.
func TestADeviceThatNeverHadANetdevHasALinkType(t *testing.T) {
	hca := sysfs.MLX5(0)
	hca.Netdev = ""
	node, _ := simulate(t, hca)
	if d := only(t, node); d.LinkType != "ether" {
		t.Errorf("%+v", d)
	}
}

func TestADeviceThatLeavesWhileItIsReadIsLeftOut(t *testing.T) {
	node, tree := simulate(t, sysfs.MLX5(0))
	must(t, os.Symlink("../../devices/pci0000:00/0000:09:00.0/infiniband/mlx5_9", filepath.Join(tree.Sys(), "class/infiniband/mlx5_9")))
	if d := only(t, node); d.Name != "mlx5_0" {
		t.Errorf("%+v", d)
	}
}

func TestACharacterDeviceThatCouldNotBeReadIsReadAgain(t *testing.T) {
	node, tree := simulate(t, sysfs.MLX5(0), sysfs.MLX5(1))
	owner := filepath.Join(tree.Sys(), "class/infiniband_verbs/uverbs0/ibdev")
	must(t, os.Rename(owner, owner+"-away"))
	i := node.Inventory()
	for range 3 { // the kernel leaves gaps in what it says of a folder: they have to become the same
		if devices, err := i.Devices(); err != nil || devices[0].Uverbs() != "" || devices[1].Uverbs() == "" {
			t.Fatalf("%v, %v", devices, err)
		}
	}
	must(t, os.Rename(owner+"-away", owner)) // in the same folder: nothing came or went
	if devices, err := i.Devices(); err != nil || devices[0].Uverbs() == "" {
		t.Errorf("%v, %v", devices, err)
	}
}

func TestRepresentorsAreNoNetdevsOfTheDevice(t *testing.T) {
	hca := sysfs.MLX5(0)
	node, tree := simulate(t, hca)
	for n := range 2 {
		must(t, tree.AddRepresentor(hca, fmt.Sprint("eth", n), fmt.Sprint("pf0vf", n)))
	}
	if d := only(t, node); !slices.Equal(d.Netdevs, []string{hca.Netdev}) {
		t.Errorf("netdevs %v", d.Netdevs)
	}
}

func TestADeviceThatIsAwayIsNotThere(t *testing.T) {
	hca := sysfs.MLX5(0)
	node, tree := simulate(t, hca)
	before := only(t, node)
	must(t, tree.TakeRDMA(hca))
	if devices, err := node.Devices(); err != nil || len(devices) != 0 {
		t.Errorf("%v, %v", devices, err)
	}
	chars, err := node.CharDevicesOf(before)
	must(t, err)
	if !slices.Equal(chars, before.CharDevices) {
		t.Errorf("its character devices became %v", chars)
	}
}

// The kernel prints a Soft-RoCE device's parent only by name, whatever
// namespace it is in.
func TestANetdevThatOnlyBearsTheNameIsNotTheParent(t *testing.T) {
	nic := sysfs.NIC(0)
	soft := sysfs.RXE(0, nic)
	stranger := sysfs.NIC(1)
	stranger.Netdev = nic.Netdev
	node, tree := simulate(t, nic, soft)
	must(t, tree.TakeNetdev(nic))
	must(t, tree.Add(stranger))
	d := only(t, node)
	if len(d.Netdevs) != 0 || d.Address != "" {
		t.Errorf("%+v", d)
	}
}

func TestBusAddresses(t *testing.T) {
	for s, want := range map[string]bool{"0000:08:00.0": true, "10000:e1:00.7": true, "08:00.0": false, "0000:08:00.8": false, "0000:08:0g.0": false, "0000:0g:00.0": false, "3": false, "": false} {
		if rdma.IsPCIAddress(s) != want {
			t.Errorf("IsPCIAddress(%q) is %v", s, !want)
		}
	}
	for s, want := range map[string]bool{"mlx5_core.sf.2": true, "mlx5_core.sf": false, "3": false, "a.b.c": false, "a.b.": false, "/a.b.1": false, ".b.1": false, "a..1": false, "": false} {
		if rdma.IsAuxiliaryAddress(s) != want {
			t.Errorf("IsAuxiliaryAddress(%q) is %v", s, !want)
		}
	}
}

func TestARepresentorIsKnownByTheNameOfItsPort(t *testing.T) {
	sys := t.TempDir()
	node := rdma.Node{Sys: sys}
	for port, want := range map[string]bool{"pf0vf3": true, "c1pf0sf88": true, "pf1vf0": true, "p0": false, "": false} {
		dir := filepath.Join(sys, "class/net/eth0")
		must(t, os.MkdirAll(dir, 0o755))
		must(t, os.WriteFile(filepath.Join(dir, "phys_port_name"), []byte(port+"\n"), 0o644))
		got, err := node.Representor("eth0")
		must(t, err)
		if is := got != ""; is != want || is && got != port {
			t.Errorf("port %q: %q", port, got)
		}
	}
}

func BenchmarkDevices(b *testing.B) {
	for _, n := range []int{8, 64, 512} {
		tree, err := sysfs.New(b.TempDir())
		must(b, err)
		for i := range n {
			must(b, tree.Add(sysfs.MLX5(i)))
		}
		node := rdma.Node{Sys: tree.Sys(), Dev: tree.Dev()}
		inventory := node.Inventory()
		for look, devices := range map[string]func() ([]rdma.Device, error){"first": node.Devices, "later": inventory.Devices} {
			b.Run(fmt.Sprint(n, " ", look), func(b *testing.B) {
				for b.Loop() {
					if devices, err := devices(); err != nil || len(devices) != n {
						b.Fatal(len(devices), err)
					}
				}
			})
		}
	}
}

func TestALaterLookSeesWhatChanged(t *testing.T) {
	hca := sysfs.MLX5(0)
	node, tree := simulate(t, hca, sysfs.MLX5(1))
	inventory := node.Inventory()
	look := func() []rdma.Device {
		devices, err := inventory.Devices()
		must(t, err)
		return devices
	}
	var first []rdma.Device
	for range 3 { // the kernel leaves gaps in what it says of a folder: they have to become the same
		first = look()
	}
	if again := look(); !reflect.DeepEqual(first, again) {
		t.Errorf("nothing changed, but\n%+v\n%+v", first, again)
	}
	first[0].Netdevs[0] = "eth9" // whoever has an answer may change it
	if d := look()[0]; d.Netdevs[0] != hca.Netdev {
		t.Errorf("its netdev became %s", d.Netdevs[0])
	}
	must(t, tree.SetPort(hca, "DOWN", "Disabled"))
	if d := look()[0]; d.Ports[0].State != "DOWN" || d.Ports[0].PhysState != "Disabled" || d.Vendor == "" || len(d.CharDevices) == 0 {
		t.Errorf("a port went down: %+v", d)
	}
	if state := first[0].Ports[0].State; state != "ACTIVE" {
		t.Errorf("an earlier answer changed to %s", state)
	}
	must(t, tree.TakeNetdev(hca))
	if d := look()[0]; len(d.Netdevs) != 0 || d.LinkType != "ether" {
		t.Errorf("its netdev left: %+v", d)
	}
	must(t, tree.ReturnNetdev(hca))
	if d := look()[0]; !slices.Equal(d.Netdevs, []string{hca.Netdev}) {
		t.Errorf("its netdev came back: %+v", d)
	}
	must(t, tree.Unplug(hca))
	if left := look(); !reflect.DeepEqual(left, first[1:]) {
		t.Errorf("a device left: %+v", left)
	}
	hca.NodeGUID = "0c42:a103:00ff:0001"
	must(t, tree.Add(hca))
	if back := look(); len(back) != 2 || back[0].NodeGUID != hca.NodeGUID {
		t.Errorf("another device came under its name: %+v", back)
	}
}

// Only the class of the devices changes: the character devices keep their names.
func TestADeviceThatWasRenamedHasItsCharacterDevices(t *testing.T) {
	node, tree := simulate(t, sysfs.MLX5(0), sysfs.MLX5(1))
	inventory := node.Inventory()
	var before []rdma.Device
	for range 3 { // the kernel leaves gaps in what it says of a folder: they have to become the same
		var err error
		before, err = inventory.Devices()
		must(t, err)
	}
	link := filepath.Join(tree.Sys(), "class/infiniband/mlx5_0")
	dir, err := filepath.EvalSymlinks(link)
	must(t, err)
	target, err := os.Readlink(link)
	must(t, err)
	must(t, os.Rename(dir, filepath.Join(filepath.Dir(dir), "roce0")))
	must(t, os.Remove(link))
	must(t, os.Symlink(filepath.Join(filepath.Dir(target), "roce0"), filepath.Join(filepath.Dir(link), "roce0")))
	for _, file := range []string{"infiniband_verbs/uverbs0", "infiniband_mad/umad0", "infiniband_mad/issm0"} {
		must(t, os.WriteFile(filepath.Join(tree.Sys(), "class", file, "ibdev"), []byte("roce0\n"), 0o600))
	}
	after, err := inventory.Devices()
	must(t, err)
	if len(after) != 2 || after[1].Name != "roce0" || !slices.Equal(after[1].CharDevices, before[0].CharDevices) {
		t.Errorf("%+v\nbefore %+v", after, before)
	}
}

func TestADeviceThatWasSeenWithoutItsPortsIsLookedAtAgain(t *testing.T) {
	h := sysfs.MLX5(0)
	node, tree := simulate(t, h)
	must(t, tree.TakePorts(h))
	i := node.Inventory()
	for range 2 {
		devices, err := i.Devices()
		must(t, err)
		if !i.Partial() || len(devices) != 1 || devices[0].IsRoCE() {
			t.Fatalf("partial %v, devices %+v", i.Partial(), devices)
		}
	}
	must(t, tree.ReturnRDMA(h)) // in the same folder: no device came or went
	devices, err := i.Devices()
	must(t, err)
	if i.Partial() || !devices[0].IsRoCE() || devices[0].Ports[0].State != "ACTIVE" {
		t.Errorf("partial %v, devices %+v", i.Partial(), devices)
	}
}

func TestADeviceBesideTheMainOneOfItsFunctionIsAnother(t *testing.T) {
	hca := sysfs.MLX5(0)
	smi := sysfs.SMI(hca, 30)
	// One whose name comes first, too.
	first := sysfs.MLX5(1)
	beside := sysfs.SMI(first, 31)
	beside.RDMA = "a31"
	node, tree := simulate(t, hca, smi, first, beside)
	devices, err := node.Devices()
	must(t, err)
	keys := map[string]rdma.Device{}
	for _, d := range devices {
		keys[d.Key()] = d
	}
	if len(keys) != 4 {
		t.Errorf("keys %v", slices.Collect(maps.Keys(keys)))
	}
	for _, d := range devices {
		if want := d.Name == smi.RDMA || d.Name == beside.RDMA; d.Beside != want {
			t.Errorf("%s: beside %v", d.Name, d.Beside)
		}
		chars, err := node.CharDevicesOf(d)
		must(t, err)
		if d.Beside && !slices.Equal(chars, d.CharDevices) {
			t.Errorf("%s has %v, asked for alone %v", d.Name, d.CharDevices, chars)
		}
	}
	must(t, tree.TakeRDMA(hca)) // a pod has it; the other is not mistaken for it
	devices, err = node.Devices()
	must(t, err)
	for _, d := range devices {
		if d.Name == smi.RDMA && !d.Beside {
			t.Errorf("%s is taken for the main one while that is away", d)
		}
	}
}

func TestOfTwoDevicesWithUverbsTheFirstIsTheMainOne(t *testing.T) {
	hca := sysfs.MLX5(0)
	later := sysfs.SMI(hca, 30)
	later.NoUverbs = false
	node, _ := simulate(t, hca, later)
	devices, err := node.Devices()
	must(t, err)
	for _, d := range devices {
		if want := d.Name == later.RDMA; d.Beside != want {
			t.Errorf("%s: beside %v", d.Name, d.Beside)
		}
	}
}

// Nobody could open it: the container's device folder lacks it, or it is a class's
// plain file.
func TestACharacterDeviceWithoutANodeIsLeftOut(t *testing.T) {
	hca, nic := sysfs.MLX5(0), sysfs.NIC(3)
	node, _ := simulate(t, hca, nic, sysfs.RXE(1, nic))
	inventory := node.Inventory()
	var before []rdma.Device
	for range 3 { // the kernel leaves gaps in what it says of a folder: they have to become the same
		var err error
		before, err = inventory.Devices()
		must(t, err)
	}
	if len(before) != 2 || len(before[0].CharDevices) != 3 || len(before[1].CharDevices) != 3 {
		t.Fatalf("%+v", before)
	}
	must(t, os.Remove(filepath.Join(node.Dev, "infiniband/umad0"))) // no device came or went
	must(t, os.Remove(filepath.Join(node.Dev, "infiniband/umad1")))
	devices, err := inventory.Devices()
	must(t, err)
	want := map[string][]string{"mlx5_0": {"issm0", "uverbs0"}, "rxe1": {"issm1", "uverbs1"}}
	for _, d := range devices {
		alone, err := node.CharDevicesOf(d)
		must(t, err)
		for what, paths := range map[string][]string{"with the others": d.CharDevices, "asked for alone": alone} {
			var names []string
			for _, path := range paths {
				names = append(names, filepath.Base(path))
			}
			if !slices.Equal(names, want[d.Name]) {
				t.Errorf("%s, %s: %q", d.Name, what, names)
			}
		}
	}
	if len(devices) != len(want) {
		t.Errorf("%v", devices)
	}
}

func TestTheConnectionManagerIsThereIfItsNodeIs(t *testing.T) {
	node, tree := simulate(t, sysfs.MLX5(0))
	want := filepath.Join(node.Dev, "infiniband/rdma_cm")
	if path, ok := node.ConnectionManager(); path != want || !ok {
		t.Errorf("%s, %v", path, ok)
	}
	must(t, tree.RemoveConnectionManager())
	if path, ok := node.ConnectionManager(); path != want || ok {
		t.Errorf("without it: %s, %v", path, ok)
	}
}

func TestAnInventoryFailsIfADeviceCannotBeRead(t *testing.T) {
	node, tree := simulate(t, sysfs.MLX5(0), sysfs.MLX5(1))
	file := filepath.Join(tree.Sys(), "class/infiniband/mlx5_1/node_guid")
	must(t, os.Remove(file))
	must(t, os.Mkdir(file, 0o755))
	if devices, err := node.Devices(); err == nil || !strings.Contains(err.Error(), "RDMA device mlx5_1: ") {
		t.Errorf("%v, %v", devices, err)
	}
}
