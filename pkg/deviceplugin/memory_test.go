package deviceplugin

import (
	"os"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestANICThatSomebodyElseMovedStaysChosen(t *testing.T) {
	for _, mode := range []rdma.Mode{rdma.Shared, rdma.Exclusive} {
		t.Run(string(mode), func(t *testing.T) {
			hcas := eight()
			n := newTestNode(t, hcas...)
			n.write("config.json", guide(1))
			k := n.kubelet()
			stop := n.start()
			n.wait(k, hcaGPU, 8)
			for _, h := range hcas { // as host-device and rdma-cni do, without a journal
				n.must(n.TakeNetdev(h))
				if mode == rdma.Exclusive {
					n.must(n.TakeRDMA(h))
				}
			}
			n.until("all are seen away", func() bool { return n.reported(8, InPod) })
			stop()
			n.wait(k, hcaGPU, 0)
			n.start()
			n.wait(k, hcaGPU, 8)
			response, _, err := k.Allocate(hcaGPU, 1)
			n.must(err)
			checkDevices(t, response, eightHCAs())
		})
	}
}

func TestMemoryEndsWithTheBoot(t *testing.T) {
	n := newTestNode(t, eight()...)
	i := n.inventory()
	devices, err := i.read()
	n.must(err)
	i.memory.keep(devices)
	for _, h := range eight() {
		n.must(n.Unplug(h))
	}
	if devices := byName(t, n.inventory()); len(devices) != 8 || devices["mlx5_0"].Place != Gone {
		t.Errorf("got %v", devices)
	}
	n.boot("33333333-0000-0000-0000-000000000000")
	if devices := byName(t, n.inventory()); len(devices) != 0 {
		t.Errorf("after a reboot: %v", devices)
	}
}

func TestANICThatIsRenamedOnTheHostIsKnownByItsNewName(t *testing.T) {
	h := sysfs.MLX5(0)
	n := newTestNode(t, h)
	i := n.inventory()
	devices, err := i.read()
	n.must(err)
	i.memory.keep(devices)
	n.must(n.TakeNetdev(h))
	h.Netdev = "rail0"
	n.must(n.ReturnNetdev(h))
	devices, err = i.read()
	n.must(err)
	i.memory.keep(devices)
	n.must(n.TakeNetdev(h))
	if d := byName(t, n.inventory())["mlx5_0"]; len(d.Netdevs) != 1 || d.Netdevs[0] != "rail0" || d.Place != InPod {
		t.Errorf("got %v %s", d.Netdevs, d.Place)
	}
}

func TestAMemoryOfNoUseIsNone(t *testing.T) {
	for name, content := range map[string]string{
		"cut short":                     `{"version": 1, "dev`,
		"of another version":            `{"version": 99}`,
		"of a device without identity":  `{"version": 1, "bootID": "11111111-0000-0000-0000-000000000000", "devices": [{}]}`,
		"of another boot":               `{"version": 1, "bootID": "x", "devices": [{"name": "mlx5_9", "bus": "pci", "address": "0000:99:00.0"}]}`,
		"a file where no file could be": "",
	} {
		t.Run(name, func(t *testing.T) {
			n := newTestNode(t, eight()...)
			if content == "" {
				n.must(os.MkdirAll(n.state()+"/device-plugin.json/x", 0o755))
			} else {
				n.write("state/device-plugin.json", content)
			}
			i := n.inventory()
			for range 2 {
				devices, err := i.read()
				n.must(err)
				if len(devices) != 8 {
					t.Errorf("%d devices", len(devices))
				}
				i.memory.keep(devices)
			}
			if c := strings.Count(n.logs.String(), "cannot write the record"); content == "" && c != 1 {
				t.Errorf("logged %d times:\n%s", c, n.logs)
			}
		})
	}
}

func TestMemoryIsWrittenOnlyWhenThereIsNews(t *testing.T) {
	n := newTestNode(t, eight()...)
	i := n.inventory()
	keep := func() {
		devices, err := i.read()
		n.must(err)
		i.memory.keep(devices)
	}
	keep()
	n.must(os.Remove(n.state() + "/device-plugin.json"))
	n.must(n.SetPort(eight()[0], "DOWN", "Disabled")) // links come and go
	keep()
	if _, err := os.Stat(n.state() + "/device-plugin.json"); !os.IsNotExist(err) {
		t.Errorf("written without news: %v", err)
	}
	n.must(n.Add(sysfs.MLX5(8)))
	keep()
	if _, err := os.Stat(n.state() + "/device-plugin.json"); err != nil {
		t.Error(err)
	}
}
