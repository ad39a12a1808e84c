package rdma_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/Mellanox/rdmamap"
	"github.com/vishvananda/netns"

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
	own, err := rdma.Open(netns.None())
	must(t, err)
	defer own.Close()
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
		if found, err := own.DeviceOf(node, d.Netdevs[0]); err != nil || found.Name != d.Name || found.Address == "" {
			t.Errorf("DeviceOf finds %v for %s (%v), not %s", found, d.Netdevs[0], err, d.Name)
		} else if !slices.Equal(found.CharDevices, d.CharDevices) {
			t.Errorf("%s: the kernel says it has the character devices %v, sysfs %v", d.Name, found.CharDevices, d.CharDevices)
		}
	}
}

// The kernel gives one device at a time and counts: while a device moves away,
// a list may leave out one that stays.
func TestALookupMissesNoDeviceWhileOthersMove(t *testing.T) {
	if os.Getenv("ROCE_LAB_MODE") != string(rdma.Exclusive) {
		t.Skip("needs the lab VM's RDMA devices in exclusive mode; `make test-lab` runs it there")
	}
	devices, err := rdma.Host().Devices()
	must(t, err)
	host, pod := twoNamespaces(t)
	moving, staying := devices[:len(devices)-1], devices[len(devices)-1]

	looking, err := rdma.Open(host)
	must(t, err)
	defer looking.Close()
	done := make(chan error, 1)
	go func() { done <- toAndFro(moving, host, pod, 8) }()
	for looks := 1; ; looks++ {
		// Without its index it is looked for in a list.
		if _, ok, err := looking.Find(rdma.Device{NodeGUID: staying.NodeGUID}); err != nil || !ok {
			t.Errorf("look %d does not find %s (%v)", looks, staying, err)
		}
		select {
		case err := <-done:
			must(t, err)
			t.Logf("%d looks", looks)
			return
		default:
		}
	}
}

func toAndFro(devices []rdma.Device, a, b netns.NsHandle, rounds int) error {
	from, err := rdma.Open(a)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := rdma.Open(b)
	if err != nil {
		return err
	}
	defer to.Close()
	for range 2 * rounds {
		for _, d := range devices {
			link, ok, err := from.Find(d)
			if err != nil || !ok {
				return fmt.Errorf("find %s: %w", d, errors.Join(err, rdma.ErrNoDevice))
			}
			if err := from.Move(link, to); err != nil {
				return err
			}
		}
		from, to = to, from
	}
	return nil
}

// twoNamespaces opens the test's own namespace and makes another.
func twoNamespaces(t *testing.T) (own, other netns.NsHandle) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := netns.Get()
	must(t, err)
	other, err = netns.New()
	must(t, err)
	must(t, netns.Set(own))
	t.Cleanup(func() { must(t, errors.Join(own.Close(), other.Close())) })
	return own, other
}
