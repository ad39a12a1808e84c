package status

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"google.golang.org/grpc"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/netmanager"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
	"github.com/roce-k8s/roce-k8s/test/standin/kubelet"
)

// optionsOf ask a node, on which nobody answers unless a test starts him.
func optionsOf(n *node.Node) Options {
	return Options{
		Name: "node-a", Node: n.RDMA(), StateDir: n.State(), Proc: filepath.Join(n.Dir, "proc"), Log: n.Log(),
		PodResources: deviceplugin.PodResourcesSocket(n.Dir), ProbeSocket: filepath.Join(n.Dir, "probe.sock"),
	}
}

func look(n *node.Node, o Options) *Status {
	n.Helper()
	s, err := Look(n.Ctx, o)
	n.Must(err)
	return s
}

// text is a status for people, with single spaces: columns are as wide as they
// need to be.
func text(n *node.Node, s *Status) string {
	n.Helper()
	var b bytes.Buffer
	n.Must(s.Text(&b))
	return strings.Join(strings.Fields(b.String()), " ")
}

// pods is the kubelet's pod-resources server: each pod has unit 3, a GPU, and no
// other unit.
type pods struct {
	podresources.UnimplementedPodResourcesListerServer
	names []string
}

func (p pods) List(ctx context.Context, _ *podresources.ListPodResourcesRequest) (*podresources.ListPodResourcesResponse, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		return nil, errors.New("asked by one who would wait for ever")
	}
	var all []*podresources.PodResources
	for _, name := range p.names {
		all = append(all, &podresources.PodResources{Namespace: "default", Name: name, Containers: []*podresources.ContainerResources{{
			Name: "main", Devices: []*podresources.ContainerDevices{
				{ResourceName: "rdma/nic", DeviceIds: []string{"3"}},
				{ResourceName: "nvidia.com/gpu", DeviceIds: []string{"GPU-1"}},
				{ResourceName: "rdma/nic", DeviceIds: []string{"4"}}, // of another NUMA node
			},
		}}})
	}
	return &podresources.ListPodResourcesResponse{PodResources: all}, nil
}

func servePods(n *node.Node, names ...string) {
	n.Helper()
	n.Must(os.MkdirAll(filepath.Join(n.Dir, "pod-resources"), 0o755))
	l, err := (&net.ListenConfig{}).Listen(n.Ctx, "unix", deviceplugin.PodResourcesSocket(n.Dir))
	n.Must(err)
	server := grpc.NewServer()
	podresources.RegisterPodResourcesListerServer(server, pods{names: names})
	go func() { _ = server.Serve(l) }()
	n.Cleanup(server.Stop)
}

