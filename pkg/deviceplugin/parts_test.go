package deviceplugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/logging"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sockets"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestALookIsRepeatedSoonerOrLaterOrNotAtAll(t *testing.T) {
	for _, tt := range []struct {
		failing error
		partial bool
		want    time.Duration
	}{{nil, false, 0}, {nil, true, restSoon}, {errors.New("x"), false, lookAgain}, {errors.New("x"), true, lookAgain}} {
		m := &manager{failing: failure{err: tt.failing}, seen: inventory.Snapshot{Partial: tt.partial}}
		if got := m.again(); got != tt.want {
			t.Errorf("failing %v, partial %v: %s", tt.failing, tt.partial, got)
		}
	}
}

func TestATimerOfNothingNeverFires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]<-chan time.Time{
			"no pause": func() <-chan time.Time { c, _ := after(0); return c }(),
			"no time":  func() <-chan time.Time { c, _ := until(time.Time{}); return c }(),
		} {
			if c != nil {
				t.Errorf("%s: a timer", name)
			}
		}
		for at, want := range map[time.Duration]time.Duration{time.Minute: time.Minute, -time.Minute: time.Millisecond} {
			c, stop := until(time.Now().Add(at))
			begin := time.Now()
			<-c
			if got := time.Since(begin); got != want {
				t.Errorf("until %s: after %s", at, got)
			}
			stop()
		}
	})
}

func TestWhatIsWrongWithAConfigurationIsSaidAsWhatItCosts(t *testing.T) {
	for cost, want := range map[config.Cost]struct{ log, line string }{
		config.LeftOut: {`level=ERROR msg="a resource of the configuration is left out" err=`, " (the resource is left out)"},
		config.Ignored: {`level=ERROR msg="a mistake in the configuration is ignored" err=`, " (ignored)"},
		config.Nothing: {`level=WARN msg="a note on the configuration" note=`, " (valid all the same)"},
	} {
		var log strings.Builder
		f := &config.Error{Cost: cost}
		m := &manager{log: slog.New(slog.NewTextHandler(&log, nil)), metrics: newMetrics("")}
		m.reportFaults(&configFile{Config: &config.Config{Faults: config.Errors{f, f}}})
		if strings.Count(log.String(), want.log) != 2 {
			t.Errorf("%v: %s", cost, log.String())
		}
		mistakes := 2.0
		if cost == config.Nothing {
			mistakes = 0
		}
		if got := scrape(t, m.metrics)["config_mistakes"].Metric[0].GetGauge().GetValue(); got != mistakes {
			t.Errorf("%v: %g mistakes", cost, got)
		}
		if got := describe(f); got != f.Error()+want.line {
			t.Errorf("%v: %s", cost, got)
		}
	}
}

func TestADevicesPlaceNamesWhoHasIt(t *testing.T) {
	d := inventory.Device{Place: inventory.InPod}
	if got := where(d); got != "pod" {
		t.Errorf("of one that nobody wrote down: %s", got)
	}
	d.Holder = &attachment.Record{ContainerID: "c1", IfName: "net1", Pod: attachment.Pod{Namespace: "default", Name: "a"}}
	if got := where(d); got != "pod, pod default/a (container c1, interface net1)" {
		t.Error(got)
	}
}

func TestAnAnswerOfTheProbeSocketIsTheErrorUnlessItIsOK(t *testing.T) {
	socket := filepath.Join(sockets.Folder(t), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var asked string
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = fmt.Sprintf("%s %s %s", r.Method, r.URL.Path, body)
		switch r.URL.Path {
		case "/busy":
			http.Error(w, "not now", http.StatusServiceUnavailable)
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		}
	})}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	for path, want := range map[string]string{"/healthz": "", "/busy": "/busy: 503 Service Unavailable: not now", "/none": "/none: 204 No Content: "} {
		err := Probe(t.Context(), socket, path)
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) || asked != "GET "+path+" " {
			t.Errorf("%s: %v, asked %q", path, err, asked)
		}
	}
	if err := Forget(t.Context(), socket, "mlx5_0"); err != nil || asked != "POST /forget mlx5_0" {
		t.Errorf("%v, asked %q", err, asked)
	}
}

