package status

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/endpoint"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

const twoResources = `# TYPE rdma_device_plugin_build_info gauge
rdma_device_plugin_build_info{version="v1.2.3"} 1
# TYPE rdma_device_plugin_config_mistakes gauge
rdma_device_plugin_config_mistakes 3
# TYPE rdma_device_plugin_device_clashes gauge
rdma_device_plugin_device_clashes 2
# TYPE rdma_device_plugin_devices gauge
rdma_device_plugin_devices{resource="rdma/b",state="host"} 5
rdma_device_plugin_devices{resource="rdma/b",state="pod"} 4
rdma_device_plugin_devices{resource="rdma/a",state="host"} 1
# TYPE rdma_device_plugin_units gauge
rdma_device_plugin_units{resource="rdma/b",health="Healthy"} 7
rdma_device_plugin_units{resource="rdma/b",health="Unhealthy"} 1
rdma_device_plugin_units{resource="rdma/gone",health="Healthy"} 9
# TYPE rdma_device_plugin_streams gauge
rdma_device_plugin_streams{resource="rdma/b"} 2
rdma_device_plugin_streams{resource="rdma/a"} 0
# TYPE rdma_device_plugin_allocations_total counter
rdma_device_plugin_allocations_total{resource="rdma/b",result="ok"} 11
rdma_device_plugin_allocations_total{resource="rdma/b",result="error"} 12
# TYPE rdma_device_plugin_device_degraded gauge
rdma_device_plugin_device_degraded{resource="rdma/b",device="mlx5_1",netdev="ens12np0",condition="x"} 1
rdma_device_plugin_device_degraded{resource="rdma/a",device="mlx5_2",netdev="ens13np0",condition="x"} 1
# TYPE rdma_device_plugin_rescues_total counter
rdma_device_plugin_rescues_total{result="ok"} 6
rdma_device_plugin_rescues_total{result="failed"} 8
`

func TestThePluginIsWhatItsMetricsAndItsReadinessSay(t *testing.T) {
	of := func(notReady string) *Plugin {
		return &Plugin{
			Version: "v1.2.3", NotReady: notReady, Rescues: Rescues{OK: 6, Failed: 8}, Mistakes: 3, Clashes: 2,
			Degraded: []string{"ens12np0/mlx5_1 of rdma/b", "ens13np0/mlx5_2 of rdma/a"},
			Resources: []Resource{
				{Name: "rdma/a", Devices: map[string]int{"host": 1}, Units: map[string]int{}, Allocations: map[string]int{}},
				{Name: "rdma/b", Devices: map[string]int{"host": 5, "pod": 4}, Units: map[string]int{"Healthy": 7, "Unhealthy": 1}, Allocations: map[string]int{"ok": 11, "error": 12}, Connected: true},
			},
		}
	}
	for name, tt := range map[string]struct {
		code    int // of the metrics
		metrics string
		ready   int
		text    string
		want    *Plugin
		err     string
	}{
		"ready":           {200, twoResources, 200, "ok\n", of(""), ""},
		"not ready":       {200, twoResources, 503, "not ready: the kubelet is gone\n", of("not ready: the kubelet is gone"), ""},
		"no metrics":      {404, "no such page", 200, "", nil, "it does not answer at SOCKET: status 404"},
		"the driver":      {200, "rdma_dra_driver_build_info{version=\"v1\"} 1\n", 200, "", nil, "rdma-dra-driver answers at SOCKET: it allocates the node's NICs"},
		"other metrics":   {200, "go_threads 7\n", 200, "", nil, "what answers at SOCKET is no rdma-device-plugin"},
		"none at all":     {200, "<html>", 200, "", nil, "what answers at SOCKET is no rdma-device-plugin"},
		"cut off":         {200, twoResources, 200, "", nil, "it does not answer at SOCKET: unexpected EOF"},
		"gone in between": {200, twoResources, 0, "", of("EOF"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			server := http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				code, text := tt.code, tt.metrics
				if r.URL.Path == "/readyz" {
					code, text = tt.ready, tt.text
				}
				if code == 0 {
					panic(http.ErrAbortHandler)
				}
				if name == "cut off" {
					w.Header().Set("Content-Length", "99999")
				}
				w.WriteHeader(code)
				_, _ = fmt.Fprint(w, text)
			})}
			go func() { _ = server.Serve(l) }()
			defer func() { _ = server.Close() }()
			got, err := AskPlugin(context.Background(), "nobody:1", socket)
			if want := strings.ReplaceAll(tt.err, "SOCKET", socket); want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
				t.Errorf("error %v, want %q", err, want)
			}
			if got != nil && tt.want != nil && tt.ready == 0 && strings.HasSuffix(got.NotReady, tt.want.NotReady) {
				got.NotReady = tt.want.NotReady // behind what was asked for
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v\nwant\n%+v", got, tt.want)
			}
			text, err := AskMetrics(t.Context(), "nobody:1", socket)
			if found := tt.code == http.StatusOK && name != "cut off"; found && text != tt.metrics || (err == nil) != found {
				t.Errorf("the metrics are %q, %v", text, err)
			}
		})
	}
}

