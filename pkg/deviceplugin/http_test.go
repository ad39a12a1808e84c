package deviceplugin

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/endpoint"
	"github.com/roce-k8s/roce-k8s/pkg/exporter"
	"github.com/roce-k8s/roce-k8s/pkg/memlock"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

// freeAddress is one that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// lister is the kubelet's pod-resources server.
type lister struct {
	podresources.UnimplementedPodResourcesListerServer
}

func (lister) List(context.Context, *podresources.ListPodResourcesRequest) (*podresources.ListPodResourcesResponse, error) {
	return &podresources.ListPodResourcesResponse{PodResources: []*podresources.PodResources{{
		Name: "gpu-rdma-pod-1", Namespace: "default",
		Containers: []*podresources.ContainerResources{{Name: "main", Devices: []*podresources.ContainerDevices{
			{ResourceName: hcaGPU, DeviceIds: []string{"3"}},
			{ResourceName: "nvidia.com/gpu", DeviceIds: []string{"GPU-1"}},
		}}},
	}}}, nil
}

// servePods is the kubelet's socket with the pods of a lister.
func (n *testNode) servePods() {
	n.Helper()
	n.Must(os.MkdirAll(filepath.Join(n.Dir, "pod-resources"), 0o755))
	l, err := net.Listen("unix", PodResourcesSocket(n.Dir))
	n.Must(err)
	pods := grpc.NewServer()
	podresources.RegisterPodResourcesListerServer(pods, lister{})
	go func() { _ = pods.Serve(l) }()
	n.Cleanup(pods.Stop)
}

func TestMetricsAndProbesSayWhatIsTrue(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Write("config.json", guide(1))
	n.servePods()

	o := n.options()
	o.MetricsAddress, o.Version, o.MemlockSocket = freeAddress(t), "v1.2.3", serveMemlock(t, memlock.New(memlock.Options{}))
	n.Attach(rdma.Exclusive, node.Eight()[0])
	n.startWith(o)
	n.Until("it is alive", func() bool { status, _ := n.ask(o.MetricsAddress, "/healthz"); return status == 200 })
	if status, body := n.ask(o.MetricsAddress, "/readyz"); status != 503 || !strings.Contains(body, "the kubelet has no stream of "+hcaGPU) {
		t.Errorf("ready without a kubelet: %d %s", status, body)
	}
	k := n.kubelet()
	n.Until("it is ready", func() bool { status, _ := n.ask(o.MetricsAddress, "/readyz"); return status == 200 })
	n.wait(k, hcaGPU, 8)
	_, _, err := k.Allocate(hcaGPU, 1)
	n.Must(err)
	_, metrics := n.ask(o.MetricsAddress, "/metrics")
	for _, line := range []string{
		`rdma_device_plugin_build_info{version="v1.2.3"} 1`,
		`rdma_device_plugin_devices{resource="rdma/hca_gpu",state="host"} 7`,
		`rdma_device_plugin_devices{resource="rdma/hca_gpu",state="pod"} 1`,
		`rdma_device_plugin_devices{resource="rdma/hca_gpu",state="gone"} 0`,
		`rdma_device_plugin_units{health="Healthy",resource="rdma/hca_gpu"} 8`,
		`rdma_device_plugin_registrations_total{resource="rdma/hca_gpu"} 1`,
		`rdma_device_plugin_streams{resource="rdma/hca_gpu"} 1`,
		`rdma_device_plugin_allocations_total{resource="rdma/hca_gpu",result="ok"} 1`,
		`rdma_device_plugin_allocation_seconds_count{resource="rdma/hca_gpu"} 1`,
		`rdma_device_plugin_rescan_failures_total 0`,
		`rdma_device_plugin_rescues_total{result="ok"} 0`,
		`rdma_device_plugin_allocations_total{resource="rdma/hca_gpu",result="error"} 0`, // before the first
		`rdma_device_plugin_config_generation 1`,
		`rdma_device_plugin_config_mistakes 0`,
		`rdma_device_plugin_device_clashes 0`,
		`rdma_device_plugin_config_reload_failures_total 0`,
		`rdma_device_plugin_unit_holder{container="main",pod="gpu-rdma-pod-1",pod_namespace="default",resource="rdma/hca_gpu",unit="3"} 1`,
		`rdma_device_plugin_memlock_connected 0`,
	} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if !strings.Contains(metrics, "rdma_device_plugin_rescan_seconds_count ") {
		t.Error("rescans are not counted")
	}
	if strings.Contains(metrics, "GPU-1") {
		t.Error("another product's devices are told of")
	}
	n.Must(n.Unplug(node.Eight()[1]))
	n.Until("a lost device is degraded", func() bool {
		_, metrics := n.ask(o.MetricsAddress, "/metrics")
		return strings.Contains(metrics, `rdma_device_plugin_device_degraded{device="mlx5_1",netdev="ens12np0",resource="rdma/hca_gpu"} 1`)
	})
	k.Close()
	n.Until("it is not ready", func() bool { status, _ := n.ask(o.MetricsAddress, "/readyz"); return status == 503 })
}

