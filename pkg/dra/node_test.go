package dra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	drahealthv1 "k8s.io/kubelet/pkg/apis/dra-health/v1"
	drapb "k8s.io/kubelet/pkg/apis/dra/v1"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

// A testNode is the guide's node, simulated, with the driver on it.
type testNode struct {
	*node.Node
	api     *api
	guide   node.FakeGuideNode
	options Options
	driver  *driver // that was started last
	links   func(context.Context) ([]netlink.Link, error)
}

const hcaGPU = `{"periodicUpdateInterval": 1, "configList": [{"resourceName": "hca_gpu", "rdmaHcaMax": 8, "healthPolicy": "link", "selectors": {"ifNames": ["ens1[1-8]np0"]}}]}`

func newTestNode(t *testing.T) *testNode {
	t.Helper()
	n := &testNode{Node: node.New(t), api: newAPI(t), guide: node.NewFakeGuideNode()}
	n.Must(n.guide.Add(n.Tree))
	n.links = node.Links(n.guide.Links()...)
	n.Write("config.json", hcaGPU)
	n.Must(os.MkdirAll(filepath.Join(n.Dir, "plugins_registry"), 0o750))
	metrics := NewMetrics("v1.2.3", n.State())
	n.options = Options{
		Client: n.api.client(metrics.Count), Metrics: metrics,
		NodeName: "node1", ConfigFile: filepath.Join(n.Dir, "config.json"), AttributesFile: filepath.Join(n.Dir, "attributes.yaml"),
		KubeletDir: n.Dir, StateDir: n.State(), CDIDir: filepath.Join(n.Dir, "cdi"), Proc: filepath.Join(n.Dir, "proc"), Node: n.RDMA(), Log: n.Log(),
		Hook: "/opt/cni/bin/roce-host-device", Chained: func() error { return nil },
		CheckNetwork: func(keys json.RawMessage) error {
			if strings.Contains(string(keys), "mtuu") {
				return errors.New(`unknown key "mtuu"`)
			}
			return nil
		},
	}
	return n
}

// start runs the driver until the returned function is called, or to the end of
// the test. What ends it may be as sudden as a kill: nothing is done at the end.
func (n *testNode) start() (stop func()) {
	n.Helper()
	ctx, cancel := context.WithCancel(n.Ctx)
	config, err := readFiles(n.options.ConfigFile, n.options.AttributesFile)
	n.Must(err)
	d := newDriver(n.options, n.Journal, n.links, nil)
	n.driver = d
	done := make(chan error, 1)
	go func() { done <- d.run(ctx, config) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			n.Errorf("run: %v", err)
		}
	})
	n.Cleanup(stop)
	n.Until("the kubelet can call", func() bool {
		_, err := os.Stat(n.socket("plugins_registry/" + DriverName + "-reg.sock"))
		return err == nil
	})
	return stop
}

func (n *testNode) socket(path string) string { return filepath.Join(n.Dir, path) }

func (n *testNode) dial(path string) *grpc.ClientConn {
	n.Helper()
	c, err := grpc.NewClient("unix://"+n.socket(path), grpc.WithTransportCredentials(insecure.NewCredentials()))
	n.Must(err)
	n.Cleanup(func() { c.Close() })
	return c
}

// register does what a kubelet that starts does.
func (n *testNode) register() {
	n.Helper()
	c := registerapi.NewRegistrationClient(n.dial("plugins_registry/" + DriverName + "-reg.sock"))
	info, err := c.GetInfo(n.Ctx, &registerapi.InfoRequest{})
	n.Must(err)
	if info.Name != DriverName {
		n.Errorf("it calls itself %s", info.Name)
	}
	_, err = c.NotifyRegistrationStatus(n.Ctx, &registerapi.RegistrationStatus{PluginRegistered: true})
	n.Must(err)
}

func (n *testNode) kubelet() drapb.DRAPluginClient {
	return drapb.NewDRAPluginClient(n.dial("plugins/" + DriverName + "/dra.sock"))
}

// answers are the driver's to one call for claims, by their UIDs.
func (n *testNode) answers(claims ...*resourceapi.ResourceClaim) map[string]*drapb.NodePrepareResourceResponse {
	n.Helper()
	request := &drapb.NodePrepareResourcesRequest{}
	for _, c := range claims {
		request.Claims = append(request.Claims, &drapb.Claim{Namespace: c.Namespace, Name: c.Name, Uid: string(c.UID)})
	}
	answer, err := n.kubelet().NodePrepareResources(n.Ctx, request)
	n.Must(err)
	return answer.Claims
}

