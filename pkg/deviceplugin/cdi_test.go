package deviceplugin

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tags.cncf.io/container-device-interface/pkg/cdi"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
	"github.com/roce-k8s/roce-k8s/pkg/specfile"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestCDIDevicesStandForCharacterDevices(t *testing.T) {
	pf := sysfs.MLX5(0)
	n := newTestNode(t, pf, sysfs.SF(pf, 2, 10), sysfs.IRDMA(1))
	n.Write("config.json", `{"periodicUpdateInterval": 1, "configList": [
{"resourceName": "mlx", "rdmaHcaMax": 4, "selectors": {"vendors": ["15b3"]}},
{"resourceName": "intel", "mode": "perDevice", "selectors": {"vendors": ["8086"]}}]}`)
	n.Write("cdi/nvidia.com-gpu.json", "another product's file, whatever is in it")
	n.Write("cdi/roce-k8s.io-nic.json", "not ours either")
	o := n.options()
	o.CDIDir = filepath.Join(n.Dir, "cdi")
	k := n.kubelet()
	stop := n.startWith(o)
	n.wait(k, "rdma/mlx", 4)
	n.wait(k, "rdma/intel", 1)

	response, _, err := k.Allocate("rdma/mlx", 1)
	n.Must(err)
	var given []string
	for _, d := range response.CdiDevices {
		given = append(given, d.Name)
	}
	if got := strings.Join(given, " "); got != "roce-k8s.io/hca=0000:08:00.0 roce-k8s.io/hca=mlx5_core.sf.2 roce-k8s.io/hca=rdma_cm" || len(response.Devices) > 0 {
		t.Errorf("got %s and %v", got, response.Devices)
	}

	// A runtime finds them.
	nodes := func() string {
		cache, err := cdi.NewCache(cdi.WithSpecDirs(o.CDIDir), cdi.WithAutoRefresh(false))
		n.Must(err)
		var all []string
		for _, name := range cache.ListDevices() {
			for _, node := range cache.GetDevice(name).ContainerEdits.DeviceNodes {
				all = append(all, strings.TrimPrefix(node.Path, "/dev/infiniband/"))
			}
		}
		return strings.Join(all, " ")
	}
	if got := nodes(); got != "issm0 umad0 uverbs0 uverbs1 issm10 umad10 uverbs10 rdma_cm" {
		t.Errorf("CDI devices: %s", got)
	}

	n.Must(n.Unplug(sysfs.IRDMA(1)))
	n.Until("the spec forgets what is gone", func() bool { return nodes() == "issm0 umad0 uverbs0 issm10 umad10 uverbs10 rdma_cm" })
	n.Must(os.Remove(filepath.Join(o.CDIDir, "roce-k8s.io-hca.json")))
	n.Until("the spec is written again", func() bool { return strings.HasPrefix(nodes(), "issm0") })
	stop()
	entries, err := os.ReadDir(o.CDIDir)
	n.Must(err)
	if len(entries) != 3 {
		t.Errorf("files: %v", entries)
	}
}

// onWrite is called with what is written.
type onWrite func([]byte)

func (f onWrite) Write(p []byte) (int, error) { f(p); return len(p), nil }

// A container that starts with a name that is in no spec yet fails.
func TestTheSpecIsThereBeforeTheDevicesAreOffered(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0))
	o := n.options()
	o.CDIDir = filepath.Join(n.Dir, "cdi")
	var specs []bool // whether there is one, when offered devices are logged
	o.Log = slog.New(slog.NewTextHandler(onWrite(func(line []byte) {
		if bytes.Contains(line, []byte("msg=devices resource=rdma/mlx")) {
			_, err := os.Stat(specfile.Of(o.CDIDir, offer.CDIVendor, offer.CDIClass).Path())
			specs = append(specs, err == nil)
		}
	}), nil))
	n.applied(o, mlxOnly)
	if !slices.Equal(specs, []bool{true}) {
		t.Errorf("there is a spec: %v", specs)
	}
}

func TestACDIFolderThatCannotBeWrittenIsReportedOnceAndNotReady(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Write("config.json", guide(1))
	n.Write("cdi", "a file where the folder should be")
	o := n.options()
	o.ProbeSocket = filepath.Join(n.Dir, "probe.sock")
	o.CDIDir = filepath.Join(n.Dir, "cdi")
	k := n.kubelet()
	n.startWith(o)
	n.wait(k, hcaGPU, 8)
	n.Must(n.Add(sysfs.MLX5(8)))
	n.Must(n.SetPort(sysfs.MLX5(8), "DOWN", "Disabled"))
	if c := strings.Count(n.Logs.String(), "containers will not get their devices"); c != 1 {
		t.Errorf("logged %d times:\n%s", c, n.Logs)
	}
	n.Until("it says why it is not ready", func() bool { // its socket may come after its units
		err := Probe(n.Ctx, o.ProbeSocket, "/readyz")
		return err != nil && strings.Contains(err.Error(), "containers will not get their devices")
	})
	n.Must(os.Remove(filepath.Join(n.Dir, "cdi")))
	n.Until("it is ready when the spec is there", func() bool { return Probe(n.Ctx, o.ProbeSocket, "/readyz") == nil })
}

func TestASpecThatCannotBeWrittenIsSaidOnce(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0))
	n.Write("cdi", "a file where the folder should be")
	o := n.options()
	o.CDIDir = filepath.Join(n.Dir, "cdi")
	m := n.applied(o, mlxOnly)
	m.rescan(n.Ctx)
	if c := strings.Count(n.Logs.String(), "containers will not get their devices"); c != 1 || m.noCDI == nil {
		t.Errorf("logged %d times, %v:\n%s", c, m.noCDI, n.Logs)
	}
	n.Must(os.Remove(o.CDIDir))
	if m.rescan(n.Ctx); m.noCDI != nil {
		t.Errorf("it is written, but %v", m.noCDI)
	}
}

func TestASpecWithoutDevicesIsNoFile(t *testing.T) {
	n := newTestNode(t)
	f := specfile.Of(n.Dir, offer.CDIVendor, offer.CDIClass)
	n.Must(f.Write(offer.CDISpec(nil, nil, nil, true)))
	if _, err := os.Stat(f.Path()); !os.IsNotExist(err) {
		t.Errorf("got %v", err)
	}
}
