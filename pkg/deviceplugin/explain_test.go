package deviceplugin

import (
	"errors"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netmanager"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestExplainTellsWhyEachDeviceIsInOrOut(t *testing.T) {
	nic := sysfs.NIC(5)
	n := newTestNode(t, sysfs.MLX5(0), sysfs.MLX5(1), sysfs.IRDMA(2), nic)
	n.Attach(rdma.Exclusive, sysfs.MLX5(0))
	n.Write("config.json", `{"configList": [
{"resourceName": "a", "rdmaHcaMax": 8, "selectors": {"vendors": ["15b3"], "exclude": {"ifNames": ["ens12*"]}}},
{"resourceName": "b", "mode": "perDevice", "selectors": {"drivers": ["ice", "mlx5_core"], "numaNodes": [0]}}]}`)
	var out strings.Builder
	err := Explain(n.Ctx, n.options(), &out)
	if err == nil || !strings.Contains(err.Error(), "resources rdma/a (line 2) and rdma/b both select ens11np0/mlx5_0") {
		t.Errorf("got %v", err)
	}
	// Columns are as wide as they need to be.
	got := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"RDMA NIC ADDRESS NUMA PCI ID DRIVER LINK PORT WHERE",
		"mlx5_0 ens11np0 0000:08:00.0 0 15b3:1021 mlx5_core ether - pod, pod default/gpu-rdma-pod-1 (container pod1, interface net1)",
		"mlx5_1 ens12np0 0000:0b:00.0 0 15b3:1021 mlx5_core ether ACTIVE host",
		"- " + nic.Netdev + " " + nic.PCI + " - - - - - host, no RDMA device",
		"rdma/a (shared, rdmaHcaMax 8): 1 of 3 devices",
		"in ens11np0/mlx5_0 (0000:08:00.0): healthy",
		"out ens12np0/mlx5_1 (0000:0b:00.0): exclude ifNames: it has ens12np0",
		"out ens13np0/irdma2 (0000:0e:00.0): vendors: it has 8086",
		"rdma/b (perDevice, unitsPerDevice 1): 2 of 3 devices",
		"out ens11np0/mlx5_0 (0000:08:00.0): another resource has it",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestExplainTellsWhatTheManagerOfAPodsNICLacks(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0), sysfs.MLX5(1))
	n.Write("config.json", guide(1))
	n.Attach(rdma.Exclusive, sysfs.MLX5(0), sysfs.MLX5(1))
	record, _, err := n.Journal.Read(attachment.ID{ContainerID: "pod1", IfName: "net1"})
	n.Must(err)
	record.Manager, record.ManagerLacks = netmanager.NetworkManager, []string{"no-auto-default=*"} // one is enough
	n.Must(n.Journal.Update(record))
	var out strings.Builder
	n.Must(Explain(n.Ctx, n.options(), &out))
	const want = "\nens11np0 comes back from its pod late or with other metrics: NetworkManager lacks no-auto-default=* (docs/deploying.md)\n"
	if !strings.Contains(out.String(), want) || strings.Count(out.String(), "NetworkManager lacks") != 1 {
		t.Errorf("no %q in\n%s", want, out.String())
	}
}

func TestExplainShowsTheNodeWithoutAConfiguration(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	var out strings.Builder
	err := Explain(n.Ctx, n.options(), &out)
	var bad *ConfigError
	if !errors.As(err, &bad) || !strings.Contains(out.String(), "mlx5_7") {
		t.Errorf("got %v and\n%s", err, out.String())
	}
}

func TestValidateListsAllMistakesOneALine(t *testing.T) {
	n := newTestNode(t)
	n.Write("config.json", guide(300))
	file := n.options().ConfigFile
	var out strings.Builder
	if err := Validate(file, &out); err != nil || out.String() != file+": valid, 1 resources\n" {
		t.Errorf("got %v, %q", err, out.String())
	}
	var missing *ConfigError
	if err := Validate(file+"-none", &out); !errors.As(err, &missing) || !strings.Contains(err.Error(), "no such configuration file") {
		t.Errorf("without a file: %v", err)
	}
	n.Write("config.json", `{"periodicUpdateInterval": -1,
"configList": [{"resourceName": "a!", "rdmaHcaMax": -1, "devices": ["x"]}]}`)
	out.Reset()
	err := Validate(file, &out)
	var bad *ConfigError
	if !errors.As(err, &bad) || strings.Count(err.Error(), "\n") != 2 || out.Len() > 0 {
		t.Errorf("got %v, %q", err, out.String())
	}
}
