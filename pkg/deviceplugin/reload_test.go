package deviceplugin

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
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
	paths, err := filepath.Glob(filepath.Join(n.Dir, "device-plugins/rdma-device-plugin.*.sock"))
	n.Must(err)
	set := map[string]bool{}
	for _, path := range paths {
		set[path] = true
	}
	return set
}

func TestResourcesThatDidNotChangeKeepTheirSockets(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0), sysfs.IRDMA(1))
	n.Write("config.json", mlxOnly)
	k := n.kubelet()
	n.start()
	n.wait(k, "rdma/mlx", 8)
	before := n.sockets()
	n.Write("config.json", mlxAndIntel)
	n.wait(k, "rdma/intel", 3)
	for socket := range before {
		if !n.sockets()[socket] {
			t.Errorf("%s is gone", socket)
		}
	}
	if k.Registrations("rdma/mlx") != 1 || k.Messages("rdma/mlx") != 1 {
		t.Errorf("%d registrations, %d messages", k.Registrations("rdma/mlx"), k.Messages("rdma/mlx"))
	}
	n.Write("config.json", mlxOnly)
	n.wait(k, "rdma/intel", 0) // its stream ends with its socket
	n.Until("one socket is left", func() bool { return len(n.sockets()) == 1 })
	n.wait(k, "rdma/mlx", 8)
}

func TestAResourceThatIsGoneIsNotToldOf(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0), sysfs.IRDMA(1))
	n.Write("config.json", mlxAndIntel)
	k, o := n.kubelet(), n.options()
	o.MetricsAddress = freeAddress(t)
	n.startWith(o)
	n.wait(k, "rdma/intel", 3)
	told := func(resource string) bool {
		_, metrics := n.ask(o.MetricsAddress, "/metrics")
		return strings.Contains(metrics, `_units{health="Healthy",resource="`+resource+`"}`)
	}
	n.Until("both are told of", func() bool { return told("rdma/intel") && told("rdma/mlx") })
	n.Write("config.json", mlxOnly)
	n.Until("one is", func() bool { return !told("rdma/intel") && told("rdma/mlx") })
}

func TestAChangedResourceIsOfferedAnewOnItsSocket(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0), sysfs.IRDMA(1))
	n.Write("config.json", mlxOnly)
	k := n.kubelet()
	n.start()
	n.wait(k, "rdma/mlx", 8)
	n.Write("config.json", strings.Replace(mlxOnly, `"rdmaHcaMax": 8`, `"rdmaHcaMax": 16`, 1))
	n.wait(k, "rdma/mlx", 16)
	if k.Registrations("rdma/mlx") != 1 {
		t.Errorf("%d registrations", k.Registrations("rdma/mlx"))
	}
	n.Write("config.json", strings.Replace(mlxOnly, `"rdmaHcaMax": 8`, `"mode": "perDevice"`, 1))
	n.wait(k, "rdma/mlx", 1) // another mode has other abilities: the kubelet must ask
	n.Until("registered again", func() bool { return k.Registrations("rdma/mlx") == 2 })
}

func TestABadNewConfigurationLeavesTheOldInForce(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0), sysfs.MLX5(1))
	n.Write("config.json", mlxOnly)
	k := n.kubelet()
	n.start()
	n.wait(k, "rdma/mlx", 8)
	for what, bad := range map[string]string{
		"unknown key":                     strings.Replace(mlxOnly, "rdmaHcaMax", "rdmaHcaMaxx", 1),
		"one of its resources is no good": strings.Replace(mlxAndIntel, `"intel"`, `"one of its resources is no good"`, 1),
		"an entry matches nothing":        strings.Replace(mlxOnly, `"15b3"`, `"15b3", "an entry matches nothing"`, 1),
	} {
		n.Write("config.json", bad)
		n.Until("it is refused", func() bool { return strings.Contains(n.Logs.String(), what) })
		if _, allocatable := k.Allocatable("rdma/mlx"); allocatable != 8 {
			t.Errorf("%s: %d allocatable", what, allocatable)
		}
	}
	n.Must(os.Remove(filepath.Join(n.Dir, "config.json")))
	n.Until("the missing file is reported", func() bool { return strings.Contains(n.Logs.String(), "no such configuration file") })
	n.Write("config.json", mlxOnly)
	n.Until("it is good again", func() bool { return strings.Contains(n.Logs.String(), "the configuration is the one in force") })
	n.wait(k, "rdma/mlx", 8)
}

