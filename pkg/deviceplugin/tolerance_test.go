package deviceplugin

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// halfGood has two resources, of which one cannot be served.
const halfGood = `{"periodicUpdateInterval": 1, "configList": [
{"resourceName": "bad", "resourcePrefix": "example_prefix", "rdmaHcaMax": 8, "devices": ["ens12np0"]},
{"resourceName": "good", "rdmaHcaMax": 8, "devices": ["ens11np0"]}]}`

func TestAResourceThatIsNoGoodCostsItselfOnly(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Write("config.json", halfGood)
	o := n.options()
	o.ProbeSocket, o.MetricsAddress = filepath.Join(n.Dir, "probe.sock"), freeAddress(t)
	k := n.kubelet()
	n.startWith(o)
	n.wait(k, "rdma/good", 8)
	n.Until("it is alive", func() bool { return Probe(n.Ctx, o.ProbeSocket, "/healthz") == nil })
	const mistake = `config.json:2:43: "resourcePrefix" is "example_prefix"`
	if err := Probe(n.Ctx, o.ProbeSocket, "/readyz"); err == nil || !strings.Contains(err.Error(), mistake) {
		t.Errorf("ready: %v", err) // an update keeps the instance that has the resource
	}
	if !strings.Contains(n.Logs.String(), `level=ERROR msg="a resource of the configuration is left out"`) || !strings.Contains(n.Logs.String(), "example_prefix") {
		t.Errorf("logged:\n%s", n.Logs)
	}
	if _, metrics := n.ask(o.MetricsAddress, "/metrics"); !strings.Contains(metrics, "rdma_device_plugin_config_mistakes 1\n") {
		t.Error("no metric of it")
	}
	var out strings.Builder
	if err := Explain(n.Ctx, n.options(), &out); err == nil || !strings.Contains(out.String(), "rdma/good") || !strings.Contains(out.String(), "(the resource is left out)") {
		t.Errorf("explain: %v\n%s", err, out.String())
	}
	err := Validate(o.ConfigFile, &out)
	for _, want := range []string{mistake, "(the resource is left out)", "a plugin that starts with it serves rdma/good"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("validate: %v, want %q", err, want)
		}
	}
	n.Write("config.json", mlxOnly) // and then it is right
	n.wait(k, "rdma/mlx", 8)
	n.Until("it is ready", func() bool { return Probe(n.Ctx, o.ProbeSocket, "/readyz") == nil })
}

func TestAResourceSwitchedOffIsThereWithoutUnits(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Write("config.json", strings.Replace(halfGood, `"example_prefix", "rdmaHcaMax": 8`, `null, "rdmahcamax": 0`, 1))
	o := n.options()
	o.ProbeSocket = filepath.Join(n.Dir, "probe.sock")
	k := n.kubelet()
	n.startWith(o)
	n.wait(k, "rdma/good", 8)
	n.Until("both are registered", func() bool { return k.Registrations("rdma/bad") == 1 && k.Messages("rdma/bad") == 1 })
	if capacity, _ := k.Allocatable("rdma/bad"); capacity != 0 {
		t.Errorf("%d units", capacity)
	}
	n.Until("it is ready", func() bool { return Probe(n.Ctx, o.ProbeSocket, "/readyz") == nil })
	for _, want := range []string{"the resource has no units", `is read as \"rdmaHcaMax\"`} {
		if !strings.Contains(n.Logs.String(), want) {
			t.Errorf("not said: %s\n%s", want, n.Logs)
		}
	}
	var out strings.Builder
	if err := Validate(o.ConfigFile, &out); err != nil || !strings.Contains(out.String(), "(valid all the same)") || !strings.Contains(out.String(), ": valid, 2 resources") {
		t.Errorf("validate: %v\n%s", err, out.String())
	}
}

func TestAResourceThatSelectsNothingSaysWhereToAsk(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Write("config.json", strings.ReplaceAll(guide(0), "ens", "enp"))
	k := n.kubelet()
	n.start()
	n.Until("the kubelet has a list", func() bool { return k.Messages(hcaGPU) == 1 })
	if !strings.Contains(n.Logs.String(), "level=WARN msg=\"the resource selects no device on this node; `rdma-device-plugin explain` tells why\"") {
		t.Errorf("logged:\n%s", n.Logs)
	}
}

