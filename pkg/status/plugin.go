package status

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/roce-k8s/roce-k8s/pkg/endpoint"
)

// A Plugin is what the device plugin says of itself.
type Plugin struct {
	Version string `json:"version"`
	// NotReady says why it is not ready, "" if it is.
	NotReady  string     `json:"notReady,omitempty"`
	Resources []Resource `json:"resources"`
	// Rescues are those since it started: NICs that came back without a DEL.
	Rescues Rescues `json:"rescues"`
	// Degraded are devices that the health policy of their resource calls unhealthy.
	Degraded []string `json:"degraded,omitempty"`
	Mistakes int      `json:"mistakes"` // in the configuration in force
	Clashes  int      `json:"clashes"`
	// Memlock is what it knows of the memlock plugin, nil if there shall be none.
	Memlock *Memlock `json:"memlock,omitempty"`
}

// A Memlock is the plugin of the container runtime that raises memlock limits.
type Memlock struct {
	Connected bool `json:"connected"` // the runtime asks it
	// Raised are the containers, since it started, that got a limit; Kept those with
	// a lower one of their own.
	Raised int `json:"raised"`
	Kept   int `json:"kept"`
}

// A Resource is one that it offers.
type Resource struct {
	Name string `json:"name"`
	// Devices are how many there are by place, Units by health, Allocations by
	// result.
	Devices     map[string]int `json:"devices"`
	Units       map[string]int `json:"units"`
	Allocations map[string]int `json:"allocations"`
	// Connected: the kubelet listens.
	Connected bool `json:"connected"`
}

// Rescues are counted by how they ended.
type Rescues struct {
	OK     int `json:"ok"`
	Failed int `json:"failed"`
}

const longestMetrics = 16 << 20 // bytes

// AskMetrics has the metrics of the device plugin at an address, or at a socket if
// that is not "", in Prometheus' text format.
func AskMetrics(ctx context.Context, metricsAddress, probeSocket string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, longestAnswer)
	defer cancel()
	plugin, err := reach(metricsAddress, probeSocket)
	if err != nil {
		return "", err
	}
	return metricsOf(ctx, plugin)
}

func metricsOf(ctx context.Context, plugin endpoint.Endpoint) (string, error) {
	code, text, err := get(ctx, plugin, "/metrics")
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("status %d", code)
	}
	if err != nil {
		return "", fmt.Errorf("it does not answer at %s: %w", plugin.Address, err)
	}
	return text, nil
}

// AskPlugin reads the same metrics, and asks whether the plugin is ready.
func AskPlugin(ctx context.Context, metricsAddress, probeSocket string) (*Plugin, error) {
	ctx, cancel := context.WithTimeout(ctx, longestAnswer)
	defer cancel()
	plugin, err := reach(metricsAddress, probeSocket)
	if err != nil {
		return nil, err
	}
	text, err := metricsOf(ctx, plugin)
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if families[driverInfo] != nil {
		return nil, fmt.Errorf("rdma-dra-driver answers at %s: it allocates the node's NICs, and offers no resource", plugin.Address)
	}
	if err != nil || families[prefix+"build_info"] == nil {
		return nil, errors.Join(fmt.Errorf("what answers at %s is no rdma-device-plugin", plugin.Address), err)
	}
	p := pluginOf(families)
	code, text, err := get(ctx, plugin, "/readyz")
	switch {
	case err != nil:
		p.NotReady = err.Error()
	case code != http.StatusOK:
		p.NotReady = strings.TrimSpace(text)
	}
	return p, nil
}

// reach is where the device plugin serves.
func reach(address, socket string) (endpoint.Endpoint, error) {
	if socket != "" {
		return endpoint.Unix(socket), nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return endpoint.Endpoint{}, fmt.Errorf("it serves no metrics that could be asked for (--metrics-address %q, no --probe-socket)", address)
	}
	return endpoint.TCP(net.JoinHostPort(cmp.Or(host, "127.0.0.1"), port)), nil
}

func get(ctx context.Context, from endpoint.Endpoint, path string) (code int, body string, err error) {
	response, err := from.Ask(ctx, http.MethodGet, path, nil)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(response.Body, longestMetrics))
	return response.StatusCode, string(b), err
}

// prefix is that of the names of all metrics.
const prefix = "rdma_device_plugin_"

// driverInfo is a metric of the DRA driver, which a node has in place of the device
// plugin.
const driverInfo = "rdma_dra_driver_build_info"

// pluginOf reads the metrics of docs/device-plugin.md.
func pluginOf(families map[string]*dto.MetricFamily) *Plugin {
	p := &Plugin{Resources: []Resource{}}
	each := func(name string, f func(label func(string) string, value int)) {
		for _, m := range families[prefix+name].GetMetric() {
			label := func(name string) string {
				at := slices.IndexFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetName() == name })
				if at < 0 {
					return ""
				}
				return m.Label[at].GetValue()
			}
			f(label, int(m.GetGauge().GetValue()+m.GetCounter().GetValue()))
		}
	}
	resources := map[string]*Resource{}
	each("devices", func(label func(string) string, n int) {
		name := label("resource")
		if resources[name] == nil {
			resources[name] = &Resource{Name: name, Devices: map[string]int{}, Units: map[string]int{}, Allocations: map[string]int{}}
		}
		resources[name].Devices[label("state")] = n
	})
	of := func(metric string, f func(r *Resource, label func(string) string, n int)) {
		each(metric, func(label func(string) string, n int) {
			if r := resources[label("resource")]; r != nil { // else it is no longer offered
				f(r, label, n)
			}
		})
	}
	of("units", func(r *Resource, label func(string) string, n int) { r.Units[label("health")] = n })
	of("allocations_total", func(r *Resource, label func(string) string, n int) { r.Allocations[label("result")] = n })
	of("streams", func(r *Resource, _ func(string) string, n int) { r.Connected = n > 0 })
	for _, r := range resources {
		p.Resources = append(p.Resources, *r)
	}
	slices.SortFunc(p.Resources, func(a, b Resource) int { return strings.Compare(a.Name, b.Name) })
	each("build_info", func(label func(string) string, _ int) { p.Version = label("version") })
	each("device_degraded", func(label func(string) string, _ int) {
		p.Degraded = append(p.Degraded, label("netdev")+"/"+label("device")+" of "+label("resource"))
	})
	each("config_mistakes", func(_ func(string) string, n int) { p.Mistakes = n })
	each("device_clashes", func(_ func(string) string, n int) { p.Clashes = n })
	each("memlock_connected", func(_ func(string) string, n int) { p.Memlock = &Memlock{Connected: n > 0} })
	each("memlock_containers_total", func(label func(string) string, n int) {
		switch {
		case p.Memlock == nil:
		case label("result") == "raised":
			p.Memlock.Raised = n
		default:
			p.Memlock.Kept = n
		}
	})
	each("rescues_total", func(label func(string) string, n int) {
		if label("result") == "ok" {
			p.Rescues.OK = n
		} else {
			p.Rescues.Failed += n
		}
	})
	return p
}
