package counters

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/logging"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// A fakeNode is a sysfs tree with HCAs, and a collector of their counters.
type fakeNode struct {
	testing.TB
	*sysfs.Tree
	nics []NIC
	log  bytes.Buffer
	Options
	*Collector
}

func newFakeNode(t testing.TB, hcas ...sysfs.HCA) *fakeNode {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "counters") // in memory, as sysfs is
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	f := &fakeNode{TB: t}
	f.Tree, err = sysfs.New(dir)
	f.must(err)
	f.must(f.Add(hcas...))
	f.must(f.AddCounters(7, hcas...))
	node := rdma.Node{Sys: f.Sys(), Dev: f.Dev()}
	devices, err := node.Devices()
	f.must(err)
	for _, d := range devices {
		f.nics = append(f.nics, NIC{Device: inventory.Device{Device: d, Place: inventory.OnHost, Visible: true}, Rail: d.Name[len(d.Name)-1:]})
	}
	f.Options = Options{
		Node: node, NICs: func(context.Context) []NIC { return f.nics },
		Statistics: func(_ context.Context, nics []NIC) Statistics {
			s := Statistics{}
			for _, nic := range nics {
				s[nic.Key()] = map[string][]netdev.Counter{}
				for _, name := range nic.Netdevs {
					s[nic.Key()][name] = []netdev.Counter{{Name: "rx_bytes", Value: 3}, {Name: "tx_dropped", Value: 4}}
				}
			}
			return s
		},
		Log: slog.New(slog.NewTextHandler(&f.log, nil)),
	}
	f.Collector = NewCollector(f.Options)
	return f
}

func (f *fakeNode) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// scrape is what Prometheus reads, without comments.
func (f *fakeNode) scrape() lines {
	f.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(f.Collector)
	w := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusOK {
		f.Fatalf("%d %s", w.Code, w.Body)
	}
	return slices.DeleteFunc(strings.Split(strings.TrimSpace(w.Body.String()), "\n"), func(line string) bool { return strings.HasPrefix(line, "#") })
}

type lines []string

// of are the lines of a metric that have all of some words.
func (l lines) of(metric string, words ...string) (found lines) {
	for _, line := range l {
		has := strings.HasPrefix(line, metric+"{")
		for _, word := range words {
			has = has && strings.Contains(line, word)
		}
		if has {
			found = append(found, line)
		}
	}
	return found
}

func TestEachCounterHasItsNameKindAndUnit(t *testing.T) {
	f := newFakeNode(t, sysfs.MLX5(0))
	scraped := f.scrape()
	const labels = `{container="",device="mlx5_0",namespace="",netdev="ens11np0",pod="",port="1",rail="0",resource=""}`
	ofDevice := strings.Replace(labels, `port="1"`, `port=""`, 1)
	for metric, want := range map[string]string{
		"rdma_port_xmit_data_bytes_total":          labels + " 28",
		"rdma_port_rcv_data_bytes_total":           labels + " 28",
		"rdma_port_xmit_packets_total":             labels + " 7",
		"rdma_VL15_dropped_total":                  labels + " 7",
		"rdma_out_of_sequence_total":               labels + " 7",
		"rdma_np_ecn_marked_roce_packets_total":    labels + " 7",
		"rdma_lifespan":                            labels + " 10",
		"rdma_port_state":                          labels + " 4",
		"rdma_port_speed_bits_per_second":          labels + " 4e+11",
		"rdma_netdev_rx_bytes_total":               labels + " 3",
		"rdma_netdev_tx_dropped_total":             labels + " 4",
		"rdma_pcie_speed_transfers_per_second":     ofDevice + " 1.6e+10",
		"rdma_pcie_max_speed_transfers_per_second": ofDevice + " 3.2e+10",
		"rdma_pcie_width_lanes":                    ofDevice + " 8",
		"rdma_pcie_max_width_lanes":                ofDevice + " 16",
	} {
		if got := scraped.of(metric); len(got) != 1 || got[0] != metric+want {
			t.Errorf("%s: %q", metric, got)
		}
	}
	info := []string{`board_id="MT_0000000838"`, `fw_ver="28.39.1002"`, `hca_type="MT4129"`, `link_layer="Ethernet"`, `phys_state="LinkUp"`, `state="ACTIVE"`, `} 1`}
	if got := scraped.of("rdma_port_info", info...); len(got) != 1 {
		t.Errorf("%q", scraped.of("rdma_port_info"))
	}
	const mlx5 = 50 + 2 // counters, and statistics of the netdev
	if total := slices.DeleteFunc(slices.Clone(scraped), func(line string) bool { return !strings.Contains(line, "_total{") }); len(total) != mlx5-1 {
		t.Errorf("%d counters", len(total))
	}
}

