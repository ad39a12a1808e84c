package deviceplugin

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

const perDevice = `{"periodicUpdateInterval": 1, "configList": [
{"resourceName": "rail", "mode": "perDevice", "selectors": {"isRoCE": true}}]}`

func TestPerDeviceOffersEachNICUnderItsAddress(t *testing.T) {
	hcas := node.Eight()
	n := newTestNode(t, append(hcas, sysfs.MLX5(8), sysfs.SF(hcas[0], 2, 10), sysfs.RXE(20, sysfs.HCA{}))...)
	n.Write("config.json", perDevice)
	k := n.kubelet()
	n.start()
	n.wait(k, "rdma/rail", 11)
	response, ids, err := k.Allocate("rdma/rail", 11)
	n.Must(err)
	want := []string{
		"0000:08:00.0", "0000:0b:00.0", "0000:0e:00.0", "0000:11:00.0", "0000:14:00.0", "0000:17:00.0",
		"0000:1a:00.0", "0000:1d:00.0", "0000:20:00.0", "mlx5_core.sf.2", "rxe20",
	}
	if !slices.Equal(ids, want) {
		t.Errorf("IDs %v", ids)
	}
	var all []string
	for _, number := range []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 20} {
		all = append(all, fmt.Sprintf("uverbs%d", number))
	}
	node.CheckDevices(t, response, node.CharDevices(append(all, "rdma_cm")...))
}

func TestPerDeviceGivesTheCharacterDevicesOfItsNICOnly(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Write("config.json", perDevice)
	k := n.kubelet()
	n.start()
	n.wait(k, "rdma/rail", 8)
	n.Attach(rdma.Exclusive, node.Eight()[0]) // also while it is in a pod
	response, ids, err := k.Allocate("rdma/rail", 1)
	n.Must(err)
	if !slices.Equal(ids, []string{"0000:08:00.0"}) {
		t.Fatalf("IDs %v", ids)
	}
	node.CheckDevices(t, response, node.CharDevices("rdma_cm", "uverbs0"))
}

func TestPerDeviceKeepsItsIDsWhateverHappens(t *testing.T) {
	hcas := node.Eight()
	n := newTestNode(t, hcas...)
	n.Write("config.json", perDevice)
	k := n.kubelet()
	stop := n.start()
	n.wait(k, "rdma/rail", 8)
	n.Attach(rdma.Exclusive, hcas[:4]...)
	n.Must(n.Unplug(hcas[7]))
	n.wait(k, "rdma/rail", 7)
	if capacity, _ := k.Allocatable("rdma/rail"); capacity != 8 {
		t.Errorf("capacity %d, want 8", capacity)
	}
	if !strings.Contains(n.Logs.String(), `msg="device degraded" resource=rdma/rail device="ens18np0/mlx5_7 (0000:1d:00.0)" place=gone because="the hardware or its driver is gone"`) {
		t.Errorf("logged:\n%s", n.Logs)
	}
	stop()
	n.wait(k, "rdma/rail", 0)
	n.start()
	n.wait(k, "rdma/rail", 7)
	if capacity, _ := k.Allocatable("rdma/rail"); capacity != 8 {
		t.Errorf("capacity %d after a restart, want 8", capacity)
	}
	n.Must(n.Add(hcas[7]))
	n.wait(k, "rdma/rail", 8)
}

func TestEnvDescribesTheDevicesOfTheContainer(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Write("config.json", `{"configList": [{"resourceName": "rail", "mode": "perDevice", "env": true, "selectors": {"isRoCE": true}}]}`)
	k := n.kubelet()
	n.start()
	n.wait(k, "rdma/rail", 8)
	response, _, err := k.Allocate("rdma/rail", 2)
	n.Must(err)
	want := map[string]string{
		"NCCL_IB_HCA": "=mlx5_0,mlx5_1",
		"RDMA_DEVICES": `[{"rdma":"mlx5_0","netdev":"ens11np0","pci":"0000:08:00.0","numa":0,"gidIndex":3},` +
			`{"rdma":"mlx5_1","netdev":"ens12np0","pci":"0000:0b:00.0","numa":0,"gidIndex":3}]`,
	}
	for name, value := range want {
		if response.Envs[name] != value {
			t.Errorf("%s=%s\nwant %s", name, response.Envs[name], value)
		}
	}
}

func TestOnlyPerDeviceAsksToBePreferred(t *testing.T) {
	r := offer.NewResource("a")
	for mode, want := range map[config.Mode]bool{config.Shared: false, config.PerDevice: true} {
		_, prefers := (&entry{resource: r}).offered(mode).(offer.Preferring)
		if prefers != want {
			t.Errorf("%s: %v", mode, prefers)
		}
	}
}
