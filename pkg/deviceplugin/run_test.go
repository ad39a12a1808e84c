package deviceplugin

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

const hcaGPU = "rdma/hca_gpu"

// eightHCAs are the character devices of mlx5_0 to mlx5_7, as Allocate gives
// them.
func eightHCAs() []string {
	paths := []string{"/dev/infiniband/rdma_cm"}
	for n := range 8 {
		for _, kind := range []string{"uverbs", "umad", "issm"} {
			paths = append(paths, fmt.Sprintf("/dev/infiniband/%s%d", kind, n))
		}
	}
	slices.Sort(paths)
	return paths
}

func TestTheGuidesNodeOffersEightUnitsOfAllDevices(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Write("config.json", guide(300))
	k := n.kubelet()
	n.start()
	n.wait(k, hcaGPU, 8)
	response, ids, err := k.Allocate(hcaGPU, 8)
	n.Must(err)
	if !slices.Equal(ids, []string{"0", "1", "2", "3", "4", "5", "6", "7"}) {
		t.Errorf("IDs %v", ids)
	}
	node.CheckDevices(t, response, eightHCAs())
}

func TestTheCountStaysTrueWhilePodsHaveTheNICs(t *testing.T) {
	for _, mode := range []rdma.Mode{rdma.Shared, rdma.Exclusive} {
		t.Run(string(mode), func(t *testing.T) {
			n := newTestNode(t, node.Eight()...)
			n.Write("config.json", guide(1))
			k := n.kubelet()
			stop := n.start()
			n.wait(k, hcaGPU, 8)

			n.Attach(mode, node.Eight()...)
			n.Until("a rescan has seen all NICs in a pod", func() bool { return n.reported(8, inventory.InPod) })
			n.wait(k, hcaGPU, 8)
			response, _, err := k.Allocate(hcaGPU, 1)
			n.Must(err)
			node.CheckDevices(t, response, eightHCAs())
			if k.Messages(hcaGPU) != 1 {
				t.Errorf("%d messages though nothing changed for the kubelet", k.Messages(hcaGPU))
			}

			stop()
			n.wait(k, hcaGPU, 0)
			n.start()
			n.wait(k, hcaGPU, 8)
			if response, _, err = k.Allocate(hcaGPU, 1); err != nil {
				t.Fatal(err)
			}
			node.CheckDevices(t, response, eightHCAs())
		})
	}
}

func TestANICThatSomebodyElseMovedStaysChosen(t *testing.T) {
	for _, mode := range []rdma.Mode{rdma.Shared, rdma.Exclusive} {
		t.Run(string(mode), func(t *testing.T) {
			hcas := node.Eight()
			n := newTestNode(t, hcas...)
			n.Write("config.json", guide(1))
			k := n.kubelet()
			stop := n.start()
			n.wait(k, hcaGPU, 8)
			for _, h := range hcas { // as host-device and rdma-cni do, without a journal
				n.Must(n.TakeNetdev(h))
				if mode == rdma.Exclusive {
					n.Must(n.TakeRDMA(h))
				}
			}
			n.Until("all are seen away", func() bool { return n.reported(8, inventory.InPod) })
			stop()
			n.wait(k, hcaGPU, 0)
			n.start()
			n.wait(k, hcaGPU, 8)
			response, _, err := k.Allocate(hcaGPU, 1)
			n.Must(err)
			node.CheckDevices(t, response, eightHCAs())
		})
	}
}

func TestANodeWithoutSuchDevicesOffersNothing(t *testing.T) {
	n := newTestNode(t)
	n.Write("config.json", guide(1))
	k := n.kubelet()
	n.start()
	n.Until("the kubelet has a list", func() bool { return k.Messages(hcaGPU) == 1 })
	if capacity, allocatable := k.Allocatable(hcaGPU); capacity != 0 || allocatable != 0 {
		t.Errorf("capacity %d, allocatable %d", capacity, allocatable)
	}
	n.Must(n.Add(node.Eight()...)) // the driver is loaded late
	n.wait(k, hcaGPU, 8)
	n.Until("the log names them", func() bool {
		return strings.Count(n.Logs.String(), `msg="device joined the resource" resource=rdma/hca_gpu`) == 8
	})
}

func TestAPoolIsUnhealthyOnlyWhenNoDeviceOfItWorks(t *testing.T) {
	hcas := node.Eight()
	n := newTestNode(t, hcas...)
	n.Write("config.json", guide(1))
	k := n.kubelet()
	n.start()
	n.wait(k, hcaGPU, 8)
	n.Attach(rdma.Exclusive, hcas...)
	for _, h := range hcas[:7] {
		n.Must(n.Unplug(h))
	}
	n.Until("seven are gone", func() bool { return n.reported(7, inventory.Gone) })
	n.wait(k, hcaGPU, 8)
	n.Must(n.Unplug(hcas[7]))
	n.wait(k, hcaGPU, 0)
	if capacity, _ := k.Allocatable(hcaGPU); capacity != 8 {
		t.Errorf("capacity %d, want 8", capacity)
	}
	n.Must(n.Add(hcas...))
	n.wait(k, hcaGPU, 8)
}