func TestAnAddressInUseIsWaitedFor(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Write("config.json", guide(0))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	n.Must(err)
	defer taken.Close()
	o := n.options()
	o.MetricsAddress = taken.Addr().String()
	k := n.kubelet()
	n.startWith(o)
	n.wait(k, hcaGPU, 8)
	n.Until("it is reported", func() bool { return strings.Contains(n.Logs.String(), "cannot serve metrics and probes yet") })
}

func TestAHangingDriverIsUnhealthy(t *testing.T) {
	m := &manager{}
	if err := m.healthy(); err != nil {
		t.Error(err)
	}
	m.setBusy(time.Now())
	if err := m.healthy(); err != nil {
		t.Error(err)
	}
	m.setBusy(time.Now().Add(-2 * stuck))
	if err := m.healthy(); err == nil {
		t.Error("healthy")
	}
}

func TestOnlyAMistakeThatCostsAResourceIsNotReady(t *testing.T) {
	for cost, ready := range map[config.Cost]bool{config.LeftOut: false, config.Ignored: true, config.Nothing: true} {
		m := &manager{config: &configFile{Config: &config.Config{Faults: config.Errors{{Cost: cost}}}}}
		if err := m.ready(); (err == nil) != ready {
			t.Errorf("cost %d: %v", cost, err)
		}
	}
}

func TestLooksThatFailForMinutesAreUnhealthy(t *testing.T) {
	m := &manager{config: &configFile{Config: &config.Config{}}}
	failed := errors.New("readdir: no such file or directory")
	m.looked(errors.New("another one"))
	if err := m.healthy(); err != nil {
		t.Error(err)
	}
	m.failing.since = time.Now().Add(-blind - time.Second)
	m.looked(failed) // since the first one
	for probe, check := range map[string]func() error{"healthz": m.healthy, "readyz": m.ready} {
		if err := check(); err == nil || !strings.Contains(err.Error(), failed.Error()) {
			t.Errorf("%s: %v", probe, err)
		}
	}
	m.looked(nil)
	if err := errors.Join(m.healthy(), m.ready()); err != nil {
		t.Error(err)
	}
}

// A list that is empty because nobody could look would take the node's units
// away, and with them what running pods have.
func TestTheKubeletIsToldNothingBeforeALookSucceeded(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Write("config.json", guide(1))
	n.Must(os.Rename(filepath.Join(n.Sys(), "class/infiniband"), filepath.Join(n.Dir, "away")))
	n.Write("sys/class/infiniband", "no folder")
	k := n.kubelet()
	n.start()
	n.Until("a look has failed", func() bool { return strings.Contains(n.Logs.String(), "cannot read the node's RDMA devices") })
	if k.Registrations(hcaGPU) != 0 {
		t.Error("registered with nothing to say")
	}
	n.Must(os.Remove(filepath.Join(n.Sys(), "class/infiniband")))
	n.Must(os.Rename(filepath.Join(n.Dir, "away"), filepath.Join(n.Sys(), "class/infiniband")))
	n.wait(k, hcaGPU, 8)
	if k.Messages(hcaGPU) != 1 {
		t.Errorf("%d messages", k.Messages(hcaGPU))
	}
}

func TestManyIdleConnectionsAreNotHeld(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Write("config.json", guide(0))
	o := n.options()
	o.MetricsAddress, o.ProbeSocket = freeAddress(t), filepath.Join(n.Dir, "probe.sock")
	n.kubelet()
	n.startWith(o)
	n.Until("it is ready", func() bool { return Probe(n.Ctx, o.ProbeSocket, "/readyz") == nil })
	held := 0
	for range exporter.MostConnections + 8 {
		c, err := net.Dial("tcp", o.MetricsAddress)
		n.Must(err)
		t.Cleanup(func() { c.Close() })
		_, err = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		n.Must(err)
		n.Must(c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)))
		if _, err := c.Read(make([]byte, 1)); err == nil {
			held++
		}
	}
	if held > exporter.MostConnections {
		t.Errorf("%d connections are held at a time", held)
	}
	n.Must(Probe(n.Ctx, o.ProbeSocket, "/healthz")) // the kubelet's probe has a socket of its own
	n.Until("who is idle makes room", func() bool { status, _ := n.ask(o.MetricsAddress, "/healthz"); return status == 200 })
}

