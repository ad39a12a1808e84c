package dra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/vishvananda/netlink"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/claim"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
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

func TestANameThatIsTooLongForAnAttributeIsSaid(t *testing.T) {
	for length, said := range map[int]bool{resourceapi.DeviceAttributeMaxValueLength: false, resourceapi.DeviceAttributeMaxValueLength + 1: true} {
		var log strings.Builder
		name := strings.Repeat("r", length)
		(&files{Config: &config.Config{Resources: []config.Resource{{Name: name}}}}).report(slog.New(slog.NewTextHandler(&log, nil)))
		if got := strings.Contains(log.String(), "its devices have no resourceName\" resource="+name); got != said {
			t.Errorf("%d: %s", length, log.String())
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
	bare := nic("0000:08:00.0", func(d *inventory.Device) { d.Netdevs = nil })
	for want, d := range map[string]inventory.Device{
		"": nic("0000:08:00.0"), "it is on no bus": nic(""), "its function has another RDMA device": beside, "it has no netdev": bare,
	} {
		if got := unfit(d); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestADeviceHasTheAttributesThatAreKnown(t *testing.T) {
	n := rdma.Node{Sys: t.TempDir()}
	all := nic("0000:08:00.0", func(d *inventory.Device) {
		d.MTU, d.Rate, d.Driver, d.LinkType, d.Netdevs = 4200, 2.5e9, "mlx5_core", "ether", []string{"ens12np0", "ens12np1"}
	})
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
		"x: {" + strings.Join(many, ", ") + "}\ny: {" + strings.Join(many, ", ") + "}": mostExtras, // as many on each of two devices
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

// Alternative names and bonds select NICs, and exclude them.
func TestALookWithoutLinksChangesNoSlice(t *testing.T) {
	n := newTestNode(t)
	d := newDriver(n.options, n.Journal, func(context.Context) ([]netlink.Link, error) { return nil, errors.New("no memory") }, nil)
	config, err := readFiles(n.options.ConfigFile, "")
	n.Must(err)
	d.config = config
	if v, _ := d.look(n.Ctx); v != nil || !strings.Contains(n.Logs.String(), "the ResourceSlices stay as they are") {
		t.Errorf("%+v\n%s", v, n.Logs)
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
	var looks dto.Metric
	if err := m.rescanTime.Write(&looks); err != nil || looks.Histogram.GetSampleCount() != 2 || looks.Histogram.GetSampleSum() != 2 {
		t.Errorf("%v, %v", &looks, err)
	}
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
		at := time.Now().Add(-time.Minute) // the look was before
		d.show(&view{at: at, devices: []device{{name: "a"}, {name: "b", ill: ailment{taintLink, "down"}}, {name: "c", taken: true}}})
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
		if c := r.Devices[2]; c.Health != kubeletplugin.HealthStatusHealthy || c.Message != "" {
			t.Errorf("one that is taken is well: %+v", c)
		}
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
		d.show(&view{at: at, devices: []device{{name: "a"}, {name: "b"}}})
		synctest.Wait()
		if told() != before+2 {
			t.Errorf("told %d times after a change, %d before", told(), before)
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

func TestALookSeesTheDevicesOfAllResourcesInTheOrderOfTheirRails(t *testing.T) {
	n := newTestNode(t)
	d := n.idle()
	at := func(rails ...int) (netdevs []string) {
		for _, i := range rails {
			netdevs = append(netdevs, n.guide.Rails[i].Netdev)
		}
		return netdevs
	}
	resource := func(name string, s config.Selectors) config.Resource {
		return config.Resource{Name: name, Mode: config.Shared, Units: 8, Selectors: s, CharDevices: []config.CharDevice{config.Uverbs, config.Umad, config.Issm, config.RDMACM}}
	}
	d.config.Resources = []config.Resource{
		resource("rdma/b", config.Selectors{IfNames: at(5, 1)}), resource("rdma/a", config.Selectors{IfNames: append(at(0, 1, 2), "odd*")}),
	}
	seen, err := d.inventory.Read(n.Ctx)
	n.Must(err)
	for i, address := range []string{"mlx5_core.sf.2", "mlx5-core.sf.2", ""} { // the first two make one name
		seen.Devices = append(seen.Devices, nic(address, func(of *inventory.Device) {
			of.Name, of.Bus, of.Netdevs = fmt.Sprint("odd", i), rdma.BusAuxiliary, []string{fmt.Sprint("odd", i)}
		}))
	}
	var got []string
	for range 2 {
		got = nil
		for _, of := range d.see(seen, nil).devices {
			got = append(got, fmt.Sprint(of.rail, " ", of.name, " ", of.resource.Name, " ", of.resource.Mode, " ", of.resource.CharDevices))
		}
	}
	if !d.see(seen, nil).connectionManager {
		t.Error("there is no rdma_cm")
	}
	n.Must(n.RemoveConnectionManager())
	if d.see(seen, nil).connectionManager {
		t.Error("there still is an rdma_cm")
	}
	name := n.rails(0, 1, 2, 5)
	want := []string{
		"0 " + name[0] + " rdma/a perDevice [uverbs rdma_cm]", "0 mlx5-core-sf-2 rdma/a perDevice [uverbs rdma_cm]",
		"1 " + name[1] + " rdma/b perDevice [uverbs rdma_cm]", "2 " + name[2] + " rdma/a perDevice [uverbs rdma_cm]", "3 " + name[3] + " rdma/b perDevice [uverbs rdma_cm]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	for _, want := range []string{
		"resources rdma/b (line 0) and rdma/a both select ens11np0/mlx5_1", `device="odd1/odd1 (mlx5-core.sf.2)" because="another device is called mlx5-core-sf-2"`, `device=odd2/odd2 because="it is on no bus"`,
	} {
		if strings.Count(n.Logs.String(), want) != 1 {
			t.Errorf("not once: %s\n%s", want, n.Logs)
		}
	}
}

func TestADeviceIsItsHoldersByAClaimOfThatPodForThatDevice(t *testing.T) {
	of := nic("0000:08:00.0", func(d *inventory.Device) { d.Holder = &attachment.Record{Pod: attachment.Pod{UID: "a"}} })
	claimed := func(pod, address string) []claim.Claim {
		return []claim.Claim{{Pod: attachment.Pod{UID: "c"}}, {Pod: attachment.Pod{UID: pod}, Devices: []claim.Device{{Bus: rdma.BusPCI, Address: address}}}}
	}
	for what, tt := range map[string]struct {
		claims []claim.Claim
		want   bool
	}{
		"none": {nil, false}, "its": {claimed("a", "0000:08:00.0"), true}, "another pod's": {claimed("b", "0000:08:00.0"), false}, "for another": {claimed("a", "0000:09:00.0"), false},
	} {
		if isClaimed(of, tt.claims) != tt.want || isClaimed(nic("0000:08:00.0"), tt.claims) {
			t.Error(what)
		}
	}
}

func TestADeviceThatTurnsIsLoggedWhenItHasSettled(t *testing.T) {
	var log strings.Builder
	d := &driver{log: slog.New(slog.NewTextHandler(&log, nil)), health: offer.NewHealth(0)}
	down := nic("0000:08:00.0", func(d *inventory.Device) { d.Ports[0].State, d.Ports[0].PhysState = "DOWN", "Disabled" })
	for i, step := range []struct {
		of   inventory.Device
		ill  ailment
		want string
	}{
		{nic("0000:08:00.0"), ailment{}, ""}, {down, ailment{}, ""},
		{down, ailment{taintLink, "its port is DOWN, Disabled"}, `level=WARN msg="device degraded" device="ens12np0/mlx5_0 (0000:08:00.0)" place=host because="its port is DOWN, Disabled"`},
		{down, ailment{taintLink, "its port is DOWN, Disabled"}, ""}, {nic("0000:08:00.0"), ailment{taintLink, "its port is DOWN, Disabled"}, ""},
		{nic("0000:08:00.0"), ailment{}, `level=INFO msg="device recovered" device="ens12np0/mlx5_0 (0000:08:00.0)" place=host`},
	} {
		log.Reset()
		if ill := d.judge(step.of, config.HealthLink); ill != step.ill || !strings.Contains(log.String(), step.want) || step.want == "" && log.Len() > 0 {
			t.Errorf("step %d: %+v, logged %s", i, ill, log.String())
		}
	}
}

func TestClaimsThatCannotBeCountedAreNotNone(t *testing.T) {
	dir := t.TempDir()
	claims := func() float64 {
		families, err := NewMetrics("v1", dir).registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == metricsNamespace+"_claims" {
				return f.Metric[0].GetGauge().GetValue()
			}
		}
		return -1
	}
	if got := claims(); got != 0 {
		t.Errorf("%g before the first", got)
	}
	if err := os.WriteFile(claim.Dir(dir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := claims(); !math.IsNaN(got) {
		t.Errorf("%g, and nobody knows", got)
	}
}

func TestAScalableFunctionIsNearWhatItsPhysicalOneIs(t *testing.T) {
	pf := sysfs.MLX5(0)
	n := node.New(t, pf, sysfs.SF(pf, 2, 10))
	devices, err := n.RDMA().Devices()
	n.Must(err)
	roots := map[string]string{}
	for _, d := range devices {
		roots[d.Name] = text(device{Device: inventory.Device{Device: d}}.inSlice(n.RDMA(), nil))["resource.kubernetes.io/pcieRoot"]
	}
	if len(roots) != 2 || roots["mlx5_0"] == "" || roots["mlx5_10"] != roots["mlx5_0"] {
		t.Errorf("%q", roots)
	}
}

func TestWhoNoLongerWaitsForALookGoes(t *testing.T) {
	for what, taken := range map[string]bool{"nobody looks": false, "the look hangs": true} {
		synctest.Test(t, func(t *testing.T) {
			d := &driver{asks: make(chan chan *view)}
			ctx, stop := context.WithCancel(t.Context())
			answer := make(chan error, 1)
			go func() { _, err := d.fresh(ctx); answer <- err }()
			if taken {
				<-d.asks
			}
			synctest.Wait()
			stop()
			synctest.Wait()
			select {
			case err := <-answer:
				if !errors.Is(err, context.Canceled) {
					t.Errorf("%s: %v", what, err)
				}
			default:
				t.Fatalf("%s: it still waits", what)
			}
		})
	}
}

func TestADeviceThatWasNotOfferedMeanwhileIsJudgedAnew(t *testing.T) {
	n := newTestNode(t)
	d := n.idle()
	d.health = offer.NewHealth(time.Hour)
	well, err := d.inventory.Read(n.Ctx)
	n.Must(err)
	n.setPort(2, "DOWN", "Disabled")
	ill, err := d.inventory.Read(n.Ctx)
	n.Must(err)
	for i, step := range []struct {
		seen inventory.Snapshot
		ills int
	}{{well, 0}, {ill, 0}, {inventory.Snapshot{}, 0}, {ill, 1}} {
		ills := 0
		for _, of := range d.see(step.seen, nil).devices {
			if of.ill.taint == taintLink {
				ills++
			}
		}
		if ills != step.ills {
			t.Errorf("step %d: %d are ill", i, ills)
		}
	}
}

func TestTheNewestDevicesAreOffered(t *testing.T) {
	d := &driver{offers: make(chan []resourceapi.Device, 1)}
	d.offer(make([]resourceapi.Device, 1))
	d.offer(make([]resourceapi.Device, 2))
	if devices := <-d.offers; len(devices) != 2 {
		t.Errorf("%d devices", len(devices))
	}
}

func TestWhatTheHelperCannotDoEndsTheProgramWithItsReason(t *testing.T) {
	var end error
	var log strings.Builder
	d := &driver{log: slog.New(slog.NewTextHandler(&log, nil)), end: func(err error) { end = err }}
	d.HandleError(t.Context(), fmt.Errorf("none for 30s: %w", kubeletplugin.ErrRecoverable), "report health")
	if end != nil || !strings.Contains(log.String(), `level=WARN msg="the kubelet is not told what it should be" step="report health" err="none for 30s`) {
		t.Errorf("it passes by itself: %v, %s", end, log.String())
	}
	lost := errors.New("the socket is gone")
	if d.HandleError(t.Context(), lost, "serve the kubelet"); !errors.Is(end, lost) || end.Error() != "serve the kubelet: the socket is gone" {
		t.Errorf("%v", end)
	}
}

func TestAClaimThatCannotBeLookedUpKeepsItsDevices(t *testing.T) {
	n := newTestNode(t)
	d := n.idle()
	of := func(uid string) claim.Claim {
		return claim.Claim{UID: uid, Namespace: "training", Name: "claim-" + uid, Pod: attachment.Pod{UID: "a"}, Devices: []claim.Device{{Name: "n", Bus: "pci", Address: n.guide.Rails[0].PCI}}}
	}
	n.claim("c1", "a", n.rails(0))
	n.Must(claim.Write(n.State(), of("c1")))
	n.Must(os.WriteFile(filepath.Join(claim.Dir(n.State()), "b.c3.json"), []byte("{"), 0o600))
	n.api.mu.Lock()
	n.api.refuse = true
	n.api.mu.Unlock()
	err := d.free(n.Ctx, of("c2"))
	if !apierrors.IsServiceUnavailable(err) || !strings.HasPrefix(err.Error(), "claim training/claim-c1 has device n, and whether it still does cannot be asked: ") {
		t.Errorf("%v", err)
	}
	if all, _, err := claim.List(n.State()); len(all) != 1 || err != nil {
		t.Errorf("%v, %v", all, err)
	}
	if !strings.Contains(n.Logs.String(), "a file of a claim cannot be used") || !strings.Contains(n.Logs.String(), "b.c3.json") {
		t.Errorf("logged:\n%s", n.Logs)
	}
}

// What is there of the spec alone would be nobody's.
func TestAClaimThatCannotBeWrittenDownHasNoSpec(t *testing.T) {
	n := newTestNode(t)
	d := n.idle()
	c := claim.Claim{UID: "c1", Pod: attachment.Pod{UID: "a"}, Devices: []claim.Device{{Name: n.rails(0)[0], Bus: "pci", Address: n.guide.Rails[0].PCI}}}
	v, _ := d.look(n.Ctx)
	spec, err := d.specOf(v, c)
	n.Must(err)
	n.Must(errors.Join(os.MkdirAll(n.State(), 0o755), os.WriteFile(claim.Dir(n.State()), nil, 0o600)))
	if devices, err := d.write(c, spec); err == nil {
		t.Errorf("%v", devices)
	}
	if _, err := os.Stat(d.specFile("c1").Path()); err == nil {
		t.Error("there is a spec")
	}
}

func TestADriverWithoutAFolderDoesNotRun(t *testing.T) {
	n := newTestNode(t)
	n.Write("kubelet", "a file")
	n.options.KubeletDir = filepath.Join(n.Dir, "kubelet")
	d := n.idle()
	if err := d.run(n.Ctx, d.config); err == nil || !strings.HasPrefix(err.Error(), "make the driver's folder: ") {
		t.Errorf("%v", err)
	}
}

func TestARunServesTheMetricsOfAllThatBelongsToIt(t *testing.T) {
	n := newTestNode(t)
	n.options.MetricsAddress, n.options.MemlockSocket, n.options.PodUID = freeAddress(t), "/nowhere", "u1"
	ctx, stop := context.WithCancel(n.Ctx)
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, n.options) }()
	n.expectMetrics("memlock_connected 0")
	n.Until("counters are told", func() bool { return strings.Contains(n.scrape(), `rdma_port_state{container="",device="mlx5_0"`) })
	n.Until("the kubelet can tell instances apart", func() bool {
		sockets, _ := filepath.Glob(n.socket("plugins_registry/*u1*"))
		return len(sockets) == 1
	})
	stop()
	n.Must(<-ended)
}
