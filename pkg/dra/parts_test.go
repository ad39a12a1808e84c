package dra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/vishvananda/netlink"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/claim"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

// nic is a device as the inventory has it.
func nic(address string, change ...func(*inventory.Device)) inventory.Device {
	d := inventory.Device{
		Device: rdma.Device{
			Name: "mlx5_0", Bus: rdma.BusPCI, Address: address, Driver: "mlx5_core", Netdevs: []string{"ens12np0"}, NUMANode: -1,
			Ports: []rdma.Port{{Number: 1, State: "ACTIVE", PhysState: "LinkUp", LinkLayer: "Ethernet"}}, CharDevices: []string{"uverbs0"},
		},
		Place: inventory.OnHost, Visible: true,
	}
	for _, c := range change {
		c(&d)
	}
	return d
}

func TestWhatIsWrongWithTheFilesIsLoggedAsWhatItCosts(t *testing.T) {
	for cost, want := range map[config.Cost]string{
		config.LeftOut: `level=ERROR msg="a resource of the configuration is left out" err=`,
		config.Ignored: `level=ERROR msg="a mistake in the configuration is ignored" err=`,
		config.Nothing: `level=INFO msg="a note on the configuration" note=`,
	} {
		var log strings.Builder
		(&files{Config: &config.Config{Faults: config.Errors{{Cost: cost}}}}).report(slog.New(slog.NewTextHandler(&log, nil)))
		if !strings.Contains(log.String(), want) {
			t.Errorf("%v: %s", cost, log.String())
		}
	}
}

func TestADeviceIsNamedByItsAddressAsALabel(t *testing.T) {
	for address, want := range map[string]string{"0000:0A:00.1": "0000-0a-00-1", "mlx5_core.sf.2": "mlx5-core-sf-2", ":x.": "x"} {
		if got := deviceName(nic(address)); got != want {
			t.Errorf("%s: %s", address, got)
		}
	}
}

func TestADeviceIsIllAsItsPolicySays(t *testing.T) {
	down := func(d *inventory.Device) { d.Ports[0].State, d.Ports[0].PhysState = "DOWN", "Disabled" }
	gone := func(d *inventory.Device) { d.Place = inventory.Gone }
	for _, tt := range []struct {
		policy config.HealthPolicy
		change func(*inventory.Device)
		taint  string
	}{
		{config.HealthLink, func(*inventory.Device) {}, ""},
		{config.HealthLink, down, taintLink}, {config.HealthPresent, down, ""}, {config.HealthIgnore, down, ""},
		{config.HealthLink, gone, taintUnusable}, {config.HealthPresent, gone, taintUnusable}, {config.HealthIgnore, gone, ""},
	} {
		ill := diagnose(nic("a", tt.change), tt.policy)
		if ill.taint != tt.taint || (ill.why == "") != (tt.taint == "") {
			t.Errorf("%s: %+v, want %q", tt.policy, ill, tt.taint)
		}
		if again := parseAilment(ill.String()); again != ill {
			t.Errorf("%+v is read as %+v", ill, again)
		}
	}
	if keys := (device{ill: ailment{taintLink, "x"}, taken: true}).taints(); !slices.Equal(keys, []string{taintLink, taintTaken}) {
		t.Errorf("%q", keys)
	}
}

