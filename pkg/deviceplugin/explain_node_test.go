package deviceplugin

import (
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/netmanager"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// threeDevices are one on the host, one in a pod, and one in software.
func threeDevices() []inventory.Device {
	held := &attachment.Record{ContainerID: "c1", IfName: "net1", Pod: attachment.Pod{Namespace: "default", Name: "pod-1"},
		Host: netdev.State{Name: "ens11np0"}, Manager: netmanager.NetworkManager, ManagerLacks: []string{"no-auto-default=*", "a metric"}}
	chars := []string{"/dev/infiniband/uverbs0"}
	return []inventory.Device{
		{Device: rdma.Device{Name: "mlx5_0", Bus: rdma.BusPCI, Address: "0000:08:00.0", Vendor: "15b3", DeviceID: "1021", Driver: "mlx5_core", NUMANode: 1,
			Netdevs: []string{"ens12np0"}, LinkType: "ether", Ports: []rdma.Port{{State: "ACTIVE", PhysState: "LinkUp"}, {State: "DOWN"}}, CharDevices: chars},
			AltNames: []string{"rail1", "rail2"}, Place: inventory.OnHost, Visible: true},
		{Device: rdma.Device{Name: "mlx5_1", Bus: rdma.BusPCI, Address: "0000:0b:00.0", Vendor: "15b3", DeviceID: "1021", Driver: "mlx5_core",
			Netdevs: []string{"ens11np0"}, LinkType: "ether", Ports: []rdma.Port{{State: "ACTIVE"}}, CharDevices: chars}, Place: inventory.InPod, Holder: held},
		{Device: rdma.Device{Name: "rxe0", Soft: true, NodeGUID: "1", NUMANode: -1}, Place: inventory.OnHost, Visible: true},
	}
}

func TestTheTableHasWhatCanBeSelectedAndWhereItIs(t *testing.T) {
	n := newTestNode(t, sysfs.NIC(7))
	var text strings.Builder
	explainNode(&text, n.RDMA(), threeDevices())
	_, table, _ := strings.Cut(text.String(), "\n\n")
	nic := sysfs.NIC(7)
	want := strings.ReplaceAll(strings.ReplaceAll(`RDMA    NIC                   ADDRESS       NUMA  PCI ID     DRIVER     LINK   PORT    WHERE
mlx5_0  ens12np0,rail1,rail2  0000:08:00.0  1     15b3:1021  mlx5_core  ether  ACTIVE  host
mlx5_1  ens11np0              0000:0b:00.0  0     15b3:1021  mlx5_core  ether  -       pod, pod default/pod-1 (container c1, interface net1)
rxe0    -                     -             -1    -          -          -      -       host
-       NETDEV  ADDRESS_____  -     -          -          -      -       host, no RDMA device
ens11np0 comes back from its pod late or with other metrics: NetworkManager lacks no-auto-default=*, a metric (docs/deploying.md)
`, "NETDEV", nic.Netdev+strings.Repeat(" ", len("ens12np0,rail1,rail2")-len(nic.Netdev))), "ADDRESS_____", nic.PCI)
	if table != want {
		t.Errorf("%s\nwant\n%s", table, want)
	}
}

func TestEachResourceSaysWhatItHasAndWhyNotTheRest(t *testing.T) {
	n := newTestNode(t)
	devices := threeDevices()
	devices[0].Ports = devices[0].Ports[1:] // the one that is down
	resource := func(name string, line int, mode config.Mode, units int, selectors config.Selectors) config.Resource {
		return config.Resource{Name: name, At: config.Position{Line: line, Column: 1}, Mode: mode, Units: units, HealthPolicy: config.HealthLink,
			CharDevices: []config.CharDevice{config.Uverbs, config.Umad}, Named: true, Selectors: selectors}
	}
	file := &configFile{path: "config.json", Config: &config.Config{
		Resources: []config.Resource{
			resource("rdma/one", 2, config.Shared, 8, config.Selectors{IfNames: []string{"ens12np0"}}),
			resource("rdma/mlx", 3, config.PerDevice, 1, config.Selectors{Drivers: []string{"mlx5_core"}}),
		},
		Faults: config.Errors{{File: "config.json", At: config.Position{Line: 2, Column: 9}, Text: "odd", Cost: config.Nothing}},
	}}
	var text strings.Builder
	err := explainResources(&text, n.RDMA(), file, devices)
	if want := "config.json:3:1: resources rdma/one (line 2) and rdma/mlx both select ens12np0/mlx5_0 (0000:08:00.0); "; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	const want = `
rdma/one (shared, rdmaHcaMax 8): 1 of 3 devices
  but  containers will lack umad: ens12np0/mlx5_0 (0000:08:00.0) has none; is the module ib_umad loaded?
  in   ens12np0/mlx5_0 (0000:08:00.0): unhealthy: its port is DOWN, 
  out  ens11np0/mlx5_1 (0000:0b:00.0): ifNames: it has ens11np0
  out  rxe0: ifNames: it has none

rdma/mlx (perDevice, unitsPerDevice 1): 1 of 3 devices
  but  containers will lack umad: ens11np0/mlx5_1 (0000:0b:00.0) has none; is the module ib_umad loaded?
  out  ens12np0/mlx5_0 (0000:08:00.0): another resource has it
  in   ens11np0/mlx5_1 (0000:0b:00.0): healthy
  out  rxe0: drivers: it has none

config.json:2:9: odd (valid all the same)
`
	if text.String() != want {
		t.Errorf("%s\nwant %s", text.String(), want)
	}
}
