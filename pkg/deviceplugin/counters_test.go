package deviceplugin

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/counters"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/pkg/watch"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

func TestANICsHolderIsWhoHasItAlone(t *testing.T) {
	const shared, single, shares = "rdma/shared", "rdma/single", "rdma/shares"
	device := func(address string) inventory.Device {
		return inventory.Device{Device: rdma.Device{Name: address, Bus: "pci", Address: address}, Place: inventory.OnHost}
	}
	resources := []config.Resource{{Name: shared, Mode: config.Shared, Units: 4}, {Name: single, Mode: config.PerDevice, Units: 1}, {Name: shares, Mode: config.PerDevice, Units: 2}}
	chosen := map[string][]inventory.Device{shared: {device("a"), device("b")}, single: {device("c")}, shares: {device("d")}}
	v := &view{chosen: chosen, offers: map[string]offer.Offer{}, mode: map[string]config.Mode{}}
	for _, r := range resources {
		var candidates []offer.Candidate
		for _, d := range chosen[r.Name] {
			candidates = append(candidates, offer.Candidate{Device: d, Healthy: true})
		}
		v.offers[r.Name], v.mode[r.Name] = offer.New(r, candidates, false, nil), r.Mode
	}
	unit := func(resource, id, pod, container string) heldUnit {
		return heldUnit{resource, id, "ns", pod, container}
	}
	inPod := attachment.Pod{Namespace: "ns", Name: "one"}
	for name, test := range map[string]struct {
		device string
		record attachment.Pod
		units  []heldUnit
		want   counters.Holder
	}{
		"nobody's":                                    {"a", attachment.Pod{}, nil, counters.Holder{}},
		"a share without a NIC":                       {"a", attachment.Pod{}, []heldUnit{unit(shared, "0", "one", "main")}, counters.Holder{}},
		"a share and the NIC":                         {"a", inPod, []heldUnit{unit(shared, "0", "one", "main"), unit(shared, "1", "two", "main")}, counters.Holder{Namespace: "ns", Pod: "one", Container: "main", Resource: shared}},
		"two shares in one container and the NIC":     {"a", inPod, []heldUnit{unit(shared, "0", "one", "main"), unit(shared, "1", "one", "main")}, counters.Holder{Namespace: "ns", Pod: "one", Container: "main", Resource: shared}},
		"two containers with shares and the NIC":      {"b", inPod, []heldUnit{unit(shared, "0", "one", "main"), unit(shared, "1", "one", "side")}, counters.Holder{Namespace: "ns", Pod: "one"}},
		"the NIC and no kubelet":                      {"c", inPod, nil, counters.Holder{Namespace: "ns", Pod: "one"}},
		"the NIC and its unit":                        {"c", inPod, []heldUnit{unit(single, "c", "one", "main")}, counters.Holder{Namespace: "ns", Pod: "one", Container: "main", Resource: single}},
		"another pod's unit":                          {"c", inPod, []heldUnit{unit(single, "c", "two", "main")}, counters.Holder{Namespace: "ns", Pod: "one"}},
		"the unit and no journal":                     {"c", attachment.Pod{}, []heldUnit{unit(single, "c", "two", "main")}, counters.Holder{Namespace: "ns", Pod: "two", Container: "main", Resource: single}},
		"one of two units of a device and no journal": {"d", attachment.Pod{}, []heldUnit{unit(shares, "d-1", "two", "main")}, counters.Holder{Namespace: "ns", Pod: "two", Container: "main", Resource: shares}},
		"both units of a device and no journal":       {"d", attachment.Pod{}, []heldUnit{unit(shares, "d", "one", "main"), unit(shares, "d-1", "two", "main")}, counters.Holder{}},
		"a unit that is no longer offered":            {"d", attachment.Pod{}, []heldUnit{unit(shares, "e", "one", "main")}, counters.Holder{}},
	} {
		d := device(test.device)
		if test.record.Name != "" {
			d.Holder = &attachment.Record{Pod: test.record}
		}
		v.devices = []inventory.Device{d}
		if got := v.nics(rdma.Node{Sys: t.TempDir()}, test.units)[0]; got.Pod != test.want {
			t.Errorf("%s: %+v, want %+v", name, got.Pod, test.want)
		}
	}
}

