package dra

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	drahealthv1 "k8s.io/kubelet/pkg/apis/dra-health/v1"
	"tags.cncf.io/container-device-interface/pkg/cdi"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/claim"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

// text is a device's attributes, as one reads them.
func text(d resourceapi.Device) map[string]string {
	all := map[string]string{}
	for name, a := range d.Attributes {
		switch {
		case a.StringValue != nil:
			all[string(name)] = *a.StringValue
		case a.IntValue != nil:
			all[string(name)] = fmt.Sprint(*a.IntValue)
		case a.BoolValue != nil:
			all[string(name)] = fmt.Sprint(*a.BoolValue)
		}
	}
	for name, c := range d.Capacity {
		all[string(name)] = c.Value.String()
	}
	return all
}

func TestTheGuidesNICsAreDevicesThatKeepTheirAttributesInAPod(t *testing.T) {
	n := newTestNode(t)
	for _, h := range n.guide.Rails {
		n.Must(n.SetCounter(h, "rate", "400 Gb/sec (4X NDR)"))
	}
	stop := n.start()
	n.Until("eight devices", func() bool { return len(n.published()) == 8 })
	before := n.published()
	want := map[string]string{
		"resource.kubernetes.io/pcieRoot": "pci0000:20", "resource.kubernetes.io/pciBusID": "0000:23:00.0", "resource.kubernetes.io/numaNode": "0",
		"k8s.cni.cncf.io/deviceID": "0000:23:00.0", "k8s.cni.cncf.io/resourceName": "rdma/hca_gpu",
		"rail": "1", "ifName": "ens11np0", "rdmaDevice": "mlx5_1", "driver": "mlx5_core", "linkType": "ether", "mtu": "9000",
		"linkGbps": "400", "bandwidth": "400G",
	}
	if got := text(before[n.rails(1)[0]]); !maps.Equal(got, want) {
		t.Errorf("%v\nwant %v", got, want)
	}
	if len(want) > ownMost {
		t.Errorf("a device has %d attributes of its own, and room for %d", len(want), ownMost)
	}
	if got, want := n.api.owners(), []string{"roce-k8s.io node1 node1 of Node node1 n1"}; !slices.Equal(got, want) { // they end with the node
		t.Errorf("%q, want %q", got, want)
	}
	if order := n.api.published(); order[0].Name != n.rails(0)[0] || order[7].Name != n.rails(7)[0] {
		t.Errorf("the first is %s", order[0].Name)
	}
	writes := n.api.count()
	if _, refused := n.prepare(n.claim("c0", "a", n.rails(0, 1, 2))); refused != "" {
		t.Fatal(refused)
	}
	n.attach("a", 0, 1, 2)
	n.Must(n.RemoveCharDevices(n.guide.Rails[7])) // something that is seen after it
	n.Until("the last one is unusable", func() bool { return len(n.published()[n.rails(7)[0]].Taints) == 1 })
	after := n.published()
	delete(before, n.rails(7)[0])
	delete(after, n.rails(7)[0])
	if !reflect.DeepEqual(before, after) || n.api.count() != writes+1 {
		t.Errorf("%d writes, and %v\nwas %v", n.api.count()-writes, after, before)
	}
	stop()
	n.start()
	n.prepare(n.claim("c1", "b", n.rails(4)))
	after = n.published()
	delete(after, n.rails(7)[0])
	if !reflect.DeepEqual(before, after) {
		t.Errorf("after a restart: %v\nwas %v", after, before)
	}
}

func TestWhatTheAdministratorAddsIsAdded(t *testing.T) {
	n := newTestNode(t)
	n.options.AttributesFile = filepath.Join(n.Dir, "more/attributes.yaml")
	n.Write("more/attributes.yaml", `{"ens1?np0": {"example.com/pair": 7, "roce-k8s.io/fabric": "a"}, "0000:23:*": {"resource.kubernetes.io/pcieRoot": "pci0000:99", "fabric": "b"}, "enp35s0np0": {"spare": true}}`)
	n.start()
	n.Until("eight devices", func() bool { return len(n.published()) == 8 })
	got := text(n.published()[n.rails(1)[0]])
	for name, want := range map[string]string{"example.com/pair": "7", "fabric": "b", "resource.kubernetes.io/pcieRoot": "pci0000:99", "spare": "true"} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if other := text(n.published()[n.rails(0)[0]]); other["fabric"] != "a" || other["spare"] != "" {
		t.Errorf("another NIC has %v", other)
	}
	n.Write("more/attributes.yaml", `{"ens1?np0": {"fabric": []}}`)
	n.Until("the mistake is reported", func() bool {
		return strings.Contains(n.Logs.String(), `more/attributes.yaml: line 1: attribute \"fabric\": use a whole number, true, false or a text`)
	})
	n.Write("more/attributes.yaml", `ens1?np0: {fabric: c}`)
	n.Until("the file is read again", func() bool { return text(n.published()[n.rails(1)[0]])["fabric"] == "c" })
}

// A kubelet that starts removes them.
func TestSlicesThatAreRemovedAreBackAtOnce(t *testing.T) {
	n := newTestNode(t)
	n.start()
	n.register()
	n.Until("eight devices", func() bool { return len(n.published()) == 8 })
	n.api.wipe()
	begin := time.Now()
	n.Until("eight devices again", func() bool { return len(n.published()) == 8 })
	if took := time.Since(begin); took > resourceslice.DefaultSyncDelay/3 {
		t.Errorf("after %s", took)
	}
}