// prepare calls the driver for a claim, and returns the CDI devices that it gets.
func (n *testNode) prepare(c *resourceapi.ResourceClaim) (cdi []string, refused string) {
	n.Helper()
	answer := n.answers(c)[string(c.UID)]
	for _, d := range answer.GetDevices() {
		cdi = append(cdi, d.CdiDeviceIds...)
	}
	return cdi, answer.GetError()
}

func (n *testNode) unprepare(c *resourceapi.ResourceClaim) (refused string) {
	n.Helper()
	answer, err := n.kubelet().NodeUnprepareResources(n.Ctx, &drapb.NodeUnprepareResourcesRequest{
		Claims: []*drapb.Claim{{Namespace: c.Namespace, Name: c.Name, Uid: string(c.UID)}},
	})
	n.Must(err)
	return answer.Claims[string(c.UID)].GetError()
}

// health is the first report on the devices, by their names.
func (n *testNode) health() map[string]*drahealthv1.DeviceHealth {
	n.Helper()
	ctx, cancel := context.WithCancel(n.Ctx)
	defer cancel()
	stream, err := drahealthv1.NewDRAResourceHealthClient(n.dial("plugins/"+DriverName+"/dra.sock")).NodeWatchResources(ctx, &drahealthv1.NodeWatchResourcesRequest{})
	n.Must(err)
	report, err := stream.Recv()
	n.Must(err)
	all := map[string]*drahealthv1.DeviceHealth{}
	for _, d := range report.Devices {
		all[d.Device.DeviceName] = d
	}
	return all
}

// rails are the names in ResourceSlices of some of the guide's NICs.
func (n *testNode) rails(which ...int) (names []string) {
	for _, i := range which {
		names = append(names, strings.NewReplacer(":", "-", ".", "-").Replace(n.guide.Rails[i].PCI))
	}
	return names
}

// claim is one that the scheduler has given some devices, for a pod.
func (n *testNode) claim(uid, pod string, devices []string, parameters ...string) *resourceapi.ResourceClaim {
	c := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "training", Name: "claim-" + uid, UID: types.UID(uid)}}
	c.Status.ReservedFor = []resourceapi.ResourceClaimConsumerReference{{Resource: "pods", Name: "pod-" + pod, UID: types.UID(pod)}}
	c.Status.Allocation = &resourceapi.AllocationResult{}
	for _, d := range devices {
		c.Status.Allocation.Devices.Results = append(c.Status.Allocation.Devices.Results, resourceapi.DeviceRequestAllocationResult{
			Request: "nics", Driver: DriverName, Pool: "node1", Device: d,
		})
	}
	for i, p := range parameters {
		config := resourceapi.DeviceAllocationConfiguration{Source: resourceapi.AllocationConfigSourceClass}
		if i > 0 {
			config.Source = resourceapi.AllocationConfigSourceClaim
		}
		config.Opaque = &resourceapi.OpaqueDeviceConfiguration{Driver: DriverName, Parameters: runtime.RawExtension{Raw: []byte(p)}}
		c.Status.Allocation.Devices.Config = append(c.Status.Allocation.Devices.Config, config)
	}
	return n.api.add(c)
}

// attach does what the CNI plugin does for a pod: the NICs are in it.
func (n *testNode) attach(pod string, rails ...int) (records []*attachment.Record) {
	n.Helper()
	devices, err := n.RDMA().Devices()
	n.Must(err)
	for _, i := range rails {
		h := n.guide.Rails[i]
		for _, d := range devices {
			if d.Name != h.RDMA {
				continue
			}
			r := &attachment.Record{
				Step: attachment.Attached, ContainerID: "sandbox-" + pod, IfName: fmt.Sprintf("rail%d", i+1),
				Pod: attachment.Pod{Namespace: "training", Name: "pod-" + pod, UID: pod},
				NIC: attachment.NIC{
					Netdev: netdev.Identity{ParentBus: rdma.BusPCI, Parent: h.PCI, Index: 100 + i, PermanentMAC: h.MAC},
					Bus:    d.Bus, Address: d.Address, RDMA: &d,
				},
				Host:      netdev.State{Name: h.Netdev, MTU: 9000, MAC: h.MAC},
				Addresses: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("172.31.%d.1/24", i))},
			}
			n.Must(n.Journal.Write(r))
			n.Must(n.TakeNetdev(h))
			records = append(records, r)
		}
	}
	return records
}

func (n *testNode) published() map[string]resourceapi.Device {
	all := map[string]resourceapi.Device{}
	for _, d := range n.api.published() {
		all[d.Name] = d
	}
	return all
}

func (n *testNode) setPort(rail int, state, phys string) {
	n.Must(n.SetPort(n.guide.Rails[rail], state, phys))
}

func mac(t *testing.T, text string) net.HardwareAddr {
	t.Helper()
	a, err := net.ParseMAC(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