func TestRailsAreThoseOfWhatIsOffered(t *testing.T) {
	var devices []inventory.Device
	for _, address := range []string{"0000:08:00.0", "0000:0b:00.0", "0000:0e:00.0"} {
		devices = append(devices, inventory.Device{Device: rdma.Device{Name: address, Bus: rdma.BusPCI, Address: address}})
	}
	v := &view{devices: devices, chosen: map[string][]inventory.Device{"rdma/a": devices[2:], "rdma/b": devices[1:2]}}
	var rails []string
	for _, nic := range v.nics(rdma.Node{Sys: t.TempDir()}, nil) {
		rails = append(rails, nic.Device.Name+" "+nic.Rail)
	}
	if want := []string{"0000:08:00.0 ", "0000:0b:00.0 0", "0000:0e:00.0 1"}; !slices.Equal(rails, want) {
		t.Errorf("%q, want %q", rails, want)
	}
}

func TestAScrapeBeforeTheFirstLookTellsNothing(t *testing.T) {
	n := newTestNode(t)
	m := newManager(n.options(), nil)
	m.tellCounters(n.Ctx, func(context.Context) []heldUnit { return nil })
	w := httptest.NewRecorder()
	if m.metrics.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil)); w.Code != http.StatusOK || strings.Contains(w.Body.String(), "rdma_port_state{") {
		t.Errorf("%d, %s", w.Code, w.Body)
	}
}

func TestCountersAreToldWithThePodThatHasTheNIC(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Must(n.AddCounters(7, node.Eight()...))
	n.Write("config.json", guide(1))
	n.servePods()
	n.Attach(rdma.Shared, node.Eight()[2])
	o := n.options()
	o.MetricsAddress, o.CountersSocket = freeAddress(t), filepath.Join(n.Dir, "counters.sock")
	l, err := net.Listen("unix", o.CountersSocket)
	n.Must(err)
	asked := make(chan struct{}, 1)
	entrant := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		watch.Poke(asked)
		_, _ = io.WriteString(w, "{}")
	})}
	go func() { _ = entrant.Serve(l) }()
	t.Cleanup(func() { _ = entrant.Close() })
	n.startWith(o)
	n.Until("it is alive", func() bool { status, _ := n.ask(o.MetricsAddress, "/healthz"); return status == 200 })
	_, metrics := n.ask(o.MetricsAddress, "/metrics")
	for _, line := range []string{
		`rdma_out_of_sequence_total{container="main",device="mlx5_2",namespace="default",netdev="ens13np0",pod="gpu-rdma-pod-1",port="1",rail="2",resource="rdma/hca_gpu"} 7`,
		`rdma_out_of_sequence_total{container="",device="mlx5_3",namespace="",netdev="ens14np0",pod="",port="1",rail="3",resource=""} 7`,
		`rdma_device_plugin_unit_holder{container="main",pod="gpu-rdma-pod-1",pod_namespace="default",resource="rdma/hca_gpu",unit="3"} 1`,
	} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if len(asked) == 0 {
		t.Error("nobody was asked for what is counted in pods")
	}
	// A NIC that goes away leaves the others' rails as they are.
	n.Must(n.Unplug(node.Eight()[0]))
	n.Until("it is gone", func() bool {
		_, metrics = n.ask(o.MetricsAddress, "/metrics")
		return !strings.Contains(metrics, `rdma_port_state{container="",device="mlx5_0"`)
	})
	if !strings.Contains(metrics, `device="mlx5_3",namespace="",netdev="ens14np0",pod="",port="1",rail="3"`) {
		t.Error("rail 3 has another number")
	}
}