// spec are the character devices, hooks and variables that a runtime finds for CDI
// devices.
func (n *testNode) spec(devices []string) (nodes, rest []string) {
	n.Helper()
	cache, err := cdi.NewCache(cdi.WithSpecDirs(n.options.CDIDir), cdi.WithAutoRefresh(false))
	n.Must(err)
	n.Must(cache.Refresh())
	for _, name := range devices {
		d := cache.GetDevice(name)
		if d == nil {
			n.Fatalf("there is no CDI device %s", name)
		}
		for _, c := range d.ContainerEdits.DeviceNodes {
			nodes = append(nodes, strings.TrimPrefix(c.Path, "/dev/infiniband/"))
		}
		rest = d.GetSpec().ContainerEdits.Env
		for _, h := range d.GetSpec().ContainerEdits.Hooks {
			rest = append(rest, h.HookName+" "+strings.Join(h.Args, " "))
			if h.Path != h.Args[0] || h.Timeout == nil || *h.Timeout != 10 {
				n.Errorf("%+v", h)
			}
		}
	}
	return nodes, rest
}

func TestAClaimIsPreparedInTwoFilesAndNothingElse(t *testing.T) {
	n := newTestNode(t)
	stop := n.start()
	c := n.claim("c1", "a", n.rails(2, 5), `{"mtu": 1500, "sourceRouting": true}`, `{"mtu": 4200}`)
	c.Status.Allocation.Devices.Results = append(c.Status.Allocation.Devices.Results,
		resourceapi.DeviceRequestAllocationResult{Request: "gpus", Driver: "gpu.example.com", Pool: "node1", Device: "gpu-0"}) // another driver's
	n.api.add(c)
	answer := n.answers(c)["c1"]
	devices, refused := n.prepare(c)
	if refused != "" || len(devices) != 2 {
		t.Fatalf("%v, %s", devices, refused)
	}
	for i, d := range answer.Devices {
		if !slices.Equal(d.RequestNames, []string{"nics"}) || d.PoolName != "node1" || d.DeviceName != n.rails(2, 5)[i] || !slices.Equal(d.CdiDeviceIds, devices[i:i+1]) {
			t.Errorf("%+v", d)
		}
	}
	nodes, rest := n.spec(devices)
	if got := strings.Join(nodes, " "); got != "rdma_cm uverbs2 rdma_cm uverbs5" {
		t.Errorf("character devices %s", got)
	}
	if want := []string{"createRuntime /opt/cni/bin/roce-host-device attached c1"}; !slices.Equal(rest, want) {
		t.Errorf("%v, want %v", rest, want)
	}
	read := func() string {
		claims, bad, err := claim.List(n.State())
		n.Must(err)
		b, err := json.Marshal(claims)
		n.Must(err)
		if len(bad) > 0 {
			t.Error(bad)
		}
		return string(b)
	}
	want := `[{"version":1,"uid":"c1","namespace":"training","name":"claim-c1","pod":{"namespace":"training","name":"pod-a","uid":"a"},"devices":[` +
		`{"request":"nics","name":"0000-43-00-0","bus":"pci","address":"0000:43:00.0","rail":2,"network":{"mtu":4200,"sourceRouting":true}},` +
		`{"request":"nics","name":"0000-a4-00-0","bus":"pci","address":"0000:a4:00.0","rail":5,"network":{"mtu":4200,"sourceRouting":true}}]}]`
	if got := read(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	// As the kubelet does after its own restart, and after the driver's, with the NICs in the pod.
	n.attach("a", 2, 5)
	stop()
	n.start()
	again, refused := n.prepare(c)
	if !slices.Equal(again, devices) || refused != "" || read() != want {
		t.Errorf("again: %v, %s, %s", again, refused, read())
	}
	if refused := n.unprepare(c); !strings.Contains(refused, "claim training/claim-c1: NIC ens13np0 is still in pod training/pod-a") {
		t.Errorf("with its NICs in the pod: %q", refused)
	}
	if !strings.Contains(n.Logs.String(), "a claim cannot be ended yet") {
		t.Errorf("logged:\n%s", n.Logs)
	}
	records, _, err := n.Journal.List()
	n.Must(err)
	for _, r := range records {
		n.Must(n.Journal.Remove(r.ID()))
	}
	for range 2 {
		if refused := n.unprepare(c); refused != "" {
			t.Errorf("with its NICs back: %s", refused)
		}
	}
	files, err := os.ReadDir(n.options.CDIDir)
	n.Must(err)
	if read() != "null" || len(files) != 0 {
		t.Errorf("left: %s, %v", read(), files)
	}
}

func TestANICThatCameBackWithoutADelEndsItsClaim(t *testing.T) {
	n := newTestNode(t)
	back := netlink.LinkAttrs{Index: 101, Name: "rail2", ParentDevBus: "pci", ParentDev: n.guide.Rails[1].PCI, PermHWAddr: mac(t, n.guide.Rails[1].MAC)}
	n.links = node.Links(append(n.guide.Links(), back)...)
	n.start()
	c := n.claim("c1", "a", n.rails(1))
	if _, refused := n.prepare(c); refused != "" {
		t.Fatal(refused)
	}
	n.attach("a", 1)
	if refused := n.unprepare(c); refused != "" {
		t.Errorf("%s", refused)
	}
}

// Without the rescue nobody but the next ADD puts it right.
func TestANICThatCameBackWithoutADelIsNotTaken(t *testing.T) {
	n := newTestNode(t)
	back := netlink.LinkAttrs{Index: 101, Name: "rail2", ParentDevBus: "pci", ParentDev: n.guide.Rails[1].PCI, PermHWAddr: mac(t, n.guide.Rails[1].MAC)}
	n.links = node.Links(append(n.guide.Links(), back)...)
	n.attach("a", 1, 2)
	v, _ := n.idle().look(n.Ctx)
	for rail, taken := range map[int]bool{1: false, 2: true} {
		if of := v.find(n.rails(rail)[0]); of.taken != taken || of.Holder == nil {
			t.Errorf("%s: taken %t, held by %v", of.name, of.taken, of.Holder)
		}
	}
}

func TestWhatCannotBePreparedIsRefusedInOneLine(t *testing.T) {
	n := newTestNode(t)
	n.Must(n.RemoveCharDevices(n.guide.Rails[3]))
	n.start()
	if _, refused := n.prepare(n.claim("c0", "f", n.rails(7))); refused != "" {
		t.Fatal(refused)
	}
	truth := true
	for want, c := range map[string]*resourceapi.ResourceClaim{
		"2 pods share it, and a NIC can be in one only": func() *resourceapi.ResourceClaim {
			c := n.claim("c1", "a", n.rails(0))
			c.Status.ReservedFor = append(c.Status.ReservedFor, resourceapi.ResourceClaimConsumerReference{Resource: "pods", Name: "b", UID: "b"})
			return n.api.add(c)
		}(),
		"which is no pod": func() *resourceapi.ResourceClaim {
			c := n.claim("c2", "a", n.rails(0))
			c.Status.ReservedFor[0].Resource = "podgroups"
			return n.api.add(c)
		}(),
		"has adminAccess": func() *resourceapi.ResourceClaim {
			c := n.claim("c3", "a", n.rails(0))
			c.Status.Allocation.Devices.Results[0].AdminAccess = &truth
			return n.api.add(c)
		}(),
		`parameters of the claim: unknown key "mtuu"`:           n.claim("c4", "a", n.rails(0), `{"mtu": 1500}`, `{"mtuu": 1}`),
		"parameters of the DeviceClass: json: cannot unmarshal": n.claim("c5", "a", n.rails(0), `["mtu"]`),
		"device 0000-ff-00-0 of pool node1 is not on this node": n.claim("c6", "a", []string{"0000-ff-00-0"}),
		"of pool node2 is not on this node": func() *resourceapi.ResourceClaim {
			c := n.claim("c9", "a", n.rails(0))
			c.Status.Allocation.Devices.Results[0].Pool = "node2"
			return n.api.add(c)
		}(),
		"no device behind it has a uverbs character device":   n.claim("c7", "a", n.rails(3)),
		"claim training/claim-c0 has device " + n.rails(7)[0]: n.claim("c8", "a", n.rails(6, 7)),
	} {
		if _, refused := n.prepare(c); !strings.Contains(refused, want) || !strings.HasPrefix(refused, "claim training/claim-") || strings.Contains(refused, "\n") {
			t.Errorf("%q\nwant %q", refused, want)
		}
	}
	claims, _, err := claim.List(n.State())
	n.Must(err)
	files, err := os.ReadDir(n.options.CDIDir)
	n.Must(err)
	if len(claims) != 1 || len(files) != 1 {
		t.Errorf("%d claims and %d specs are written", len(claims), len(files))
	}
}

func TestAClaimThatCannotBePreparedKeepsNoOtherBack(t *testing.T) {
	n := newTestNode(t)
	n.start()
	var claims []*resourceapi.ResourceClaim
	for i, device := range []string{"0000-ff-00-0", n.rails(1)[0], "0000-ff-00-1"} {
		claims = append(claims, n.claim(fmt.Sprint("c", i), "a", []string{device}))
	}
	got := n.answers(claims...)
	if len(got) != 3 || got["c0"].Error == "" || got["c1"].Error != "" || len(got["c1"].Devices) != 1 || got["c2"].Error == "" {
		t.Errorf("%+v", got)
	}
}

func TestAClaimIsDescribedIfItsResourceAsksForIt(t *testing.T) {
	n := newTestNode(t)
	n.Write("config.json", strings.Replace(hcaGPU, `"rdmaHcaMax": 8`, `"rdmaHcaMax": 8, "env": true`, 1))
	n.start()
	devices, refused := n.prepare(n.claim("c1", "a", n.rails(2)))
	if refused != "" {
		t.Fatal(refused)
	}
	_, rest := n.spec(devices)
	if want := `RDMA_DEVICES=[{"rdma":"mlx5_2","netdev":"ens13np0","pci":"0000:43:00.0","numa":0,"gidIndex":3}]`; !slices.Contains(rest, want) || !slices.Contains(rest, "NCCL_IB_HCA==mlx5_2") {
		t.Errorf("%q, want %s", rest, want)
	}
}

func TestANICThatSomebodyElseMovedStaysADevice(t *testing.T) {
	n := newTestNode(t)
	stop := n.start()
	n.Until("eight devices", func() bool { return len(n.published()) == 8 })
	stop()
	n.Must(n.TakeNetdev(n.guide.Rails[3])) // and wrote nothing down
	n.start()
	n.Until("it is taken", func() bool { return len(n.published()[n.rails(3)[0]].Taints) == 1 })
	if d := text(n.published()[n.rails(3)[0]]); len(n.published()) != 8 || d["ifName"] != n.guide.Rails[3].Netdev {
		t.Errorf("%d devices, and %v", len(n.published()), d)
	}
}

func TestAClaimThatKubernetesForgotMakesRoom(t *testing.T) {
	for name, forget := range map[string]func(*api, *resourceapi.ResourceClaim){
		"it is gone":                 func(a *api, c *resourceapi.ResourceClaim) { delete(a.claims, "training/"+c.Name) },
		"another has its name":       func(_ *api, c *resourceapi.ResourceClaim) { c.UID = "another" },
		"it has lost its allocation": func(_ *api, c *resourceapi.ResourceClaim) { c.Status.Allocation = nil },
		"it is on another node":      func(_ *api, c *resourceapi.ResourceClaim) { c.Status.Allocation.Devices.Results[0].Pool = "node2" },
		"it has another device":      func(_ *api, c *resourceapi.ResourceClaim) { c.Status.Allocation.Devices.Results[0].Device = "x" },
		"another driver's is called so": func(_ *api, c *resourceapi.ResourceClaim) {
			c.Status.Allocation.Devices.Results[0].Driver = "gpu.example.com"
		},
		"nothing of that": nil,
	} {
		t.Run(name, func(t *testing.T) {
			n := newTestNode(t)
			n.start()
			if _, refused := n.prepare(n.claim("c1", "a", n.rails(0))); refused != "" {
				t.Fatal(refused)
			}
			if forget != nil {
				n.api.mu.Lock()
				forget(n.api, n.api.claims["training/claim-c1"])
				n.api.mu.Unlock()
			}
			if _, refused := n.prepare(n.claim("c2", "b", n.rails(0))); (refused == "") != (forget != nil) {
				t.Errorf("refused: %q", refused)
			}
		})
	}
}

func TestNoPodBeginsOnANodeWhoseNetworkDoesNotAskForClaims(t *testing.T) {
	n := newTestNode(t)
	n.options.Chained = func() error { return fmt.Errorf("roce-host-device is not in the list") }
	n.start()
	if _, refused := n.prepare(n.claim("c1", "a", n.rails(0))); !strings.Contains(refused, "roce-host-device is not in the list") {
		t.Errorf("%q", refused)
	}
}

func TestACharacterDeviceWithAnotherNumberIsInTheSpec(t *testing.T) {
	n := newTestNode(t)
	n.start()
	devices, refused := n.prepare(n.claim("c1", "a", n.rails(2)))
	if refused != "" {
		t.Fatal(refused)
	}
	h := n.guide.Rails[2]
	n.Must(n.RemoveCharDevices(h))
	h.Number = 42
	n.Must(n.Add(h))
	n.Until("the spec follows", func() bool {
		nodes, _ := n.spec(devices)
		return slices.Equal(nodes, []string{"rdma_cm", "uverbs42"})
	})
}

func TestAnIllDeviceIsTaintedAndItsPodKnows(t *testing.T) {
	n := newTestNode(t)
	n.start()
	n.Until("eight devices", func() bool { return len(n.published()) == 8 })
	name := n.rails(2)[0]
	if h := n.health()[name]; h.GetHealth() != drahealthv1.HealthStatus_HEALTHY {
		t.Errorf("%v", h)
	}
	n.setPort(2, "DOWN", "Polling")
	n.Until("it is tainted", func() bool {
		taints := n.published()[name].Taints
		return len(taints) == 1 && taints[0].Key == "roce-k8s.io/link-down" && taints[0].Effect == resourceapi.DeviceTaintEffectNoSchedule
	})
	if h := n.health()[name]; h.GetHealth() != drahealthv1.HealthStatus_UNHEALTHY || h.GetMessage() != "its port is DOWN, Polling" {
		t.Errorf("%v", h)
	}
	n.setPort(2, "ACTIVE", "LinkUp")
	n.Until("it is not", func() bool { return len(n.published()[name].Taints) == 0 })
	n.Must(n.Unplug(n.guide.Rails[2]))
	n.Until("it is unusable", func() bool {
		taints := n.published()[name].Taints
		return len(taints) == 1 && taints[0].Key == "roce-k8s.io/unusable"
	})
}

func TestANICOfAPodWithoutAClaimIsNotAllocated(t *testing.T) {
	n := newTestNode(t)
	n.start()
	n.Until("eight devices", func() bool { return len(n.published()) == 8 })
	name := n.rails(2)[0]
	records := n.attach("a", 2) // by Multus, from before the node changed over
	n.Until("it is taken", func() bool {
		taints := n.published()[name].Taints
		return len(taints) == 1 && taints[0].Key == "roce-k8s.io/taken"
	})
	n.Must(n.ReturnNetdev(n.guide.Rails[2]))
	n.Must(n.Journal.Remove(records[0].ID()))
	n.Until("it is free", func() bool { return len(n.published()[name].Taints) == 0 })
}

func TestClaimsThatCannotBeReadMakeNoNICOneThatIsTaken(t *testing.T) {
	n := newTestNode(t)
	n.start()
	c := n.claim("c1", "a", n.rails(2))
	n.api.add(c)
	if _, refused := n.prepare(c); refused != "" {
		t.Fatal(refused)
	}
	n.attach("a", 2)
	n.Until("the status has it", func() bool { return len(n.api.claim("training", "claim-c1").Status.Devices) == 1 })
	n.Must(os.Chmod(claim.Dir(n.State()), 0o777)) // of no use to root any more
	n.attach("b", 5)
	n.Until("it says so", func() bool {
		return strings.Contains(n.Logs.String(), "containers of claims may not get their devices")
	})
	if _, refused := n.prepare(n.claim("c2", "c", n.rails(4))); refused == "" {
		t.Error("a claim was prepared, and nobody knows which others there are")
	}
	for name, d := range n.published() {
		if len(d.Taints) > 0 {
			t.Errorf("%s has the taints %v", name, d.Taints)
		}
	}
	n.Must(os.Chmod(claim.Dir(n.State()), 0o700))
	n.Until("what is taken is", func() bool { return len(n.published()[n.rails(5)[0]].Taints) == 1 })
	if d := n.published()[n.rails(2)[0]]; len(d.Taints) > 0 {
		t.Errorf("the claim's NIC has the taints %v", d.Taints)
	}
}

// The next look would have it written, too, but may be long in coming.
func TestAStatusThatCannotBeWrittenIsTriedAgain(t *testing.T) {
	n := newTestNode(t)
	c := n.api.add(n.claim("c1", "a", n.rails(2)))
	n.api.refuseStatuses(1)
	r := newDriver(n.options, n.Journal, n.links, nil).reporter
	r.want(map[string]status{string(c.UID): {
		claim:   claim.Claim{Namespace: c.Namespace, Name: c.Name, UID: string(c.UID)},
		devices: []resourceapi.AllocatedDeviceStatus{{Driver: DriverName, Pool: "node1", Device: n.rails(2)[0]}},
	}})
	ctx, stop := context.WithCancel(n.Ctx)
	var running sync.WaitGroup
	running.Go(func() { r.run(ctx) })
	defer running.Wait()
	defer stop()
	n.Until("the status has it", func() bool { return len(n.api.claim(c.Namespace, c.Name).Status.Devices) == 1 })
	if !strings.Contains(n.Logs.String(), "cannot write the status of a claim yet") {
		t.Errorf("it was not refused: %s", n.Logs.String())
	}
}

func TestAStatusIsForTheClaimThatHasItsNICsAndNotForWhatHasItsName(t *testing.T) {
	n := newTestNode(t)
	r := newDriver(n.options, n.Journal, n.links, nil).reporter
	for what, tt := range map[string]struct {
		change func(*resourceapi.ResourceClaim)
		want   int
	}{
		"as it was":     {func(*resourceapi.ResourceClaim) {}, 1},
		"another claim": {func(c *resourceapi.ResourceClaim) { c.UID = "another" }, 0},
		"given up":      {func(c *resourceapi.ResourceClaim) { c.Status.Allocation = nil }, 0},
	} {
		c := n.claim("c1", "a", n.rails(2))
		s := status{
			claim:   claim.Claim{Namespace: c.Namespace, Name: c.Name, UID: string(c.UID)},
			devices: []resourceapi.AllocatedDeviceStatus{{Driver: DriverName, Pool: "node1", Device: n.rails(2)[0]}},
		}
		tt.change(c)
		n.api.add(c)
		n.Must(r.one(n.Ctx, s))
		version := n.api.claim(c.Namespace, c.Name).ResourceVersion
		n.Must(r.one(n.Ctx, s)) // and is not written again
		if got := n.api.claim(c.Namespace, c.Name); len(got.Status.Devices) != tt.want || got.ResourceVersion != version {
			t.Errorf("%s: %+v", what, got.Status.Devices)
		}
	}
	n.Must(r.one(n.Ctx, status{claim: claim.Claim{Namespace: "training", Name: "gone", UID: "gone"}}))
}

func TestAStatusIsWrittenUntilItIsThereAndNotAgain(t *testing.T) {
	n := newTestNode(t)
	var requests atomic.Int64
	n.options.Client = n.api.client(func(next http.RoundTripper) http.RoundTripper { return counting{next, &requests} })
	r := newDriver(n.options, n.Journal, n.links, nil).reporter
	all := map[string]status{}
	for i, uid := range []string{"c1", "c2"} {
		c := n.claim(uid, "a", n.rails(i))
		all[uid] = status{
			claim:   claim.Claim{Namespace: c.Namespace, Name: c.Name, UID: uid},
			devices: []resourceapi.AllocatedDeviceStatus{{Driver: DriverName, Pool: "node1", Device: n.rails(i)[0]}},
		}
	}
	n.api.refuseStatuses(1)
	for i, step := range []struct {
		all      map[string]status
		requests int64
		failed   bool
	}{{all, 4, true}, {all, 2, false}, {all, 0, false}, {nil, 0, false}, {all, 2, false}} { // what ended and is there again is looked at again
		requests.Store(0)
		err := r.write(n.Ctx, step.all)
		if (err != nil) != step.failed || err != nil && !strings.HasPrefix(err.Error(), "claim training/claim-c") || requests.Load() != step.requests {
			t.Errorf("step %d: %v, %d requests", i, err, requests.Load())
		}
	}
	for _, uid := range []string{"c1", "c2"} {
		if got := n.api.claim("training", "claim-"+uid).Status.Devices; len(got) != 1 {
			t.Errorf("%s: %+v", uid, got)
		}
	}
	r.want(all)
	r.want(map[string]status{"c1": all["c1"]})
	if newest := <-r.wanted; len(newest) != 1 {
		t.Errorf("%d statuses are wanted", len(newest))
	}
}

// counting counts requests.
type counting struct {
	next  http.RoundTripper
	count *atomic.Int64
}

func (c counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.count.Add(1)
	return c.next.RoundTrip(r)
}

func TestTheClaimSaysWhatItsPodHas(t *testing.T) {
	n := newTestNode(t)
	n.start()
	c := n.claim("c1", "a", n.rails(2, 5))
	checked := []metav1.Condition{{Type: "Checked", Status: metav1.ConditionTrue}} // by somebody else
	c.Status.Devices = []resourceapi.AllocatedDeviceStatus{
		{Driver: "another", Pool: "p", Device: "d"}, {Driver: DriverName, Pool: "node2", Device: n.rails(2)[0]}, {Driver: DriverName, Pool: "node1", Device: n.rails(2)[0], Conditions: checked},
	}
	n.api.add(c)
	if _, refused := n.prepare(c); refused != "" {
		t.Fatal(refused)
	}
	n.attach("a", 2, 5)
	n.Until("the status has both", func() bool { return len(n.api.claim("training", "claim-c1").Status.Devices) == 4 })
	if other := n.api.claim("training", "claim-c1").Status.Devices[1]; other.NetworkData != nil {
		t.Errorf("another node's: %+v", other)
	}
	d := n.api.claim("training", "claim-c1").Status.Devices[2]
	if got := strings.Join(d.NetworkData.IPs, " "); got != "172.31.2.1/24" {
		t.Errorf("addresses %s", got)
	}
	if len(d.Conditions) != 1 || d.Driver != DriverName || d.Pool != "node1" || d.Device != n.rails(2)[0] || d.NetworkData.InterfaceName != "rail3" || d.NetworkData.HardwareAddress != n.guide.Rails[2].MAC {
		t.Errorf("%+v", d)
	}
}

func TestPodsEndWithoutTheAPIServer(t *testing.T) {
	n := newTestNode(t)
	n.start()
	c := n.claim("c1", "a", n.rails(2))
	if _, refused := n.prepare(c); refused != "" {
		t.Fatal(refused)
	}
	n.api.mu.Lock()
	n.api.refuse = true
	n.api.mu.Unlock()
	if refused := n.unprepare(c); refused != "" {
		t.Error(refused)
	}
}

func TestManyDevicesAreInAsManySlicesAsTheAPIWants(t *testing.T) {
	for devices, want := range map[int]int{0: 1, 1: 1, 64: 1, 65: 2, 512: 8} {
		all := slicesOf(make([]resourceapi.Device, devices))
		most := 0
		for _, s := range all {
			most = max(most, len(s.Devices))
		}
		if len(all) != want || most > resourceapi.ResourceSliceMaxDevicesWithAdvancedFeatures {
			t.Errorf("%d devices: %d slices of at most %d", devices, len(all), most)
		}
	}
}

func TestABadFileOfAttributesIsRefusedWithItsLine(t *testing.T) {
	many := "x: {"
	for i := range mostExtras + 1 {
		many += fmt.Sprintf("a%d: 1, ", i)
	}
	for content, want := range map[string]string{
		"[]":                    "line 1: the file is not an object",
		"ens1:\n- a":            `line 2: "ens1" is not an object`,
		"\nens[: {a: 1}":        `line 2: "ens[" is not a shell pattern`,
		"x: {a b: 1}":           `line 1: attribute "a b": use a name of at most 32 letters`,
		"x: {Example.com/a: 1}": "use a name",
		"x: {a: 1.5}":           "use a whole number, true, false or a text of at most 64 characters",
		"x: {a: " + strings.Repeat("a", 65) + "}": "use a whole number",
		many + "}": "is number 20; a device has room for 19",
		"{":        "neither JSON nor YAML",
	} {
		if _, err := parseExtras([]byte(content)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", content, err)
		}
	}
	if all, _, err := readExtras(filepath.Join(t.TempDir(), "none")); len(all) > 0 || err != nil {
		t.Errorf("no file: %v, %v", all, err)
	}
}

func TestParametersAreForTheirRequestsAlone(t *testing.T) {
	parameters := func(text string, requests ...string) resourceapi.DeviceAllocationConfiguration {
		c := resourceapi.DeviceAllocationConfiguration{Source: resourceapi.AllocationConfigSourceClaim, Requests: requests}
		c.Opaque = &resourceapi.OpaqueDeviceConfiguration{Driver: DriverName, Parameters: runtime.RawExtension{Raw: []byte(text)}}
		return c
	}
	others := parameters(`{"speed": "fast"}`)
	others.Opaque.Driver = "gpu.example.com"
	a := &resourceapi.AllocationResult{Devices: resourceapi.DeviceAllocationResult{Config: []resourceapi.DeviceAllocationConfiguration{
		others, parameters(`{"mtu": 1}`, "a"), parameters(`{"mtu": 2}`, "b"), parameters(`{"ipam": {}}`, "b/fast"), parameters(`{}`, "d"),
	}}}
	for request, want := range map[string]string{"a": `{"mtu":1}`, "b/fast": `{"ipam":{},"mtu":2}`, "b/any": `{"mtu":2}`, "c": "", "d": "{}"} {
		if got, err := networkOf(a, request, func(json.RawMessage) error { return nil }); string(got) != want || err != nil {
			t.Errorf("%s: %s, %v; want %s", request, got, err, want)
		}
	}
}

// A move in exclusive mode takes all character devices away for some tens of
// milliseconds.
func TestADeviceThatMovesIsWaitedFor(t *testing.T) {
	n := newTestNode(t)
	n.Write("config.json", quiet)
	n.Must(n.RemoveCharDevices(n.guide.Rails[3]))
	n.start()
	n.Until("eight devices", func() bool { return len(n.published()) == 8 })
	looks := func() uint64 {
		var m dto.Metric
		if err := n.options.Metrics.rescanTime.Write(&m); err != nil {
			t.Error(err)
		}
		return m.Histogram.GetSampleCount()
	}
	c, before := n.claim("c1", "a", n.rails(3)), looks()
	go func() {
		for looks() == before && n.Ctx.Err() == nil { // the claim's first
			time.Sleep(time.Millisecond)
		}
		if err := n.Add(n.guide.Rails[3]); err != nil {
			t.Error(err)
		}
	}()
	if _, refused := n.prepare(c); refused != "" {
		t.Error(refused)
	}
}

func TestOnlyWhatIsAttachedIsInTheStatus(t *testing.T) {
	n := newTestNode(t)
	n.start()
	if _, refused := n.prepare(n.claim("c1", "a", n.rails(2, 5))); refused != "" {
		t.Fatal(refused)
	}
	records := n.attach("a", 2, 5)
	records[0].Step = attachment.Prepared
	n.Must(n.Journal.Update(records[0]))
	n.Until("one is there", func() bool {
		devices := n.api.claim("training", "claim-c1").Status.Devices
		return len(devices) > 0 && devices[len(devices)-1].Device == n.rails(5)[0]
	})
	claims, _, err := claim.List(n.State())
	n.Must(err)
	records, _, err = n.Journal.List()
	n.Must(err)
	if s := statusesOf(claims, records, "node1"); len(s["c1"].devices) != 1 || s["c1"].devices[0].Device != n.rails(5)[0] {
		t.Errorf("%+v", s)
	}
}

func TestTheSocketsOfAnInstanceThatWasKilledAreRemovedAndOthersStay(t *testing.T) {
	n := newTestNode(t)
	n.Must(os.MkdirAll(dataDir(n.Dir), 0o750))
	open := func(path string) *net.UnixListener {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		n.Must(err)
		l.SetUnlinkOnClose(false)
		return l
	}
	var dead, alive []string
	for _, path := range []string{registryDir(n.Dir) + "/" + DriverName + "-%s-reg.sock", dataDir(n.Dir) + "/dra-%s.sock", registryDir(n.Dir) + "/gpu.example.com-%s-reg.sock"} {
		dead, alive = append(dead, fmt.Sprintf(path, "1")), append(alive, fmt.Sprintf(path, "2"))
	}
	alive = append(alive, dead[2]) // another driver's
	for _, path := range dead {
		n.Must(open(path).Close())
	}
	for _, path := range alive[:3] {
		defer open(path).Close()
	}
	n.start()
	for _, path := range alive {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	for _, path := range dead[:2] {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
}

func TestASocketThatIsRemovedEndsTheProgram(t *testing.T) {
	for _, podUID := range []string{"", "01234567-89ab-cdef-0123-456789abcdef"} {
		for i, what := range []string{"registration", "calls"} {
			t.Run(what+" "+podUID, func(t *testing.T) {
				n := newTestNode(t)
				n.options.PodUID = podUID
				config, err := readFiles(n.options.ConfigFile, n.options.AttributesFile)
				n.Must(err)
				ctx, stop := context.WithCancel(n.Ctx)
				defer stop()
				ended := make(chan error, 1)
				go func() { ended <- newDriver(n.options, n.Journal, n.links, nil).run(ctx, config) }()
				all := ownSockets(n.Dir, podUID)
				n.Until("both are there", func() bool { return exists(all[0]) && exists(all[1]) })
				n.Must(os.Remove(all[i]))
				n.Until("it ends", func() bool {
					select {
					case err = <-ended:
						return true
					default:
						return false
					}
				})
				if err == nil || !strings.Contains(err.Error(), "somebody removed the socket "+all[i]) {
					t.Errorf("it ended with %v", err)
				}
			})
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// quiet has no looks at intervals, and a mode that wants a note.
var quiet = strings.Replace(hcaGPU, `Interval": 1, "configList": [{`, `Interval": 0, "configList": [{"mode": "hca", `, 1)

func TestWhatChangesIsSeenWithoutLooksAtIntervals(t *testing.T) {
	n := newTestNode(t)
	n.Write("config.json", quiet)
	n.Must(n.TakePorts(n.guide.Rails[4]))
	n.start()
	n.Until("eight devices", func() bool { return len(n.published()) == 8 })
	if !strings.Contains(n.Logs.String(), "a note on the configuration") {
		t.Errorf("logged:\n%s", n.Logs)
	}
	tainted := func(rail int) bool { return len(n.published()[n.rails(rail)[0]].Taints) == 1 }
	n.Until("a port is missing", func() bool { return tainted(4) })
	n.Must(n.ReturnRDMA(n.guide.Rails[4]))
	n.Until("the port that came late is there", func() bool { return !tainted(4) })
	n.Must(n.RemoveCharDevices(n.guide.Rails[2]))
	_, err := n.driver.fresh(n.Ctx)
	n.Must(err)
	n.Until("what turned has settled", func() bool { return tainted(2) })
	n.attach("a", 5)
	n.Until("the journal is followed", func() bool { return tainted(5) })
	n.Write("config.json", strings.Replace(quiet, "ens1[1-8]np0", "ens1[2-8]np0", 1))
	n.Until("the configuration is", func() bool { return len(n.published()) == 7 })
}

func TestANodeThatCannotBeReadYetIsReadLater(t *testing.T) {
	n := newTestNode(t)
	n.Write("config.json", quiet)
	mend := n.blind()
	n.start()
	n.Until("a look has failed", func() bool { return strings.Contains(n.Logs.String(), "cannot read the node's RDMA devices") })
	if _, err := n.driver.fresh(n.Ctx); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("%v", err)
	}
	mend()
	n.Until("eight devices", func() bool { return len(n.published()) == 8 })
}

// blind makes the node one that cannot be read.
func (n *testNode) blind() (mend func()) {
	n.Helper()
	class := filepath.Join(n.Sys(), "class/infiniband")
	n.Must(os.Rename(class, class+"-away"))
	n.Must(os.WriteFile(class, nil, 0o600))
	return func() {
		n.Must(os.Remove(class))
		n.Must(os.Rename(class+"-away", class))
	}
}

func TestLooksThatFailAreSaidOnceAndChangeNothing(t *testing.T) {
	n := newTestNode(t)
	d := n.idle()
	seen, _ := d.look(n.Ctx)
	for round := 1; round < 3; round++ {
		mend := n.blind()
		for range 2 {
			if v, _ := d.look(n.Ctx); v != nil || d.looking() != 0 {
				t.Errorf("%+v, and a look for %s", v, d.looking())
			}
		}
		if now, _ := d.current(); len(seen.devices) != 8 || now != seen || strings.Count(n.Logs.String(), "cannot read the node's RDMA devices") != round {
			t.Errorf("%+v, was %+v\n%s", now, seen, n.Logs)
		}
		mend()
		seen, _ = d.look(n.Ctx)
	}
}

// idle is a driver that does nothing by itself.
func (n *testNode) idle() *driver {
	n.Helper()
	d := newDriver(n.options, n.Journal, n.links, nil)
	var err error
	d.config, err = readFiles(n.options.ConfigFile, n.options.AttributesFile)
	n.Must(err)
	return d
}

func TestAReloadSaysOnceWhatIsWrongAndTakesWhatIsRight(t *testing.T) {
	const invalid = "the changed configuration is invalid; the old one stays in force"
	n := newTestNode(t)
	d := n.idle()
	other := strings.Replace(hcaGPU, `"rdmaHcaMax": 8`, `"rdmaHcaMax": 0`, 1)
	for i, step := range []struct {
		file  string
		taken bool
		said  []string
	}{
		{hcaGPU, false, nil}, {"{}", false, []string{invalid}}, {"{}", false, nil},
		{hcaGPU, false, nil}, {"{}", false, []string{invalid}},
		{strings.Replace(hcaGPU, "[1-8]", "[1-8", 1), false, []string{invalid}}, // a running driver keeps what is right
		{other, true, []string{"a note on the configuration", "configuration reloaded"}}, {other, false, nil},
		{"{}", false, []string{invalid}},
	} {
		before := len(n.Logs.String())
		n.Write("config.json", step.file)
		taken := d.reload()
		var said []string
		for line := range strings.Lines(n.Logs.String()[before:]) {
			_, message, _ := strings.Cut(line, `msg="`)
			message, _, _ = strings.Cut(message, `"`)
			said = append(said, message)
		}
		if taken != step.taken || !slices.Equal(said, step.said) {
			t.Errorf("step %d: taken %v, said %q", i, taken, said)
		}
	}
	if d.config.Resources[0].Units != 0 {
		t.Errorf("%+v", d.config.Resources)
	}
}

func TestSpecsThatCannotBeWrittenAreAllSaid(t *testing.T) {
	n := newTestNode(t)
	n.Write("cdi", "a file where the folder should be")
	d := n.idle()
	for i, uid := range []string{"c1", "c2"} {
		n.Must(claim.Write(n.State(), claim.Claim{UID: uid, Namespace: "training", Name: uid, Pod: attachment.Pod{UID: "a"},
			Devices: []claim.Device{{Name: n.rails(i)[0], Bus: "pci", Address: n.guide.Rails[i].PCI}}}))
	}
	for range 2 {
		d.look(n.Ctx)
	}
	if strings.Count(n.Logs.String(), "containers of claims may not get their devices") != 1 || strings.Count(n.Logs.String(), "write the CDI spec: ") != 2 {
		t.Errorf("logged:\n%s", n.Logs)
	}
}

func TestTheDriversFolderIsNotForOthers(t *testing.T) {
	n := newTestNode(t)
	n.start()
	if info, err := os.Stat(dataDir(n.Dir)); err != nil || info.Mode().Perm()&0o007 != 0 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestALookThatDoesNotReturnEndsTheProgram(t *testing.T) {
	n := newTestNode(t)
	file := filepath.Join(n.Sys(), "class/infiniband/mlx5_0/ports/1/state")
	n.Must(os.Remove(file))
	n.Must(unix.Mkfifo(file, 0o600)) // nothing ever comes out of it
	n.options.Stuck = 100 * time.Millisecond
	config, err := readFiles(n.options.ConfigFile, n.options.AttributesFile)
	n.Must(err)
	err = newDriver(n.options, n.Journal, n.links, nil).run(n.Ctx, config)
	if err == nil || !strings.Contains(err.Error(), "has not returned for") {
		t.Errorf("it ended with %v", err)
	}
	var hanging *os.File // the look ends; on a busy machine it has only just got there
	n.Until("somebody reads", func() bool {
		hanging, err = os.OpenFile(file, os.O_WRONLY|unix.O_NONBLOCK, 0)
		return err == nil
	})
	n.Must(hanging.Close())
}