func TestAConfigMapIsFollowedThroughItsLinks(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0), sysfs.IRDMA(1))
	link := func(target, name string) {
		n.Must(os.Symlink(target, filepath.Join(n.Dir, "cm", name)))
	}
	// As the kubelet does it (pkg/volume/util/atomic_writer.go).
	n.Write("cm/..1/config.json", mlxOnly)
	link("..1", "..data")
	link("..data/config.json", "config.json")
	o := n.options()
	o.ConfigFile = filepath.Join(n.Dir, "cm/config.json")
	k := n.kubelet()
	n.startWith(o)
	n.wait(k, "rdma/mlx", 8)
	for i, step := range []struct {
		config string
		intel  int
	}{{mlxAndIntel, 3}, {mlxOnly, 0}, {mlxAndIntel, 3}} { // whoever saw these at intervals only would be too late
		dir := fmt.Sprint("..", i+2)
		n.Write("cm/"+dir+"/config.json", step.config)
		link(dir, "..data_tmp")
		n.Must(os.Rename(filepath.Join(n.Dir, "cm/..data_tmp"), filepath.Join(n.Dir, "cm/..data")))
		n.wait(k, "rdma/intel", step.intel)
	}
}

func TestASignalReadsTheConfigurationAgain(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0))
	n.Write("config.json", mlxOnly)
	signals := make(chan os.Signal)
	o := n.options()
	o.Reload = signals
	k := n.kubelet()
	n.startWith(o)
	n.wait(k, "rdma/mlx", 8)
	signals <- syscall.SIGHUP
	n.Until("there is an answer", func() bool { return strings.Contains(n.Logs.String(), "the configuration is the one in force") })
}

func TestAReloadSaysWhatBecameOfTheFileOnceAndToWhoeverAsks(t *testing.T) {
	const first = `{"periodicUpdateInterval": 0, "configList": [
{"resourceName": "a", "mode": "perDevice", "selectors": {"vendors": ["8086"]}},
{"resourceName": "b", "mode": "perDevice", "selectors": {"vendors": ["15b3"]}}]}`
	other := strings.Replace(first, `"b", "mode": "perDevice"`, `"b", "rdmaHcaMax": 2`, 1)
	more := strings.Replace(other, `"rdmaHcaMax": 2`, `"rdmaHcaMax": 3`, 1)
	both := strings.Replace(more, `"8086"`, `"8086", "14e4"`, 1)
	ignored := strings.Replace(other, `"15b3"`, `"15b3", "mellanox"`, 1)
	const (
		bad      = "{}"
		inForce  = "the configuration is the one in force"
		refusal  = "the changed configuration is invalid; the old one stays in force"
		tooLarge = "rdmaHcaMax is more than the GID table of a device has room for, if each pod has a macvlan or ipvlan on it"
	)
	n := newTestNode(t, sysfs.MLX5(0), sysfs.IRDMA(1))
	m := n.applied(n.options(), first)
	ctx, stop := context.WithCancel(n.Ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	message := regexp.MustCompile(`msg="?(.*?)"? (?:resource=(\S+)|file=|err=)`)
	for i, step := range []struct {
		file                 string
		asked                bool
		failures, generation float64
		want                 []string
	}{
		{first, false, 0, 1, nil}, {first, true, 0, 1, []string{inForce}},
		{bad, false, 1, 1, []string{refusal}}, {bad, false, 1, 1, nil}, {bad, true, 2, 1, []string{refusal}},
		{first, false, 2, 1, []string{inForce}}, {first, false, 2, 1, nil}, {bad, false, 3, 1, []string{refusal}},
		{other, false, 3, 2, []string{"devices of rdma/b", "configuration reloaded", tooLarge + " of rdma/b"}},
		{more, false, 3, 3, []string{"devices of rdma/b", "configuration reloaded", tooLarge + " of rdma/b"}}, // in the same mode
		{both, false, 3, 4, []string{"devices of rdma/a", "configuration reloaded", tooLarge + " of rdma/b"}},
		{bad, false, 4, 4, []string{refusal}}, {ignored, false, 5, 4, []string{refusal}},
	} {
		before := len(n.Logs.String())
		n.Write("config.json", step.file)
		m.reload(ctx, &running, step.asked)
		var got []string
		for line := range strings.Lines(n.Logs.String()[before:]) {
			if words := message.FindStringSubmatch(line); words != nil && words[1] != "waiting for the kubelet" { // which has a goroutine of its own
				got = append(got, strings.TrimSuffix(words[1]+" of "+words[2], " of "))
			}
		}
		metrics := scrape(t, m.metrics)
		failures, generation := metrics["config_reload_failures_total"].Metric[0].Counter.GetValue(), metrics["config_generation"].Metric[0].Gauge.GetValue()
		if !slices.Equal(got, step.want) || failures != step.failures || generation != step.generation {
			t.Errorf("step %d: %q, %g failures, generation %g; want %+v", i, got, failures, generation, step)
		}
	}
	if told := seriesOf(scrape(t, m.metrics)["streams"]); !slices.Equal(told, []string{"resource=rdma/a", "resource=rdma/b"}) {
		t.Errorf("told of: %q", told)
	}
	if e := m.entries["rdma/b"]; e.stop == nil {
		t.Errorf("%s is not served", e.config.Name)
	}
}
