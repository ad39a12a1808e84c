package inventory

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// Another port of its function may be in a pod.
func TestADeviceWithANetdevOnTheHostIsThereWhateverIsElsewhere(t *testing.T) {
	there, away := sysfs.MLX5(0), sysfs.MLX5(1)
	n := newTestNode(t, there, away)
	n.Must(n.TakeNetdev(away))
	i := n.inventory()
	i.elsewhere = node.Links(
		netlink.LinkAttrs{Name: "net0", Alias: "another-port", ParentDevBus: "pci", ParentDev: there.PCI},
		netlink.LinkAttrs{Name: "net1", Alias: "first", ParentDevBus: "pci", ParentDev: away.PCI},
		netlink.LinkAttrs{Name: "net2", Alias: "second", ParentDevBus: "pci", ParentDev: away.PCI},
	)
	devices := byName(t, i)
	if d := devices[there.RDMA]; d.Place != OnHost || strings.Join(d.Netdevs, " ") != there.Netdev {
		t.Errorf("%s: %s, %v", there.RDMA, d.Place, d.Netdevs)
	}
	if d := devices[away.RDMA]; d.Place != InPod || strings.Join(d.Netdevs, " ") != "first" {
		t.Errorf("%s: %s, %v", away.RDMA, d.Place, d.Netdevs)
	}
}

func TestALookAtANodeThatCannotBeReadIsAnError(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0))
	class := filepath.Join(n.Sys(), "class/infiniband")
	n.Must(os.RemoveAll(class))
	n.Must(os.WriteFile(class, nil, 0o600))
	if s, err := n.inventory().Read(n.Ctx); err == nil {
		t.Errorf("%+v", s)
	}
}

// A later version may say the same in other words.
func TestAMemoryOfAnotherVersionSaysNothing(t *testing.T) {
	h := sysfs.MLX5(0)
	n := newTestNode(t, h)
	n.look(n.inventory())
	n.Must(n.TakeNetdev(h))
	n.Must(n.TakeRDMA(h))
	file := filepath.Join(n.State(), memoryFile)
	known, err := os.ReadFile(file)
	n.Must(err)
	if len(byName(t, n.inventory())) != 1 {
		t.Fatalf("not remembered: %s", known)
	}
	n.Must(os.WriteFile(file, []byte(strings.Replace(string(known), `"version": 1`, `"version": 2`, 1)), 0o600))
	if devices := byName(t, n.inventory()); len(devices) != 0 || !strings.Contains(n.Logs.String(), "format version 2, this program writes 1") {
		t.Errorf("%v\n%s", devices, n.Logs)
	}
}