func TestThePluginIsAskedWhereItServes(t *testing.T) {
	for _, tt := range []struct {
		address, socket string
		want            endpoint.Endpoint // the zero one is an error
	}{
		{":9440", "", endpoint.Endpoint{Network: "tcp", Address: "127.0.0.1:9440"}},
		{"192.0.2.1:9440", "", endpoint.Endpoint{Network: "tcp", Address: "192.0.2.1:9440"}},
		{"[fd00::1]:9440", "", endpoint.Endpoint{Network: "tcp", Address: "[fd00::1]:9440"}},
		{":9440", "/run/s", endpoint.Unix("/run/s")},
		{"", "", endpoint.Endpoint{}},
	} {
		got, err := reach(tt.address, tt.socket)
		if got != tt.want || (err != nil) != (tt.want == endpoint.Endpoint{}) {
			t.Errorf("%q, %q: %+v, %v", tt.address, tt.socket, got, err)
		}
	}
}

func TestUnitsAreListedByResourceAndPodThoseOfAContainerTogether(t *testing.T) {
	pods := []pod{
		{"b/p", []Units{{"rdma/y", "b/p", "one", []string{"3"}}, {"rdma/x", "b/p", "one", []string{"1"}}, {"rdma/x", "b/p", "two", []string{"7"}}, {"rdma/x", "b/p", "one", []string{"2"}}}},
		{"a/p", []Units{{"rdma/y", "a/p", "one", []string{"4"}}, {"nvidia.com/gpu", "a/p", "one", []string{"5"}}}},
	}
	want := []Units{{"rdma/x", "b/p", "one", []string{"1", "2"}}, {"rdma/x", "b/p", "two", []string{"7"}}, {"rdma/y", "a/p", "one", []string{"4"}}, {"rdma/y", "b/p", "one", []string{"3"}}}
	if got := unitsOf(pods, func(resource string) bool { return strings.HasPrefix(resource, "rdma/") }); !reflect.DeepEqual(got, want) {
		t.Errorf("%v\nwant\n%v", got, want)
	}
}

func TestTheTextIsLaidOutLikeThis(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	holder := Holder{Pod: "default/pod-1", Container: "0123456789abcdef", Interface: "net1", Network: "roce-net1", Step: attachment.Attached, Since: at.Add(-90 * time.Second)}
	moving := holder
	moving.Step, moving.Pod, moving.Container = attachment.Prepared, "", "c2"
	s := &Status{
		Node: "node-a", Time: at, RDMAMode: rdma.Exclusive,
		NICs: []NIC{
			{Netdev: "ens11np0", RDMA: "mlx5_0", Address: "0000:08:00.0", Place: inventory.InPod, Holder: &holder},
			{Netdev: "é", Place: inventory.OnHost, Holder: &moving},
			{RDMA: "mlx5_2", Address: "0000:0e:00.0", Place: inventory.Gone},
		},
		Returned: []Return{{"ens14np0", holder, at.Add(-time.Hour), "an address"}}, Owed: []Return{{"ens15np0", moving, time.Time{}, "a name"}},
		Units: []Units{{"rdma/nic", "default/pod-1", "main", []string{"3", "4"}}},
		Plugin: &Plugin{
			Version: "v1", NotReady: "not ready", Rescues: Rescues{OK: 1, Failed: 2}, Mistakes: 3, Clashes: 4, Degraded: []string{"a device"},
			Resources: []Resource{
				{Name: "rdma/nic", Devices: map[string]int{"host": 1, "pod": 2, "gone": 3}, Units: map[string]int{"Healthy": 4, "Unhealthy": 5}, Allocations: map[string]int{"ok": 6, "error": 7}, Connected: true},
				{Name: "rdma/b"},
			},
		},
		Missing: []string{"kubelet: away"}, Remarks: []string{"this", "that"},
	}
	const want = `Node node-a at 2026-03-01T12:00:00Z, RDMA mode exclusive
Device plugin v1: not ready; rescues since its start: 1, failed: 2; mistakes in its configuration: 7

Missing:
  kubelet: away

Look at:
  this
  that

NIC       RDMA    ADDRESS       WHERE  HOLDER                                 NETWORK    SINCE
ens11np0  mlx5_0  0000:08:00.0  pod    default/pod-1 (net1 in 0123456789abc)  roce-net1  2026-03-01T11:58:30Z (1m30s ago)
é         -       -             host   (net1 in c2), under way                roce-net1  2026-03-01T11:58:30Z (1m30s ago)
-         mlx5_2  0000:0e:00.0  gone   -                                      -          -

CAME BACK  WAS                                    BACK                               TO BE DONE
ens14np0   default/pod-1 (net1 in 0123456789abc)  2026-03-01T11:00:00Z (1h0m0s ago)  an address
ens15np0   (net1 in c2), under way                -                                  a name

UNITS OF  HOLDER              HOW MANY  WHICH
rdma/nic  default/pod-1 main  2         3 4

RESOURCE  DEVICES ON HOST  IN PODS  GONE  HEALTHY UNITS  UNHEALTHY  ALLOCATIONS  FAILED  KUBELET
rdma/nic  1                2        3     4              5          6            7       listens
rdma/b    0                0        0     0              0          0            0       does not listen

Degraded:
  a device
`
	var b strings.Builder
	if err := s.Text(&b); err != nil || b.String() != want {
		t.Errorf("%v\n%s\nwant\n%s", err, b.String(), want)
	}
	if len(s.Returned) != 1 || s.Owed[0].Netdev != "ens15np0" {
		t.Errorf("the status has changed: %+v", s)
	}
	b.Reset()
	const empty = "Node n at 2026-03-01T12:00:00Z, RDMA mode unknown\n"
	if err := (&Status{Node: "n", Time: at}).Text(&b); err != nil || b.String() != empty {
		t.Errorf("%v, %q", err, b.String())
	}
}
