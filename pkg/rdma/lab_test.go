package rdma_test

import (
	"os"
	"slices"
	"testing"

	"github.com/Mellanox/rdmamap"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// rdmamap reads the same node in another way: a second opinion, on the lab
// VM's real devices.
func TestTheInventoryAgreesWithRdmamap(t *testing.T) {
	if os.Getenv("ROCE_LAB_MODE") == "" {
		t.Skip("needs the lab VM's RDMA devices; `make test-lab` runs it there")
	}
	node := rdma.Host()
	devices, err := node.Devices()
	must(t, err)
	var names []string
	for _, d := range devices {
		names = append(names, d.Name)
	}
	theirs := rdmamap.GetRdmaDeviceList()
	slices.Sort(theirs)
	if len(names) != 16 || !slices.Equal(names, theirs) {
		t.Fatalf("devices %v\nrdmamap %v", names, theirs)
	}
	for _, d := range devices {
		manager, ok := node.ConnectionManager()
		if !ok {
			t.Errorf("no %s", manager)
		}
		ours := append([]string{manager}, d.CharDevices...)
		theirs := rdmamap.GetRdmaCharDevices(d.Name)
		slices.Sort(ours)
		slices.Sort(theirs)
		if !slices.Equal(ours, theirs) {
			t.Errorf("%s: character devices %v\nrdmamap %v", d.Name, ours, theirs)
		}
		if len(d.Netdevs) != 1 {
			t.Errorf("%s has the netdevs %v", d.Name, d.Netdevs)
			continue
		}
		if name, err := rdmamap.GetRdmaDeviceForNetdevice(d.Netdevs[0]); err != nil || name != d.Name {
			t.Errorf("rdmamap finds %q for %s (%v), not %s", name, d.Netdevs[0], err, d.Name)
		}
		if found, err := node.DeviceOfNetdev(d.Netdevs[0]); err != nil || found.Name != d.Name || found.Address == "" {
			t.Errorf("DeviceOfNetdev finds %v for %s (%v), not %s", found, d.Netdevs[0], err, d.Name)
		} else if !slices.Equal(found.CharDevices, d.CharDevices) {
			t.Errorf("%s: the kernel says it has the character devices %v, sysfs %v", d.Name, found.CharDevices, d.CharDevices)
		}
	}
}