func TestANICInAPodHasThePodsLabels(t *testing.T) {
	f := newFakeNode(t, sysfs.MLX5(0), sysfs.MLX5(1))
	f.nics[1].Pod = Holder{"team-a", "trainer-0", "main", "rdma/hca_gpu"}
	const labels = `{container="main",device="mlx5_1",namespace="team-a",netdev="ens12np0",pod="trainer-0",port="1",rail="1",resource="rdma/hca_gpu"}`
	before := f.scrape()
	for _, metric := range []string{"rdma_out_of_sequence_total", "rdma_netdev_rx_bytes_total"} {
		if got := before.of(metric, `device="mlx5_1"`); len(got) != 1 || !strings.HasPrefix(got[0], metric+labels) {
			t.Errorf("%q", got)
		}
		if got := before.of(metric, `device="mlx5_0"`, `pod=""`); len(got) != 1 {
			t.Errorf("the other NIC: %q", got)
		}
	}
	// The next pod's series begin at the kernel's value; those of the last one end.
	f.nics[1].Pod.Pod = "trainer-1"
	after := f.scrape()
	if got := after.of("rdma_out_of_sequence_total", `pod="trainer-1"`, "} 7"); len(got) != 1 || len(after.of("rdma_out_of_sequence_total", "trainer-0")) > 0 {
		t.Errorf("%q", after.of("rdma_out_of_sequence_total"))
	}
	if len(after) != len(before) {
		t.Errorf("%d series, there were %d", len(after), len(before))
	}
}

func TestANetdevWithTwoDevicesIsToldOfOnce(t *testing.T) {
	nic := sysfs.NIC(5)
	f := newFakeNode(t, nic, sysfs.RXE(0, nic), sysfs.RXE(1, nic))
	if len(f.nics) != 2 || f.nics[0].Beside == f.nics[1].Beside {
		t.Fatalf("%+v", f.nics)
	}
	if got := f.scrape().of("rdma_netdev_rx_bytes_total"); len(got) != 1 {
		t.Errorf("%q", got)
	}
}

func TestWhatIsNotVisibleComesFromWhoeverReadsThere(t *testing.T) {
	f := newFakeNode(t, sysfs.MLX5(0), sysfs.MLX5(1))
	f.must(f.TakeRDMA(sysfs.MLX5(1)))
	f.nics[1].Visible, f.nics[1].Place = false, inventory.InPod
	if got := f.scrape().of("rdma_out_of_sequence_total", "mlx5_1"); len(got) > 0 {
		t.Errorf("out of nothing: %q", got)
	}
	counts := &rdma.Counts{Ports: []rdma.PortCounts{{Number: 1, Counters: []netdev.Counter{{Name: "out_of_sequence", Value: 9}}}}}
	hardware := map[string][]netdev.Counter{"ens12np0": {{Name: "rx_prio3_pause", Value: 1}, {Name: "rx_discards_phy", Value: 2}}}
	var err error
	f.Collector.options.Elsewhere = func(context.Context) (Readings, error) {
		// What the host shows is read there: the other's counts are not used.
		return Readings{f.nics[1].Key(): {counts, hardware}, f.nics[0].Key(): {Counts: counts}}, err
	}
	scraped := f.scrape()
	for metric, words := range map[string][]string{
		"rdma_out_of_sequence_total":         {`device="mlx5_1"`, "} 9"},
		"rdma_ethtool_rx_prio_pause_total":   {`device="mlx5_1"`, `priority="3"`, "} 1"},
		"rdma_ethtool_rx_discards_phy_total": {`device="mlx5_1"`, "} 2"},
		"rdma_pcie_width_lanes":              {`device="mlx5_1"`, "} 8"}, // the host shows its hardware all the same
	} {
		if got := scraped.of(metric, words...); len(got) != 1 {
			t.Errorf("%s: %q", metric, scraped.of(metric))
		}
	}
	if got := scraped.of("rdma_out_of_sequence_total", `device="mlx5_0"`, "} 7"); len(got) != 1 {
		t.Errorf("%q", got)
	}
	for said := range 2 { // with an answer between the two
		err = errors.New("no such socket")
		f.scrape()
		f.scrape()
		if n := strings.Count(f.log.String(), "no such socket"); n != said+1 || strings.Count(f.log.String(), "no counters from") != n {
			t.Errorf("said %d times:\n%s", n, &f.log)
		}
		err = nil
		f.scrape()
	}
	if n := strings.Count(f.log.String(), "no counters from"); n != 2 {
		t.Errorf("said %d times:\n%s", n, &f.log)
	}
}