func TestAllocateGivesEachDeviceOnceWhateverIsMissing(t *testing.T) {
	irdma := sysfs.IRDMA(0)
	n := newTestNode(t, irdma, sysfs.MLX5(1))
	n.Must(os.Remove(filepath.Join(n.Dev(), "infiniband/rdma_cm")))
	n.Write("config.json", `{"configList": [{"resourceName": "any", "resourcePrefix": "example.com", "rdmaHcaMax": 1000, "selectors": {"linkTypes": ["ether"]}}]}`)
	k := n.kubelet()
	n.start()
	n.wait(k, "example.com/any", 1000)
	response, _, err := k.Allocate("example.com/any", 3)
	n.Must(err)
	node.CheckDevices(t, response, []string{"/dev/infiniband/issm1", "/dev/infiniband/umad1", "/dev/infiniband/uverbs0", "/dev/infiniband/uverbs1"})
}

func TestASocketThatAKilledInstanceLeftIsRemoved(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0))
	n.Write("config.json", mlxOnly)
	k := n.kubelet()
	left := filepath.Join(n.Dir, "device-plugins/rdma-device-plugin.killed.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: left})
	n.Must(err)
	l.SetUnlinkOnClose(false)
	n.Must(l.Close())
	n.start()
	n.wait(k, "rdma/mlx", 8)
	if n.sockets()[left] {
		t.Error("it is still there")
	}
}

func TestABadConfigurationIsNoReasonToTryAgain(t *testing.T) {
	n := newTestNode(t)
	var bad *ConfigError
	if err := Run(n.Ctx, n.options()); !errors.As(err, &bad) {
		t.Errorf("no file: %v", err)
	}
	n.Write("config.json", "{}")
	if err := Run(n.Ctx, n.options()); !errors.As(err, &bad) || strings.Contains(err.Error(), "\n") {
		t.Errorf("bad file: %v", err)
	}
	n.Write("config.json", mlxOnly)
	n.Must(os.RemoveAll(n.State()))
	n.Write("state", "a file where the journal should be")
	if err := Run(n.Ctx, n.options()); err == nil || errors.As(err, &bad) || !strings.Contains(err.Error(), n.State()) {
		t.Errorf("no journal: %v", err)
	}
}

func TestADriverThatHangsDoesNotKeepTheProgramFromEnding(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0))
	n.Write("config.json", strings.Replace(mlxOnly, `Interval": 0`, `Interval": 1`, 1))
	k := n.kubelet()
	stop := n.start()
	n.wait(k, "rdma/mlx", 8)
	file := filepath.Join(n.Sys(), "class/infiniband/mlx5_0/ports/1/state")
	n.Must(os.Remove(file))
	n.Must(unix.Mkfifo(file, 0o600)) // nothing ever comes out of it
	var hanging *os.File
	n.Until("it is being read", func() bool {
		var err error
		hanging, err = os.OpenFile(file, os.O_WRONLY|unix.O_NONBLOCK, 0)
		return err == nil
	})
	defer hanging.Close()
	stop()
	n.wait(k, "rdma/mlx", 0)
}

func TestALookThatFailsIsRepeatedThoughNotWithoutPause(t *testing.T) {
	hcas := node.Eight()
	n := newTestNode(t, hcas...)
	n.Write("config.json", strings.Replace(perDevice, `Interval": 1`, `Interval": 0`, 1))
	k := n.kubelet()
	n.start()
	n.wait(k, "rdma/rail", 8)
	n.Must(n.RemoveCharDevices(hcas[0])) // its health is to settle
	n.Attach(rdma.Shared, hcas[1])       // the journal is watched
	n.Until("the NIC is in a pod", func() bool { return n.reported(1, inventory.InPod) })
	class := filepath.Join(n.Sys(), "class/infiniband")
	n.Must(os.Rename(class, class+"-away"))
	n.Must(os.WriteFile(class, nil, 0o600))
	failed := func() int { return strings.Count(n.Logs.String(), "the offers stay as they are") }
	n.Until("a look has failed", func() bool { return failed() > 0 })
	time.Sleep(offer.SettleTime)
	if c := failed(); c > 2 {
		t.Errorf("%d looks have failed in %s", c, offer.SettleTime)
	}
	n.Must(os.Remove(class))
	n.Must(os.Rename(class+"-away", class))
	n.wait(k, "rdma/rail", 7) // nothing says that it can be read again
}

func TestANodeThatCannotBeReadKeepsItsOffers(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Write("config.json", guide(1))
	k := n.kubelet()
	n.start()
	n.wait(k, hcaGPU, 8)
	class := filepath.Join(n.Sys(), "class/infiniband")
	n.Must(os.Rename(class, class+"-away"))
	n.Must(os.WriteFile(class, nil, 0o600)) // no folder, and not missing either
	n.Until("it is reported", func() bool { return strings.Contains(n.Logs.String(), "the offers stay as they are") })
	if _, allocatable := k.Allocatable(hcaGPU); allocatable != 8 || k.Messages(hcaGPU) != 1 {
		t.Errorf("%d allocatable, %d messages", allocatable, k.Messages(hcaGPU))
	}
	response, _, err := k.Allocate(hcaGPU, 1)
	n.Must(err)
	node.CheckDevices(t, response, eightHCAs())
}
