package deviceplugin

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

const (
	mlxOnly = `{"periodicUpdateInterval": 0, "configList": [
{"resourceName": "mlx", "rdmaHcaMax": 8, "selectors": {"vendors": ["15b3"]}}]}`
	mlxAndIntel = `{"periodicUpdateInterval": 0, "configList": [
{"resourceName": "intel", "rdmaHcaMax": 3, "selectors": {"vendors": ["8086"]}},
{"resourceName": "mlx", "rdmaHcaMax": 8, "selectors": {"vendors": ["15b3"]}}]}`
)

func (n *testNode) sockets() map[string]bool {
	n.Helper()
	paths, err := filepath.Glob(filepath.Join(n.dir, "device-plugins/rdma-device-plugin.*.sock"))
	n.must(err)
	set := map[string]bool{}
	for _, path := range paths {
		set[path] = true
	}
	return set
}

func TestResourcesThatDidNotChangeKeepTheirSockets(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0), sysfs.IRDMA(1))
	n.write("config.json", mlxOnly)
	k := n.kubelet()
	n.start()
	n.wait(k, "rdma/mlx", 8)
	before := n.sockets()
	n.write("config.json", mlxAndIntel)
	n.wait(k, "rdma/intel", 3)
	for socket := range before {
		if !n.sockets()[socket] {
			t.Errorf("%s is gone", socket)
		}
	}
	if k.Registrations("rdma/mlx") != 1 || k.Messages("rdma/mlx") != 1 {
		t.Errorf("%d registrations, %d messages", k.Registrations("rdma/mlx"), k.Messages("rdma/mlx"))
	}
	n.write("config.json", mlxOnly)
	n.wait(k, "rdma/intel", 0) // its stream ends with its socket
	n.until("one socket is left", func() bool { return len(n.sockets()) == 1 })
	n.wait(k, "rdma/mlx", 8)
}

func TestAChangedResourceIsOfferedAnewOnItsSocket(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0), sysfs.IRDMA(1))
	n.write("config.json", mlxOnly)
	k := n.kubelet()
	n.start()
	n.wait(k, "rdma/mlx", 8)
	n.write("config.json", strings.Replace(mlxOnly, `"rdmaHcaMax": 8`, `"rdmaHcaMax": 16`, 1))
	n.wait(k, "rdma/mlx", 16)
	if k.Registrations("rdma/mlx") != 1 {
		t.Errorf("%d registrations", k.Registrations("rdma/mlx"))
	}
	n.write("config.json", strings.Replace(mlxOnly, `"rdmaHcaMax": 8`, `"mode": "perDevice"`, 1))
	n.wait(k, "rdma/mlx", 1) // another mode has other abilities: the kubelet must ask
	n.until("registered again", func() bool { return k.Registrations("rdma/mlx") == 2 })
}

func TestABadNewConfigurationLeavesTheOldInForce(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0), sysfs.MLX5(1))
	n.write("config.json", mlxOnly)
	k := n.kubelet()
	n.start()
	n.wait(k, "rdma/mlx", 8)
	for what, bad := range map[string]string{
		"unknown key": strings.Replace(mlxOnly, "rdmaHcaMax", "rdmaHcamax", 1),
		"both select": `{"configList": [{"resourceName": "mlx", "rdmaHcaMax": 1, "devices": ["ens11np0"]}, {"resourceName": "b", "rdmaHcaMax": 1, "devices": ["ens11np0"]}]}`,
	} {
		n.write("config.json", bad)
		n.until("it is refused", func() bool { return strings.Contains(n.logs.String(), what) })
		if _, allocatable := k.Allocatable("rdma/mlx"); allocatable != 8 {
			t.Errorf("%s: %d allocatable", what, allocatable)
		}
	}
	n.must(os.Remove(filepath.Join(n.dir, "config.json")))
	n.until("the missing file is reported", func() bool { return strings.Contains(n.logs.String(), "no such configuration file") })
	n.write("config.json", mlxOnly)
	n.until("it is good again", func() bool { return strings.Contains(n.logs.String(), "the configuration is the one in force") })
	n.wait(k, "rdma/mlx", 8)
}

func TestAConfigMapIsFollowedThroughItsLinks(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0), sysfs.IRDMA(1))
	link := func(target, name string) {
		n.must(os.Symlink(target, filepath.Join(n.dir, "cm", name)))
	}
	// As the kubelet does it (pkg/volume/util/atomic_writer.go).
	n.write("cm/..1/config.json", mlxOnly)
	link("..1", "..data")
	link("..data/config.json", "config.json")
	o := n.options()
	o.ConfigFile = filepath.Join(n.dir, "cm/config.json")
	k := n.kubelet()
	n.startWith(o)
	n.wait(k, "rdma/mlx", 8)
	n.write("cm/..2/config.json", mlxAndIntel)
	link("..2", "..data_tmp")
	n.must(os.Rename(filepath.Join(n.dir, "cm/..data_tmp"), filepath.Join(n.dir, "cm/..data")))
	n.wait(k, "rdma/intel", 3)
}

func TestASignalReadsTheConfigurationAgain(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0))
	n.write("config.json", mlxOnly)
	signals := make(chan os.Signal)
	o := n.options()
	o.Reload = signals
	k := n.kubelet()
	n.startWith(o)
	n.wait(k, "rdma/mlx", 8)
	signals <- syscall.SIGHUP
	n.until("there is an answer", func() bool { return strings.Contains(n.logs.String(), "the configuration is the one in force") })
}