// Prometheus does not wait for long, and drivers can.
func TestWhoeverIsAskedDuringAScrapeHasABound(t *testing.T) {
	f := newFakeNode(t, sysfs.MLX5(0))
	asked := map[string]bool{}
	bounded := func(ctx context.Context, who string) {
		_, asked[who] = ctx.Deadline()
	}
	f.Collector.options.Elsewhere = func(ctx context.Context) (Readings, error) {
		bounded(ctx, "whoever reads in pods")
		return nil, nil
	}
	f.Collector.options.Statistics = func(ctx context.Context, _ []NIC) Statistics {
		bounded(ctx, "whoever reads statistics")
		return nil
	}
	f.scrape()
	for _, who := range []string{"whoever reads in pods", "whoever reads statistics"} {
		if !asked[who] {
			t.Errorf("%s has all the time in the world", who)
		}
	}
}

func TestASubjectThatOthersLeftNoTimeIsNotSaidToBeSilent(t *testing.T) {
	f := newFakeNode(t, sysfs.MLX5(0))
	f.Collector.silent = logging.NewSeldom(0)
	f.report("a", "a", errNoTime)
	if f.log.Len() > 0 {
		t.Errorf("logged:\n%s", &f.log)
	}
	f.report("a", "the subject", errSilent)
	f.report("a", "the subject", errNoTime) // which is no sign that all is well
	f.report("a", "the subject", errSilent)
	if said := f.log.String(); strings.Count(said, "does not answer in time") != 1 || !strings.Contains(said, `of="the subject"`) {
		t.Errorf("logged:\n%s", said)
	}
}

// Whoever ends a collector closes what it reads from.
func TestTheEndOfACollectorWaitsForWhatIsBeingRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCollector(Options{})
		hang := make(chan struct{})
		go func() { _, _ = try(t.Context(), c.patience, "a", func() int { <-hang; return 0 }) }()
		synctest.Wait()
		ended := make(chan struct{})
		go func() { c.End(); close(ended) }()
		synctest.Wait()
		select {
		case <-ended:
			t.Error("it did not wait")
		default:
		}
		close(hang)
		<-ended
	})
}

// A virtual function has no PCIe link of its own.
func TestThePCIeLinkIsThatOfThePhysicalFunction(t *testing.T) {
	pf := sysfs.MLX5(0)
	vf, sf := sysfs.VF(pf, 1, 10), sysfs.SF(pf, 2, 11)
	f := newFakeNode(t, pf, vf, sf)
	f.must(f.SetPCI(vf, "current_link_speed", "Unknown"))
	f.must(f.SetPCI(vf, "current_link_width", "0"))
	f.must(f.SetPCI(pf, "current_link_width", "4"))
	scraped := f.scrape()
	for _, h := range []sysfs.HCA{pf, vf, sf} {
		if got := scraped.of("rdma_pcie_width_lanes", `device="`+h.RDMA+`"`, "} 4"); len(got) != 1 {
			t.Errorf("%s: %q", h.RDMA, scraped.of("rdma_pcie_width_lanes"))
		}
	}
}