func TestADeviceThatTheCNIPluginCannotKnowIsNotAllocated(t *testing.T) {
	beside := nic("0000:08:00.0", func(d *inventory.Device) { d.Beside = true })
	for want, d := range map[string]inventory.Device{"": nic("0000:08:00.0"), "it is on no bus": nic(""), "its function has another RDMA device": beside} {
		if got := unfit(d); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestADeviceHasTheAttributesThatAreKnown(t *testing.T) {
	n := rdma.Node{Sys: t.TempDir()}
	all := nic("0000:08:00.0", func(d *inventory.Device) { d.MTU, d.Rate, d.Driver, d.LinkType = 4200, 2.5e9, "mlx5_core", "ether" })
	few := nic("mlx5_core.sf.2", func(d *inventory.Device) {
		d.Bus, d.Netdevs, d.Driver = rdma.BusAuxiliary, nil, strings.Repeat("d", resourceapi.DeviceAttributeMaxValueLength+1)
	})
	for _, tt := range []struct {
		d    device
		want map[string]string
	}{
		{device{Device: all, resource: config.Resource{Name: "rdma/a"}, rail: 3}, map[string]string{
			"resource.kubernetes.io/pciBusID": "0000:08:00.0", "k8s.cni.cncf.io/deviceID": "0000:08:00.0", "k8s.cni.cncf.io/resourceName": "rdma/a",
			"rail": "3", "ifName": "ens12np0", "rdmaDevice": "mlx5_0", "driver": "mlx5_core", "linkType": "ether", "mtu": "4200", "linkGbps": "3", "bandwidth": "2500M",
		}},
		{device{Device: few, resource: config.Resource{Name: "rdma/a"}}, map[string]string{
			"k8s.cni.cncf.io/deviceID": "mlx5_core.sf.2", "k8s.cni.cncf.io/resourceName": "rdma/a", "rail": "0", "rdmaDevice": "mlx5_0",
		}},
	} {
		if got := text(tt.d.inSlice(n, nil)); !maps.Equal(got, tt.want) {
			t.Errorf("%v\nwant %v", got, tt.want)
		}
	}
}

func TestDevicesAreInTheOrderOfRailsAddressesAndNames(t *testing.T) {
	of := func(rail int, address, name string) device {
		return device{Device: nic(address), rail: rail, name: name}
	}
	all := []device{of(1, "0000:08:00.0", "e"), of(0, "10000:01:00.0", "d"), of(0, "2000:01:00.0", "c"), of(0, "2000:01:00.0", "b"), of(0, "0000:09:00.0", "x")}
	inOrder(all)
	got := ""
	for _, d := range all {
		got += d.name
	}
	if got != "xbcde" {
		t.Error(got)
	}
}

func TestAClaimIsForOnePod(t *testing.T) {
	c := &resourceapi.ResourceClaim{}
	c.Namespace = "training"
	pod := resourceapi.ResourceClaimConsumerReference{Resource: "pods", Name: "a", UID: "u"}
	other := pod
	other.APIGroup = "example.com" // which has pods of its own
	for _, tt := range []struct {
		reserved []resourceapi.ResourceClaimConsumerReference
		want     string // of the error
	}{
		{nil, "0 pods share it"}, {[]resourceapi.ResourceClaimConsumerReference{pod, pod}, "2 pods share it"},
		{[]resourceapi.ResourceClaimConsumerReference{other}, "it is reserved for pods a, which is no pod"}, {[]resourceapi.ResourceClaimConsumerReference{pod}, ""},
	} {
		c.Status.ReservedFor = tt.reserved
		got, err := podOf(c)
		if tt.want == "" && (err != nil || got != attachment.Pod{Namespace: "training", Name: "a", UID: "u"}) || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
			t.Errorf("%+v: %v, %v", tt.reserved, got, err)
		}
	}
}

func TestParametersThatContradictEachOtherAreRefusedWithTheirPlace(t *testing.T) {
	of := func(text string, source resourceapi.AllocationConfigSource, requests ...string) resourceapi.DeviceAllocationConfiguration {
		c := resourceapi.DeviceAllocationConfiguration{Source: source, Requests: requests}
		c.Opaque = &resourceapi.OpaqueDeviceConfiguration{Driver: DriverName, Parameters: runtime.RawExtension{Raw: []byte(text)}}
		return c
	}
	check := func(keys json.RawMessage) error { // these do not go together
		if strings.Contains(string(keys), "ipam") && strings.Contains(string(keys), "keepAddresses") {
			return errors.New("no")
		}
		return nil
	}
	const class, own = resourceapi.AllocationConfigSourceClass, resourceapi.AllocationConfigSourceClaim
	for want, configs := range map[string][]resourceapi.DeviceAllocationConfiguration{
		"parameters of class and claim together: no":    {of(`{"ipam": {}}`, class), of(`{"keepAddresses": true}`, own)},
		"parameters of the claim: no":                   {of(`{"ipam": {}, "keepAddresses": true}`, own)},
		"parameters of the DeviceClass: no":             {of(`{"ipam": {}, "keepAddresses": true}`, class)},
		"parameters of the claim for a, b: no":          {of(`{"mtu": 1}`, class), of(`{"ipam": {}, "keepAddresses": true}`, own, "a", "b")},
		"parameters of the claim for a: unexpected end": {of(`{`, own, "a")},
	} {
		a := &resourceapi.AllocationResult{Devices: resourceapi.DeviceAllocationResult{Config: configs}}
		if got, err := networkOf(a, "a", check); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
	}
}

func TestTheLargestExtrasAreTaken(t *testing.T) {
	many := []string{}
	for i := range mostExtras {
		many = append(many, fmt.Sprintf("a%d: 1", i))
	}
	for content, want := range map[string]int{
		"x: {" + strings.Join(many, ", ") + "}": mostExtras, "x: {a: " + strings.Repeat("a", 64) + "}": 1, "x: {" + strings.Repeat("a", 32) + ": 1}": 1,
		"x: {a: 1}\ny: {a: 2}": 1, "": 0, "x: {roce-k8s.io/a: true}": 1,
	} {
		all, err := parseExtras([]byte(content))
		if err != nil || want > 0 && len(all[0].attributes) != want || want == 0 && len(all) > 0 {
			t.Errorf("%s: %v, %v", content, all, err)
		}
	}
	for _, content := range []string{`x: {a: ""}`, "x: {" + strings.Repeat("a", 33) + ": 1}", "x: {" + strings.Repeat("a", 64) + "/b: 1}", "x: {a: [1]}"} {
		if all, err := parseExtras([]byte(content)); err == nil {
			t.Errorf("%s: %v", content, all)
		}
	}
	if _, _, err := readExtras(t.TempDir()); err == nil || !strings.HasPrefix(err.Error(), "read the attributes: ") {
		t.Errorf("a folder: %v", err)
	}
	if all, text, err := readExtras(""); all != nil || text != "" || err != nil {
		t.Errorf("none: %v, %v", all, err)
	}
}

func TestAStatusHasAsManyAddressesAsTheAPITakes(t *testing.T) {
	r := &attachment.Record{IfName: "rail1", Host: netdev.State{MAC: "94:6d:ae:00:00:01"}}
	for i := range resourceapi.NetworkDeviceDataMaxIPs + 2 {
		r.Addresses = append(r.Addresses, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 24))
	}
	if d := networkData(r); len(d.IPs) != resourceapi.NetworkDeviceDataMaxIPs || d.IPs[0] != "10.0.0.0/24" {
		t.Errorf("%+v", d)
	}
}

