package monitoring

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// A metric is what a query asks for.
type metric struct {
	name   string
	labels []string
}

// asked are the metrics of a query, with the labels that it selects by. A query
// for one of several has their names in a label.
func asked(e parser.Expr) (metrics []metric) {
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok {
			names, labels := v.Name, []string(nil)
			for _, l := range v.LabelMatchers {
				switch l.Name {
				case model.MetricNameLabel:
					names = l.Value
				case "instance": // which Prometheus gives
				default:
					labels = append(labels, l.Name)
				}
			}
			for name := range strings.SplitSeq(names, "|") {
				metrics = append(metrics, metric{name, labels})
			}
		}
		return nil
	})
	return metrics
}

// The simulated node is of mlx5 devices: it has neither Soft-RoCE's counters nor
// netdevs, whose statistics come by netlink and ethtool. These are the kernel's
// names.
var elsewhere = []string{
	"up", // Prometheus's own
	// struct rtnl_link_stats64 in include/uapi/linux/if_link.h.
	"rdma_netdev_rx_bytes_total", "rdma_netdev_tx_bytes_total", "rdma_netdev_rx_dropped_total", "rdma_netdev_tx_dropped_total",
	// rxe_counter_descs in drivers/infiniband/sw/rxe/rxe_hw_counters.c, Linux 6.12.
	"rdma_sent_pkts_total", "rdma_rcvd_pkts_total", "rdma_out_of_seq_request_total", "rdma_rcvd_seq_err_total",
	// pport_per_prio_pfc_stats_desc in drivers/net/ethernet/mellanox/mlx5/core/en_stats.c:
	// rx_prio3_pause and so on, as docs/device-plugin.md says.
	"rdma_ethtool_rx_prio_pause_total", "rdma_ethtool_tx_prio_pause_total",
	"rdma_ethtool_rx_prio_pause_duration_total", "rdma_ethtool_tx_prio_pause_duration_total",
}

func TestEveryMetricThatIsAskedForExists(t *testing.T) {
	there := scraped(t)
	check := func(where, expr string) {
		for _, m := range asked(parse(t, where, expr)) {
			have, ok := there[m.name]
			if !ok && !slices.Contains(elsewhere, m.name) {
				t.Errorf("%s: there is no metric %s", where, m.name)
			}
			for _, l := range m.labels {
				if ok && !slices.Contains(have, l) {
					t.Errorf("%s: %s has no label %s, but %s", where, m.name, l, have)
				}
			}
		}
	}
	for _, r := range rules(t) {
		check(r.Alert, r.Expr)
	}
	d, nodes := theDashboard(t), []metric(nil)
	for _, p := range d.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("the panel %q asks for nothing", p.Title)
		}
		for _, target := range p.Targets {
			check(p.Title, ungrafana(target.Expr))
		}
	}
	for _, v := range d.Templating.List {
		for _, match := range regexp.MustCompile(`label_values\((.*), (\w+)\)`).FindAllStringSubmatch(fmt.Sprint(v.Query), -1) {
			check("the variable "+v.Name, ungrafana(match[1]))
			if v.Name == "instance" {
				nodes = asked(parse(t, v.Name, match[1]))
			}
			if l := match[2]; l != "instance" && !slices.Contains(there[asked(parse(t, v.Name, ungrafana(match[1])))[0].name], l) {
				t.Errorf("the variable %s: no label %s", v.Name, l)
			}
		}
	}
	for name := range there {
		isNode := func(m metric) bool { return m.name == name }
		if strings.HasSuffix(name, "_build_info") && !slices.ContainsFunc(nodes, isNode) {
			t.Errorf("a node that has only %s cannot be chosen", name)
		}
	}
	if t.Failed() {
		t.Logf("there are %s", slices.Sorted(maps.Keys(there)))
	}
}

// scraped are the metrics of the programs on a simulated node of mlx5 devices, by
// name, with their labels.
func scraped(t *testing.T) map[string][]string {
	t.Helper()
	programs := os.Getenv("ROCE_PROGRAMS")
	if programs == "" {
		t.Skip("needs the built programs: run it with `make test-monitoring`")
	}
	dir, err := os.MkdirTemp("", "mon") // t.TempDir is too long for a socket's path
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	tree, err := sysfs.New(dir)
	must(t, err)
	hcas := []sysfs.HCA{sysfs.MLX5(0), sysfs.MLX5(1), sysfs.MLX5(2)}
	must(t, tree.Add(hcas...))
	must(t, tree.AddCounters(1, hcas...))
	must(t, tree.SetPort(hcas[2], "DOWN", "Disabled")) // degraded, so that there is a metric of it
	config := filepath.Join(dir, "config.json")
	must(t, os.WriteFile(config, []byte(`{"configList": [{"resourceName": "nic", "mode": "perDevice", "healthPolicy": "link", "selectors": {"vendors": ["15b3"]}}]}`), 0o600))
	// The API server is nowhere: what there is to write waits.
	kubeconfig := filepath.Join(dir, "kubeconfig")
	must(t, os.WriteFile(kubeconfig, []byte(`{"clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}], "contexts": [{"name": "c", "context": {"cluster": "c"}}], "current-context": "c"}`), 0o600))
	for _, folder := range []string{"device-plugins", "plugins_registry"} {
		must(t, os.Mkdir(filepath.Join(dir, folder), 0o700))
	}
	common := []string{"--config-file=" + config, "--kubelet-dir=" + dir, "--sysfs-root=" + tree.Sys(), "--dev-root=" + tree.Dev(), "--state-dir=" + filepath.Join(dir, "state")}
	all := map[string][]string{}
	// The last to come: a device is degraded after a while.
	for last, command := range map[string][]string{
		"rdma_device_plugin_device_degraded": {"rdma-device-plugin", "--rescue=false", "--memlock-socket=" + filepath.Join(dir, "memlock.sock")},
		"rdma_dra_driver_device_tainted":     {"rdma-dra-driver", "--node-name=gpu1", "--kubeconfig=" + kubeconfig, "--cdi-dir=" + filepath.Join(dir, "cdi"), "--memlock-socket=" + filepath.Join(dir, "memlock.sock")},
	} {
		maps.Copy(all, metricsOf(t, last, filepath.Join(programs, command[0]), append(command[1:], common...)...))
	}
	// The kubelet tells of holders, and here is none.
	all["rdma_device_plugin_unit_holder"] = []string{"resource", "unit", "pod_namespace", "pod", "container"}
	return all
}

// metricsOf are those of a program, once it has a certain one.
func metricsOf(t *testing.T, last, program string, args ...string) map[string][]string {
	t.Helper()
	address := freeAddress(t)
	cmd := exec.Command(program, append(args, "--metrics-address="+address)...)
	var log strings.Builder
	cmd.Stderr = &log
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		metrics := parseMetrics(scrape(ctx, address))
		if metrics[last] != nil {
			return metrics
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no metrics\n%s", log.String())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func scrape(ctx context.Context, address string) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return ""
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	b, _ := io.ReadAll(response.Body)
	return string(b)
}

func parseMetrics(text string) map[string][]string {
	metrics := map[string][]string{}
	for _, line := range regexp.MustCompile(`(?m)^(\w+)(\{.*\})? \S+$`).FindAllStringSubmatch(text, -1) {
		metrics[line[1]] = []string{}
		for _, l := range regexp.MustCompile(`[{,](\w+)="`).FindAllStringSubmatch(line[2], -1) {
			metrics[line[1]] = append(metrics[line[1]], l[1])
		}
	}
	return metrics
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}