func TestAPortThatIsDownSaysSo(t *testing.T) {
	h := sysfs.MLX5(0)
	f := newFakeNode(t, h)
	f.must(f.SetPort(h, "DOWN", "Disabled"))
	scraped := f.scrape()
	if got := scraped.of("rdma_port_state", "} 1"); len(got) != 1 {
		t.Errorf("%q", scraped.of("rdma_port_state"))
	}
	if got := scraped.of("rdma_port_info", `state="DOWN"`, `phys_state="Disabled"`); len(got) != 1 {
		t.Errorf("%q", scraped.of("rdma_port_info"))
	}
	f.must(f.SetCounter(h, "rate", "unknown"))
	if got := f.scrape().of("rdma_port_speed_bits_per_second"); len(got) != 0 {
		t.Errorf("the speed is not known: %q", got)
	}
}

func TestEachNetdevOfANICHasWhatItsDriverCounts(t *testing.T) {
	f := newFakeNode(t, sysfs.MLX5(0))
	f.nics[0].Netdevs = []string{"eth0", "eth1"}
	f.Collector.options.Elsewhere = func(context.Context) (Readings, error) {
		return Readings{f.nics[0].Key(): {Hardware: map[string][]netdev.Counter{"eth0": {{Name: "rx_discards", Value: 1}}, "eth1": {{Name: "rx_discards", Value: 2}}}}}, nil
	}
	scraped := f.scrape()
	for name, value := range map[string]string{"eth0": "} 1", "eth1": "} 2"} {
		if got := scraped.of("rdma_ethtool_rx_discards_total", `netdev="`+name+`"`, value); len(got) != 1 {
			t.Errorf("%s: %q", name, scraped.of("rdma_ethtool_rx_discards_total"))
		}
	}
}

func TestPrioritiesOfEachDriverAreALabel(t *testing.T) {
	f := newFakeNode(t, sysfs.MLX5(0))
	var hardware []netdev.Counter
	for i, name := range []string{"tx_prio0_pause", "rx_prio7_pause_duration", "rx_pfc_ena_frames_pri3", "tx_priority_3_xoff.nic", "tx_pause_storm_error_events", "rx_prio9_pause", "tx_prio1_pause"} {
		hardware = append(hardware, netdev.Counter{Name: name, Value: uint64(i)})
	}
	f.Collector.options.Elsewhere = func(context.Context) (Readings, error) {
		return Readings{f.nics[0].Key(): {Hardware: map[string][]netdev.Counter{"ens11np0": hardware}}}, nil
	}
	scraped := f.scrape()
	for _, tt := range []struct {
		metric string
		words  []string
	}{
		{"rdma_ethtool_tx_prio_pause_total", []string{`priority="0"`, "} 0"}},
		{"rdma_ethtool_tx_prio_pause_total", []string{`priority="1"`, "} 6"}},
		{"rdma_ethtool_rx_prio_pause_duration_total", []string{`priority="7"`, "} 1"}},
		{"rdma_ethtool_rx_pfc_ena_frames_pri_total", []string{`priority="3"`, "} 2"}},
		{"rdma_ethtool_tx_priority_xoff_nic_total", []string{`priority="3"`, "} 3"}},
		{"rdma_ethtool_tx_pause_storm_error_events_total", []string{"} 4"}},
		{"rdma_ethtool_rx_prio9_pause_total", []string{"} 5"}}, // not one of eight
	} {
		if got := scraped.of(tt.metric, tt.words...); len(got) != 1 {
			t.Errorf("%s: %q", tt.metric, scraped.of(tt.metric))
		}
	}
}