func TestADeviceIsForgottenByAnyOfItsNamesAndMistakesNameTheCandidates(t *testing.T) {
	n := newTestNode(t)
	gone := func(name, address string, netdevs ...string) inventory.Device {
		return inventory.Device{Device: rdma.Device{Name: name, Bus: "pci", Address: address, Netdevs: netdevs}, Place: inventory.Gone}
	}
	m := &manager{inventory: n.inventory(nil), log: n.Log()}
	m.seen.Devices = []inventory.Device{gone("mlx5_0", "0000:08:00.0", "ens0"), gone("mlx5_1", "", "ens1")}
	for _, name := range []string{"", "ens"} { // an empty name is not that of a device without an address
		if err := m.forget(name); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("no device is called %q; gone: mlx5_0, mlx5_1", name)) {
			t.Errorf("%q: %v", name, err)
		}
	}
	// Another HCA may have the name now, and comes first.
	m.seen.Devices = slices.Insert(m.seen.Devices, 0, inventory.Device{Device: rdma.Device{Name: "mlx5_0", Bus: "pci", Address: "0000:09:00.0"}, Place: inventory.OnHost})
	for _, name := range []string{"mlx5_0", "0000:08:00.0", "ens0", "ens1"} {
		if err := m.forget(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	n.Must(errors.Join(os.RemoveAll(n.State()), os.WriteFile(n.State(), nil, 0o600)))
	if err := m.forget("mlx5_0"); err == nil {
		t.Error("it could not be written down, and nobody is told")
	}
}

func TestOfAGIDTableThatIsTooSmallTheFirstIsNamedAndNoOther(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	var candidates []offer.Candidate
	for _, d := range n.look(n.inventory(nil)).Devices {
		candidates = append(candidates, offer.Candidate{Device: d})
	}
	for units, want := range map[int]int{1: 0, 2: 1} {
		var log strings.Builder
		m := &manager{options: n.options(), log: slog.New(slog.NewTextHandler(&log, nil))}
		m.warnGIDsOf(config.Resource{Name: "rdma/a", Units: units}, candidates)
		if strings.Count(log.String(), "\n") != want {
			t.Errorf("%d units:\n%s", units, log.String())
		}
	}
}

func TestMissingCharacterDevicesAreNewsForEachResource(t *testing.T) {
	var log strings.Builder
	m := &manager{log: slog.New(slog.NewTextHandler(&log, nil)), said: logging.Once{}}
	a, b := config.Resource{Name: "rdma/a"}, config.Resource{Name: "rdma/b"}
	for _, step := range []struct {
		r       config.Resource
		missing []string
		want    string
	}{
		{a, nil, ""}, {a, []string{"x", "y"}, `level=WARN msg="containers will lack character devices of the resource" resource=rdma/a missing="x; y"`},
		{a, []string{"x", "y"}, ""}, {b, []string{"x", "y"}, "resource=rdma/b"}, {a, []string{"x"}, "missing=x"},
		{a, nil, `level=INFO msg="all character devices of the resource are present" resource=rdma/a`}, {a, nil, ""},
	} {
		log.Reset()
		m.reportMissing(step.r, step.missing)
		if !strings.Contains(log.String(), step.want) || step.want == "" && log.Len() > 0 {
			t.Errorf("%s %q: %q, want %q", step.r.Name, step.missing, log.String(), step.want)
		}
	}
}

func TestACandidateHasWhatItsResourceNeeds(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0))
	d := n.look(n.inventory(nil)).Devices[0]
	m := &manager{options: n.options(), log: n.Log(), health: offer.NewHealth(0)}
	for _, tt := range []struct {
		r     config.Resource
		root  bool
		index int
	}{
		{config.Resource{Mode: config.Shared}, false, -1}, {config.Resource{Mode: config.PerDevice}, true, -1}, {config.Resource{Mode: config.Shared, Env: true}, false, 3},
	} {
		c := m.candidate(tt.r, d)
		if (c.Root != "") != tt.root || c.GIDIndex != tt.index || !c.Healthy {
			t.Errorf("%+v: root %q, GID index %d, healthy %v", tt.r, c.Root, c.GIDIndex, c.Healthy)
		}
	}
	if names := m.candidate(config.Resource{}, d).Netdevs; !slices.Equal(names, d.Netdevs) {
		t.Errorf("%q", names)
	}
}