func TestMissingCharacterDevicesAreSaidOnceAndSoIsTheirArrival(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Write("config.json", guide(1))
	n.Must(n.RemoveConnectionManager())
	k := n.kubelet()
	n.start()
	n.wait(k, hcaGPU, 8)
	const missing = `missing="rdma_cm: the node has none; is the module rdma_ucm loaded?"`
	var out strings.Builder
	n.Must(Explain(n.Ctx, n.options(), &out))
	if !strings.Contains(out.String(), "but  containers will lack rdma_cm: the node has none") {
		t.Errorf("explain:\n%s", out.String())
	}
	n.Must(n.Add(sysfs.MLX5(20))) // and another look
	n.Write("dev/infiniband/rdma_cm", "")
	n.Until("its arrival is said", func() bool {
		return strings.Contains(n.Logs.String(), "all character devices of the resource are present")
	})
	if c := strings.Count(n.Logs.String(), missing); c != 1 {
		t.Errorf("said %d times:\n%s", c, n.Logs)
	}
}

func TestADeviceWhosePortsComeLateIsOfferedWithoutAnEvent(t *testing.T) {
	hcas := node.Eight()
	n := newTestNode(t, hcas...)
	n.Must(n.TakePorts(hcas[0]))
	n.Write("config.json", `{"periodicUpdateInterval": 0, "configList": [
{"resourceName": "rail", "mode": "perDevice", "healthPolicy": "link", "selectors": {"isRoCE": true}}]}`)
	k := n.kubelet()
	n.start()
	n.wait(k, "rdma/rail", 7)
	n.Must(n.ReturnRDMA(hcas[0]))
	n.wait(k, "rdma/rail", 8)
}

// devtmpfs removes the folder with the last device in it, and makes another.
func TestAFolderOfDevicesThatIsMadeAnewIsFollowed(t *testing.T) {
	hcas := node.Eight()
	n := newTestNode(t, hcas...)
	n.Write("config.json", guide(1))
	k := n.kubelet()
	n.start()
	n.wait(k, hcaGPU, 8)
	n.Must(n.RemoveDevices())
	for _, h := range hcas {
		n.Must(n.Unplug(h))
	}
	n.wait(k, hcaGPU, 0)
	if _, _, err := k.Allocate(hcaGPU, 1); err == nil {
		t.Error("a container was given nothing")
	}
	n.Must(n.Add(hcas...))
	n.wait(k, hcaGPU, 8)
}

func TestAContainerIsRefusedBeforeTheHealthHasSettled(t *testing.T) {
	h := sysfs.MLX5(0)
	n := newTestNode(t, h)
	n.Write("config.json", strings.Replace(mlxOnly, `"periodicUpdateInterval": 0`, `"periodicUpdateInterval": 1`, 1))
	k := n.kubelet()
	n.start()
	n.wait(k, "rdma/mlx", 8)
	n.Must(n.Unplug(h))
	n.Until("it is seen", func() bool { return strings.Contains(n.Logs.String(), "place=gone") })
	_, _, err := k.Allocate("rdma/mlx", 1)
	if err == nil || !strings.Contains(err.Error(), "the hardware behind it or its driver is gone") && !strings.Contains(err.Error(), "no healthy devices") {
		t.Errorf("got %v", err)
	}
}

func TestVirtualFunctionsThatWereTakenAwayLeaveTheResource(t *testing.T) {
	pf := sysfs.MLX5(0)
	vfs := []sysfs.HCA{sysfs.VF(pf, 1, 10), sysfs.VF(pf, 2, 11)}
	n := newTestNode(t, append(vfs, pf)...)
	n.Write("config.json", `{"periodicUpdateInterval": 1, "configList": [{"resourceName": "vf", "mode": "perDevice", "selectors": {"deviceIDs": ["101e"]}}]}`)
	k := n.kubelet()
	n.start()
	n.wait(k, "rdma/vf", 2)
	n.Must(n.Unplug(vfs[1]))
	n.wait(k, "rdma/vf", 1)
	n.Until("the capacity is one", func() bool { capacity, _ := k.Allocatable("rdma/vf"); return capacity == 1 })
	if strings.Contains(n.Logs.String(), "device degraded") {
		t.Errorf("it alarmed:\n%s", n.Logs)
	}
}

func TestEventsThatKeepComingDoNotPutOffTheLookForEver(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Write("config.json", guide(0)) // no look but for events
	k := n.kubelet()
	n.start()
	n.wait(k, hcaGPU, 8)
	n.Must(os.MkdirAll(n.Journal.RecordsDir(), 0o700))
	done := make(chan struct{})
	var running sync.WaitGroup
	defer running.Wait()
	defer close(done)
	running.Go(func() {
		noise := filepath.Join(n.Journal.RecordsDir(), "noise.json")
		for {
			_ = os.WriteFile(noise, nil, 0o600)
			_ = os.Remove(noise)
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	n.Must(n.RemoveConnectionManager())
	n.Until("it is seen", func() bool { return strings.Contains(n.Logs.String(), `missing="rdma_cm`) })
}