// Prometheus refuses an answer as a whole that has a series twice, or a label
// that is not UTF-8.
func TestOddDevicesDoNotSpoilTheAnswer(t *testing.T) {
	f := newFakeNode(t, sysfs.MLX5(0), sysfs.MLX5(1))
	f.must(f.SetCounter(sysfs.MLX5(0), "hw_counters/link_downed", "8")) // counters has one, too
	f.must(f.SetCounter(sysfs.MLX5(0), "hw_counters/ip4.InOctets-x", "8"))
	f.must(f.SetCounter(sysfs.MLX5(0), "hw_counters/ip4_InOctets_x", "8"))
	f.nics[0].Netdevs = []string{"a\xff", "a\xfe"}
	twin := f.nics[1]
	twin.Address = "0000:ff:00.0"
	f.nics = append(f.nics, twin, NIC{Device: inventory.Device{Device: rdma.Device{Name: "mlx5_9"}, Place: inventory.Gone}})
	scraped := f.scrape()
	if got := scraped.of("rdma_link_downed_total", `device="mlx5_0"`, "} 7"); len(got) != 1 {
		t.Errorf("%q", got)
	}
	if got := scraped.of("rdma_ip4_InOctets_x_total", "\uFFFD"); len(got) != 1 {
		t.Errorf("%q", got)
	}
}

func TestACounterThatCannotBeReadIsLeftOut(t *testing.T) {
	f := newFakeNode(t, sysfs.MLX5(0))
	// To read a folder is an error of read(2), as of a driver that refuses.
	refused := filepath.Join(f.PortDir(sysfs.MLX5(0)), "hw_counters/out_of_buffer")
	f.must(os.Remove(refused))
	f.must(os.Mkdir(refused, 0o755))
	f.must(f.SetCounter(sysfs.MLX5(0), "counters/symbol_error", "N/A (no PMA)"))
	scraped := f.scrape()
	for metric, want := range map[string]int{"rdma_out_of_buffer_total": 0, "rdma_symbol_error_total": 0, "rdma_out_of_sequence_total": 1} {
		if got := scraped.of(metric); len(got) != want {
			t.Errorf("%s: %q", metric, got)
		}
	}
	f.must(os.Remove(refused))
	f.must(f.SetCounter(sysfs.MLX5(0), "hw_counters/out_of_buffer", "1"))
	if got := f.scrape().of("rdma_out_of_buffer_total"); len(got) != 0 {
		t.Errorf("the driver is asked again at once: %q", got)
	}
	if f.log.Len() > 0 {
		t.Errorf("logged:\n%s", &f.log)
	}
}

// A FIFO that nobody writes to keeps a reader as a driver does that hangs.
func TestADriverThatHangsDoesNotKeepTheOthers(t *testing.T) {
	f := newFakeNode(t, sysfs.MLX5(0), sysfs.MLX5(1))
	hangs := filepath.Join(f.PortDir(sysfs.MLX5(0)), "hw_counters/out_of_buffer")
	f.must(os.Remove(hangs))
	f.must(unix.Mkfifo(hangs, 0o600))
	for range 3 {
		scraped := f.scrape()
		if a, b := scraped.of("rdma_out_of_sequence_total", "mlx5_0"), scraped.of("rdma_out_of_sequence_total", "mlx5_1"); len(a) != 0 || len(b) != 1 {
			t.Fatalf("%q %q", a, b)
		}
	}
	if n := strings.Count(f.log.String(), "the kernel does not answer in time"); n != 1 {
		t.Errorf("said %d times:\n%s", n, &f.log)
	}
	w, err := os.OpenFile(hangs, os.O_WRONLY, 0)
	f.must(err)
	f.must(os.Remove(hangs))
	f.must(f.SetCounter(sysfs.MLX5(0), "hw_counters/out_of_buffer", "1"))
	f.must(w.Close())
	f.patience.calls.Wait()
	if got := f.scrape().of("rdma_out_of_sequence_total", "mlx5_0"); len(got) != 1 {
		t.Errorf("it answers again, and is still left out: %q", got)
	}
}

func TestScrapesAtOnceAllTellEverything(t *testing.T) {
	f := newFakeNode(t, sysfs.MLX5(0), sysfs.MLX5(1))
	want := len(f.scrape())
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			if got := f.scrape(); len(got) != want {
				t.Errorf("%d series, want %d", len(got), want)
			}
		})
	}
	running.Wait()
	f.End()
	if got := f.scrape(); len(got) > 1 {
		t.Errorf("after the end: %q", got)
	}
}