func TestTheModeOfTheRDMASubsystemIsSaidOnce(t *testing.T) {
	var log strings.Builder
	m := &manager{log: slog.New(slog.NewTextHandler(&log, nil)), said: logging.Once{}}
	for range 3 {
		m.reportMode()
	}
	if strings.Count(log.String(), "RDMA namespace mode") != 1 {
		t.Errorf("logged:\n%s", log.String())
	}
}

// applied is the program on a node, without a kubelet, after its first look.
func (n *testNode) applied(o Options, config string) *manager {
	n.Helper()
	n.Write("config.json", config)
	file, err := readConfigFile(o.ConfigFile)
	n.Must(err)
	m := newManager(o, n.inventory(nil))
	m.apply(n.Ctx, file)
	return m
}

func TestALookThatFailsIsCountedAndTheNextOneMayBeGood(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0))
	m := n.applied(n.options(), mlxOnly)
	busy := false // during a look
	m.inventory = n.inventory(func(context.Context) ([]netlink.Link, error) {
		busy = !m.busy.IsZero()
		return nil, nil
	})
	class := filepath.Join(n.Sys(), "class/infiniband")
	check := func(looks uint64, failures float64, again time.Duration) {
		t.Helper()
		metrics := scrape(t, m.metrics)
		if c, f := metrics["rescan_seconds"].Metric[0].Histogram.GetSampleCount(), metrics["rescan_failures_total"].Metric[0].Counter.GetValue(); c != looks || f != failures {
			t.Errorf("%d looks, %g failures; want %d, %g", c, f, looks, failures)
		}
		if list, _ := m.entries["rdma/mlx"].resource.Devices(); len(list) != 8 || m.again() != again || !m.busy.IsZero() {
			t.Errorf("%d units, again in %s, busy since %s", len(list), m.again(), m.busy)
		}
	}
	check(1, 0, 0)
	shown := m.view.Load()
	n.Must(os.Rename(class, class+"-away"))
	n.Must(os.WriteFile(class, nil, 0o600))
	m.rescan(n.Ctx)
	m.rescan(n.Ctx)
	check(3, 2, lookAgain)
	if m.view.Load() != shown {
		t.Error("scrapes are told of a look that failed")
	}
	n.Must(os.Remove(class))
	n.Must(os.Rename(class+"-away", class))
	m.rescan(n.Ctx)
	check(4, 2, 0)
	if m.view.Load() == shown {
		t.Error("scrapes are not told of a new look")
	}
	if !busy {
		t.Error("a look that hangs would not be noticed")
	}
}

// Alternative names and bonds select NICs, and exclude them.
func TestALookWithoutLinksChangesNoOffer(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0))
	m := n.applied(n.options(), mlxOnly)
	m.inventory = n.inventory(func(context.Context) ([]netlink.Link, error) { return nil, errors.New("no memory") })
	n.Must(n.Add(sysfs.MLX5(1)))
	m.rescan(n.Ctx)
	if got := m.entries["rdma/mlx"].resource.Offer().Devices(); len(got) != 1 || m.failing.err == nil {
		t.Errorf("%v is offered, %v\n%s", got, m.failing.err, n.Logs)
	}
}

func TestADeviceThatWasInNoResourceMeanwhileIsJudgedAnew(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0))
	m := n.applied(n.options(), mlxOnly)
	m.health = offer.NewHealth(time.Hour)
	well := n.look(m.inventory).Devices[0]
	ill := well
	ill.CharDevices = nil
	for i, step := range []struct {
		devices []inventory.Device
		health  string // of the first unit
	}{{[]inventory.Device{well}, "Healthy"}, {[]inventory.Device{ill}, "Healthy"}, {nil, ""}, {[]inventory.Device{ill}, "Unhealthy"}} {
		m.offer(map[string][]inventory.Device{"rdma/mlx": step.devices})
		health := ""
		if list, _ := m.entries["rdma/mlx"].resource.Devices(); len(list) > 0 {
			health = list[0].Health
		}
		if health != step.health {
			t.Errorf("step %d: %q, want %q", i, health, step.health)
		}
	}
}