func TestOnlyTheProbeSocketForgetsDevices(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Write("config.json", guide(0))
	o := n.options()
	o.MetricsAddress, o.ProbeSocket = freeAddress(t), filepath.Join(n.Dir, "probe.sock")
	k := n.kubelet()
	n.startWith(o)
	n.Until("it is ready", func() bool { return Probe(n.Ctx, o.ProbeSocket, "/readyz") == nil })
	n.wait(k, hcaGPU, 8)
	degraded := func() int {
		_, metrics := n.ask(o.MetricsAddress, "/metrics")
		return strings.Count(metrics, "device_degraded{")
	}
	response, err := http.Post("http://"+o.MetricsAddress+"/forget", "text/plain", strings.NewReader("mlx5_7"))
	n.Must(err)
	response.Body.Close()
	if response.StatusCode != http.StatusNotFound {
		t.Errorf("the port that anybody reaches answers %s", response.Status)
	}
	for name, want := range map[string]string{"mlx5_7": "only a device that is gone can be forgotten", "": `no device is called ""`, "mlx5_99": "gone: -"} {
		if err := Forget(n.Ctx, o.ProbeSocket, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for i, h := range node.Eight()[5:] {
		n.Must(n.Unplug(h))
		n.Must(n.SetPort(node.Eight()[0], "ACTIVE", "LinkUp"))
		n.Until("it alarms", func() bool {
			_ = Forget(n.Ctx, o.ProbeSocket, "have a look") // nothing announces the change here
			return degraded() == 1
		})
		n.Must(Forget(n.Ctx, o.ProbeSocket, []string{h.RDMA + "\n", h.PCI, h.Netdev}[i]))
		n.Until("it does not", func() bool { return degraded() == 0 })
	}
}

// As in a DaemonSet's update with maxSurge: the network address is the other
// instance's.
func TestAProbeAsksTheInstanceOfItsSocketAndNoOther(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Write("config.json", guide(0))
	k := n.kubelet()
	old := n.options()
	old.MetricsAddress = freeAddress(t)
	n.startWith(old)
	n.Until("the old one is ready", func() bool { status, _ := n.ask(old.MetricsAddress, "/readyz"); return status == 200 })

	successor := n.options()
	successor.MetricsAddress, successor.ProbeSocket = old.MetricsAddress, filepath.Join(n.Dir, "probe.sock")
	successor.KubeletDir = filepath.Join(n.Dir, "none") // it cannot register
	n.Write("probe.sock", "what a killed instance left")
	stop := n.startWith(successor)
	n.Until("the new one is alive", func() bool { return Probe(n.Ctx, successor.ProbeSocket, "/healthz") == nil })
	response, err := endpoint.Unix(successor.ProbeSocket).Ask(n.Ctx, http.MethodGet, "/metrics", nil)
	n.Must(err)
	defer response.Body.Close()
	if metrics, err := io.ReadAll(response.Body); err != nil || !strings.Contains(string(metrics), "rdma_device_plugin_registrations_total{resource=\"rdma/hca_gpu\"} 0\n") {
		t.Errorf("its metrics: %v, %s", err, metrics)
	}
	if err := Probe(n.Ctx, successor.ProbeSocket, "/readyz"); err == nil || !strings.Contains(err.Error(), "the kubelet has no stream of "+hcaGPU) {
		t.Errorf("ready though not registered: %v", err)
	}
	stop()
	if err := Probe(n.Ctx, successor.ProbeSocket, "/healthz"); err == nil {
		t.Error("alive after its end")
	} else if text := err.Error(); !strings.Contains(text, "no instance answers: dial unix "+successor.ProbeSocket) || strings.Contains(text, "http:") {
		t.Errorf("got %v", err)
	}
	successor.KubeletDir = n.Dir
	n.startWith(successor)
	n.Until("the new one is ready", func() bool { return Probe(n.Ctx, successor.ProbeSocket, "/readyz") == nil })
	n.wait(k, hcaGPU, 8)
}