func TestTheStatusHasWhatJournalKubeletAndPluginSay(t *testing.T) {
	n := node.New(t, node.Eight()...)
	servePods(n, "gpu-rdma-pod-1")
	k, err := kubelet.Start(filepath.Join(n.Dir, "device-plugins"), slog.New(slog.DiscardHandler))
	n.Must(err)
	n.Cleanup(k.Close)
	n.Write("config.json", `{"configList": [{"resourceName": "nic", "rdmaHcaMax": 8, "selectors": {"isRoCE": true}}]}`)
	n.Attach(rdma.Exclusive, sysfs.MLX5(2), sysfs.MLX5(0))
	o := optionsOf(n)
	ctx, stop := context.WithCancel(n.Ctx)
	done := make(chan error, 1)
	go func() {
		done <- deviceplugin.Run(ctx, deviceplugin.Options{
			Version: "v1.2.3", ConfigFile: filepath.Join(n.Dir, "config.json"), KubeletDir: n.Dir, StateDir: n.State(),
			Proc: o.Proc, Node: n.RDMA(), ProbeSocket: o.ProbeSocket, MemlockSocket: filepath.Join(n.Dir, "none"), Log: n.Log(),
		})
	}()
	defer func() { stop(); n.Must(<-done) }()
	n.Must(k.Wait(n.Ctx, "rdma/nic", 8))
	n.Until("it is ready", func() bool { s := look(n, o); return s.Plugin != nil && s.Plugin.NotReady == "" })

	s := look(n, o)
	if held := s.NICs[0].Holder; held == nil || held.Pod != "default/gpu-rdma-pod-1" || held.Interface != "net2" || s.NICs[0].Place != inventory.InPod {
		t.Errorf("the first NIC: %+v, %+v", s.NICs[0], held)
	}
	for _, want := range []string{
		"Node node-a at ", "Device plugin v1.2.3: ready; rescues since its start: 0, failed: 0; mistakes in its configuration: 0",
		"Memlock plugin: not connected: containers have the runtime's own limit; limits raised since its start: 0, left as they were: 0",
		"NIC RDMA ADDRESS WHERE HOLDER NETWORK SINCE ens11np0 mlx5_0 0000:08:00.0 pod default/gpu-rdma-pod-1 (net2 in pod1)",
		"ens12np0 mlx5_1 0000:0b:00.0 host - - - ens13np0 mlx5_2 0000:0e:00.0 pod default/gpu-rdma-pod-1 (net1 in pod1)",
		"UNITS OF HOLDER HOW MANY WHICH rdma/nic default/gpu-rdma-pod-1 main 2 3 4 RESOURCE",
		"KUBELET rdma/nic 6 2 0 8 0 0 0 listens",
	} {
		if got := text(n, s); !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if slices.ContainsFunc(s.Missing, func(m string) bool { return !strings.HasPrefix(m, "RDMA mode: ") }) || len(s.Remarks) > 0 {
		t.Errorf("missing %q, remarks %q", s.Missing, s.Remarks)
	}
	var again Status
	var b bytes.Buffer
	n.Must(s.JSON(&b))
	n.Must(json.Unmarshal(b.Bytes(), &again))
	if text(n, &again) != text(n, s) {
		t.Errorf("of the JSON\n%s\nof the status\n%s", text(n, &again), text(n, s))
	}
}

func TestTheStatusSaysWhoDoesNotAnswerAndHasTheRest(t *testing.T) {
	n := node.New(t, node.Eight()...)
	n.Attach(rdma.Shared, sysfs.MLX5(0))
	o := optionsOf(n)
	got := text(n, look(n, o))
	for _, want := range []string{
		"kubelet: it does not answer at " + o.PodResources, "device plugin: it does not answer at " + o.ProbeSocket,
		"ens11np0 mlx5_0 0000:08:00.0 pod default/gpu-rdma-pod-1",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	servePods(n, "gpu-rdma-pod-1")
	if got := text(n, look(n, o)); !strings.Contains(got, "units of other resources than rdma/…: the device plugin did not say") || !strings.Contains(got, "rdma/nic default/gpu-rdma-pod-1") {
		t.Errorf("got\n%s", got)
	}
	n.Write("state/owed", "") // no folder
	if s := look(n, o); !slices.ContainsFunc(s.Missing, func(m string) bool { return strings.HasPrefix(m, "what is owed: ") }) || s.Time.Location() != time.UTC {
		t.Errorf("at %s, missing %q", s.Time, s.Missing)
	}
	o.ProbeSocket = ""
	if got := text(n, look(n, o)); !strings.Contains(got, "device plugin: it serves no metrics that could be asked for") {
		t.Errorf("got\n%s", got)
	}
}

func TestTheStatusHasWhatCameBackAndWhatIsOwed(t *testing.T) {
	n := node.New(t, node.Eight()...)
	n.Attach(rdma.Shared, sysfs.MLX5(0), sysfs.MLX5(1), sysfs.MLX5(2))
	back := time.Now().UTC().Add(-time.Second)
	record := func(name string) *attachment.Record {
		r, _, err := n.Journal.Read(attachment.ID{ContainerID: "pod1", IfName: name})
		n.Must(err)
		r.Back = back
		return r
	}
	returned, owed, old := record("net1"), record("net2"), record("net3")
	returned.Step = attachment.Returned
	n.Must(n.Journal.Update(returned))
	owed.Manager = netmanager.NetworkManager
	n.Must(n.Journal.Owe(owed))
	n.Must(n.Journal.Remove(owed.ID()))
	old.BootID = "22222222-0000-0000-0000-000000000000"
	n.Must(n.Journal.Update(old))
	n.Must(n.Journal.Owe(old))
	n.Write("state/attachments/pod2@net1.json", "{")

	s := look(n, optionsOf(n))
	if len(s.Returned) != 1 || s.Returned[0].Netdev != "ens11np0" || !s.Returned[0].Back.Equal(back) {
		t.Errorf("came back: %+v", s.Returned)
	}
	if len(s.Owed) != 1 || s.Owed[0].Netdev != "ens12np0" || !strings.HasPrefix(s.Owed[0].Why, "NetworkManager has until ") {
		t.Errorf("owed: %+v", s.Owed)
	}
	got := text(n, s)
	for _, want := range []string{
		"1 records are of an earlier boot: their addresses are not free yet", "pod2@net1.json: unexpected end of JSON input",
		"CAME BACK WAS BACK TO BE DONE ens11np0 default/gpu-rdma-pod-1 (net1 in pod1)", "its address is not free yet",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if notes, err := os.ReadDir(filepath.Join(n.State(), "owed")); err != nil || len(notes) != 2 {
		t.Errorf("a look removed a note of an earlier boot: %v %v", notes, err)
	}
}

func TestAPodThatTheKubeletDoesNotKnowIsRemarkedOnce(t *testing.T) {
	n := node.New(t, node.Eight()...)
	n.Attach(rdma.Shared, sysfs.MLX5(0), sysfs.MLX5(1))
	servePods(n, "another")
	s := look(n, optionsOf(n))
	want := []string{"the kubelet knows no pod default/gpu-rdma-pod-1, which has ens11np0: it has ended, and its DEL is to come"}
	if !slices.Equal(s.Remarks, want) || len(s.Units) != 1 || s.Units[0].Pod != "default/another" {
		t.Errorf("remarks %q, units %+v", s.Remarks, s.Units)
	}
}

func TestANICOnTheHostWithoutADELIsRemarked(t *testing.T) {
	lost := &attachment.Record{
		Step: attachment.Attached, ContainerID: "pod1", IfName: "net1", Host: netdev.State{Name: "ens11np0"},
		NIC: attachment.NIC{Netdev: netdev.Identity{ParentBus: "pci", Parent: "0000:08:00.0", Index: 2}, Bus: "pci", Address: "0000:08:00.0"},
	}
	moving := *lost
	moving.Step = attachment.Prepared // it is on its way, one or the other
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 2, Name: "net1", ParentDevBus: "pci", ParentDev: "0000:08:00.0"}}
	for record, want := range map[*attachment.Record]int{lost: 1, &moving: 0} {
		var s Status
		s.listNICs(inventory.Snapshot{Held: []*attachment.Record{record}, HostLinks: []netlink.Link{link}})
		if len(s.NICs) != 1 || s.NICs[0].Netdev != "ens11np0" || len(s.Remarks) != want ||
			want > 0 && !strings.HasPrefix(s.Remarks[0], "ens11np0 is on the host without a DEL of container pod1, interface net1: ") {
			t.Errorf("%s: %+v, %q", record.Step, s.NICs, s.Remarks)
		}
	}
}

// The names of links in pods and of their RDMA devices are whatever the pod likes.
func TestANameDoesNothingToTheTerminal(t *testing.T) {
	name := "a\x1b[2J\nb"
	s := &Status{NICs: []NIC{{Netdev: name, RDMA: name}}, Missing: []string{name}, Remarks: []string{name}, Plugin: &Plugin{NotReady: name, Degraded: []string{name}}}
	var b bytes.Buffer
	if err := s.Text(&b); err != nil || strings.Contains(b.String(), "\x1b") || strings.Contains(b.String(), "\nb") || strings.Count(b.String(), "[2J; b") != 6 {
		t.Errorf("%v, %q", err, b.String())
	}
}