func TestAStatusIsOfTheNICsThatTheClaimsPodHas(t *testing.T) {
	c := claim.Claim{UID: "c1", Pod: attachment.Pod{UID: "a"}, Devices: []claim.Device{{Name: "n", Bus: "pci", Address: "0000:08:00.0"}}}
	good := attachment.Record{Step: attachment.Attached, Pod: attachment.Pod{UID: "a"}, NIC: attachment.NIC{Bus: "pci", Address: "0000:08:00.0"}}
	for what, tt := range map[string]struct {
		change func(*attachment.Record)
		want   int
	}{
		"it":              {func(*attachment.Record) {}, 1},
		"another pod's":   {func(r *attachment.Record) { r.Pod.UID = "b" }, 0},
		"another bus's":   {func(r *attachment.Record) { r.NIC.Bus = "auxiliary" }, 0},
		"another address": {func(r *attachment.Record) { r.NIC.Address = "0000:09:00.0" }, 0},
	} {
		r := good
		tt.change(&r)
		if got := statusesOf([]claim.Claim{c}, []*attachment.Record{&r}, "node1"); len(got) != tt.want {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

func TestAClaimEndsUnlessItsOwnPodStillHasANICOfIt(t *testing.T) {
	n := newTestNode(t)
	d := newDriver(n.options, n.Journal, n.links, nil)
	rail := n.guide.Rails[0]
	c := claim.Claim{UID: "c1", Pod: attachment.Pod{Namespace: "training", Name: "a", UID: "a"}, Devices: []claim.Device{{Name: "n", Bus: "pci", Address: rail.PCI}}}
	for what, tt := range map[string]struct {
		change func(*attachment.Record)
		away   bool
	}{
		"it has":               {func(*attachment.Record) {}, true},
		"it is getting it":     {func(r *attachment.Record) { r.Step = attachment.Prepared }, true},
		"another pod has it":   {func(r *attachment.Record) { r.Pod.UID = "b" }, false},
		"it has another NIC":   {func(r *attachment.Record) { r.NIC.Address = n.guide.Rails[1].PCI }, false},
		"it had it":            {func(r *attachment.Record) { r.Step = attachment.Returned }, false},
		"its function is gone": {func(r *attachment.Record) { r.NIC.Address = "0000:ff:00.0" }, false},
		"it is on the host again": {func(r *attachment.Record) {
			r.NIC.Netdev = netdev.Identity{Index: 100, ParentBus: "pci", Parent: rail.PCI, PermanentMAC: rail.MAC}
		}, false},
	} {
		r := &attachment.Record{
			Step: attachment.Attached, ContainerID: "s", IfName: "net1", Pod: c.Pod, Host: netdev.State{Name: "ens0"},
			NIC: attachment.NIC{Bus: "pci", Address: rail.PCI, Netdev: netdev.Identity{Index: 7, ParentBus: "pci", Parent: "0000:ff:00.0"}},
		}
		tt.change(r)
		of := c
		if what == "its function is gone" {
			of.Devices = []claim.Device{{Name: "n", Bus: "pci", Address: "0000:ff:00.0"}}
		}
		d.links = node.Links(netlink.LinkAttrs{Index: 100, Name: "rail1", ParentDevBus: "pci", ParentDev: rail.PCI, PermHWAddr: mac(t, rail.MAC)})
		n.Must(n.Journal.Write(r))
		if err := d.stillAway(n.Ctx, of); (err != nil) != tt.away {
			t.Errorf("%s: %v", what, err)
		}
		n.Must(n.Journal.Remove(r.ID()))
	}
	d.links = func(context.Context) ([]netlink.Link, error) { return nil, errors.New("permission denied") }
	if err := d.stillAway(n.Ctx, c); err == nil || err.Error() != "list the host's links: permission denied" {
		t.Errorf("%v", err)
	}
}

// answers is a stand-in for the connection to an API server.
type answers struct {
	status int
	err    error
}

func (a answers) RoundTrip(*http.Request) (*http.Response, error) {
	if a.err != nil {
		return nil, a.err
	}
	return &http.Response{StatusCode: a.status, Body: http.NoBody}, nil
}

// valueOf is what Prometheus reads of a gauge or a counter.
func valueOf(t *testing.T, metric prometheus.Metric) float64 {
	t.Helper()
	var m dto.Metric
	if err := metric.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetGauge().GetValue() + m.GetCounter().GetValue()
}

func TestWritesAreCountedAndReadsAreNot(t *testing.T) {
	const slices, claims = "/apis/resource.k8s.io/v1/resourceslices", "/apis/resource.k8s.io/v1/namespaces/a/resourceclaims/b/status"
	for _, tt := range []struct {
		method, path string
		answers
		want string // the resource and result that is counted
	}{
		{http.MethodPost, slices, answers{status: 201}, "resourceslices ok"},
		{http.MethodDelete, slices + "/x", answers{status: 200}, "resourceslices ok"},
		{http.MethodPut, claims, answers{status: 399}, "resourceclaims ok"},
		{http.MethodPut, claims, answers{status: 400}, "resourceclaims error"},
		{http.MethodPut, claims, answers{err: errors.New("refused")}, "resourceclaims error"},
		{http.MethodGet, slices, answers{status: 200}, ""},
		{http.MethodPost, "/apis/resource.k8s.io/v1/resourceslicesx", answers{status: 200}, ""},
	} {
		m := NewMetrics("v1", t.TempDir())
		request, err := http.NewRequestWithContext(t.Context(), tt.method, "http://api"+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := m.Count(tt.answers).RoundTrip(request)
		if err == nil {
			defer response.Body.Close()
		}
		if !errors.Is(err, tt.err) || err == nil && response.StatusCode != tt.status {
			t.Errorf("%s %s: %v, %v", tt.method, tt.path, response, err)
		}
		for _, resource := range []string{resourceSlices, resourceClaims} {
			for _, result := range []string{resultOK, resultError} {
				want := 0.0
				if tt.want == resource+" "+result {
					want = 1
				}
				if got := valueOf(t, m.writes.WithLabelValues(resource, result)); got != want {
					t.Errorf("%s %s: %g of %s %s", tt.method, tt.path, got, resource, result)
				}
			}
		}
	}
}

func TestALookThatSawNothingIsAFailureAndTellsNothing(t *testing.T) {
	m := NewMetrics("v1", t.TempDir())
	odd := device{Device: nic("a", func(d *inventory.Device) { d.Netdevs = []string{"a\xff"} }), taken: true}
	m.looked(&view{at: time.Unix(7, 0), devices: []device{odd}}, time.Second)
	m.looked(nil, time.Second)
	if failures, last := valueOf(t, m.rescanFailures), valueOf(t, m.lastRescan); failures != 1 || last != 7 {
		t.Errorf("%g failures, the last look at %g", failures, last)
	}
	if got := valueOf(t, m.tainted.WithLabelValues("mlx5_0", "a\uFFFD", taintTaken)); got != 1 {
		t.Error("a name of any bytes is not told")
	}
}

func TestTheHealthOfADeviceIsNewsWhenItChanges(t *testing.T) {
	d := &driver{changed: make(chan struct{})}
	well, ill := &view{devices: []device{{name: "a"}}}, &view{devices: []device{{name: "a", ill: ailment{taintLink, "down"}}}}
	for i, step := range []struct {
		view *view
		news bool
	}{{well, true}, {well, false}, {ill, true}, {ill, false}, {well, true}} {
		_, changed := d.current()
		d.show(step.view)
		news := false
		select {
		case <-changed:
			news = true
		default:
		}
		if now, _ := d.current(); news != step.news || now != step.view {
			t.Errorf("step %d: news is %v", i, news)
		}
	}
}

func TestTheKubeletIsToldAgainAndAgainUnlessNobodyKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &driver{options: Options{NodeName: "node1"}, changed: make(chan struct{})}
		at := time.Now()
		d.show(&view{at: at, devices: []device{{name: "a"}, {name: "b", ill: ailment{taintLink, "down"}}}})
		ctx, stop := context.WithCancel(t.Context())
		reports := make(chan kubeletplugin.DeviceHealthReport, 100)
		done := make(chan struct{})
		go func() { _ = d.WatchHealthStatus(ctx, reports); close(done) }()
		told := func() int { return len(reports) }
		synctest.Wait()
		if told() != 1 {
			t.Fatalf("told %d times", told())
		}
		r := <-reports
		a, b := r.Devices[0], r.Devices[1]
		if a.PoolName != "node1" || a.DeviceName != "a" || a.Health != kubeletplugin.HealthStatusHealthy || a.Message != "" || !a.LastUpdated.Equal(at) ||
			b.DeviceName != "b" || b.Health != kubeletplugin.HealthStatusUnhealthy || b.Message != "down" {
			t.Errorf("%+v", r)
		}
		time.Sleep(2*reportAgain + time.Second) // of the test's own clock, as all that follow
		if told() != 2 {
			t.Errorf("told %d times in twenty seconds", told())
		}
		d.busy.Store(time.Now().UnixNano())
		time.Sleep(longLook + 5*reportAgain)
		if told() > 2+int(longLook/reportAgain) {
			t.Errorf("told %d times while a look hangs", told())
		}
		d.busy.Store(0)
		before := told()
		time.Sleep(reportAgain + time.Second)
		if told() != before+1 {
			t.Errorf("told %d times after it, %d before", told(), before)
		}
		stop()
		<-done
	})
}

func TestAConfigurationThatIsNotThereIsNoReasonToTryAgain(t *testing.T) {
	n := newTestNode(t)
	var bad *ConfigError
	n.Must(os.Remove(n.options.ConfigFile))
	if err := Run(n.Ctx, n.options); !errors.As(err, &bad) || !strings.Contains(err.Error(), "config.json") {
		t.Errorf("%v", err)
	}
}
