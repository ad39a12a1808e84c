package deviceplugin

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
	standin "github.com/roce-k8s/roce-k8s/test/standin/kubelet"
)

// A testNode is a simulated node: a sysfs tree, a journal, a kubelet's folder.
type testNode struct {
	*testing.T
	*sysfs.Tree
	ctx     context.Context // ends long after everything should have happened
	dir     string
	journal *attachment.Journal
	logs    *syncBuffer
}

// syncBuffer is what a logger writes to and a test reads.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newTestNode(t *testing.T, hcas ...sysfs.HCA) *testNode {
	t.Helper()
	t.Parallel() // most of a test is waiting
	// In memory, as sysfs is; and t.TempDir is too long for a socket's path.
	dir, err := os.MkdirTemp("/dev/shm", "dp")
	if err != nil {
		dir, err = os.MkdirTemp("", "dp")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	n := &testNode{T: t, ctx: ctx, dir: dir, logs: &syncBuffer{}}
	if n.Tree, err = sysfs.New(dir); err != nil {
		t.Fatal(err)
	}
	n.must(n.Add(hcas...))
	n.boot("11111111-0000-0000-0000-000000000000")
	return n
}

// boot gives the node a boot ID.
func (n *testNode) boot(id string) {
	n.Helper()
	n.write("proc/sys/kernel/random/boot_id", id+"\n")
	var err error
	n.journal, err = attachment.Open(n.state(), filepath.Join(n.dir, "proc"))
	n.must(err)
}

func (n *testNode) must(err error) {
	n.Helper()
	if err != nil {
		n.Fatal(err)
	}
}

func (n *testNode) write(path, content string) {
	n.Helper()
	path = filepath.Join(n.dir, path)
	n.must(os.MkdirAll(filepath.Dir(path), 0o755))
	n.must(os.WriteFile(path, []byte(content), 0o600))
}

func (n *testNode) node() rdma.Node {
	if n.Tree == nil { // in the lab
		return rdma.Host()
	}
	return rdma.Node{Sys: n.Sys(), Dev: n.Dev()}
}

func (n *testNode) inventory() *inventory {
	log := slog.New(slog.NewTextHandler(n.logs, nil))
	return newInventory(Options{Node: n.node(), StateDir: n.state(), Log: log}, n.journal, nil)
}

func fakeLinks(attrs ...netlink.LinkAttrs) func() ([]netlink.Link, error) {
	var links []netlink.Link
	for _, a := range attrs {
		links = append(links, &netlink.Device{LinkAttrs: a})
	}
	return func() ([]netlink.Link, error) { return links, nil }
}

func (n *testNode) state() string { return filepath.Join(n.dir, "state") }

// attach does what the CNI plugin does with a NIC: it writes the journal and
// moves the netdev and, in exclusive mode, the RDMA device.
func (n *testNode) attach(mode rdma.Mode, hcas ...sysfs.HCA) {
	n.Helper()
	devices, err := n.node().Devices()
	n.must(err)
	for i, h := range hcas {
		at := slices.IndexFunc(devices, func(d rdma.Device) bool { return d.Name == h.RDMA })
		if at < 0 {
			n.Fatalf("%s is not there to be attached", h.RDMA)
		}
		d := devices[at]
		n.must(n.journal.Write(&attachment.Record{
			Step: attachment.Attached, ContainerID: "pod1", IfName: fmt.Sprintf("net%d", i+1),
			Pod: attachment.Pod{Namespace: "default", Name: "gpu-rdma-pod-1"},
			NIC: attachment.NIC{
				Netdev: netdev.Identity{ParentBus: "pci", Parent: h.PCI, Index: 10 + i, PermanentMAC: h.MAC},
				Bus:    d.Bus, Address: d.Address, RDMA: &d, RDMAMoved: mode == rdma.Exclusive,
			},
			Host: netdev.State{Name: cmp.Or(h.Netdev, h.Parent), MTU: 9000},
		}))
		n.must(n.TakeNetdev(h))
		if mode == rdma.Exclusive {
			n.must(n.TakeRDMA(h))
		}
	}
}

func (n *testNode) kubelet() *standin.Kubelet {
	n.Helper()
	k, err := standin.Start(filepath.Join(n.dir, "device-plugins"), slog.New(slog.DiscardHandler))
	n.must(err)
	n.Cleanup(k.Close)
	return k
}

func (n *testNode) wait(k *standin.Kubelet, resource string, allocatable int) {
	n.Helper()
	if err := k.Wait(n.ctx, resource, allocatable); err != nil {
		n.Fatalf("%v\n%s", err, n.logs)
	}
}

func (n *testNode) options() Options {
	return Options{
		ConfigFile: filepath.Join(n.dir, "config.json"), KubeletDir: n.dir, StateDir: n.state(),
		Proc: filepath.Join(n.dir, "proc"), Node: n.node(), Log: slog.New(slog.NewTextHandler(n.logs, nil)),
	}
}

// ask gets a page of the program's HTTP server.
func (n *testNode) ask(address, path string) (status int, body string) {
	n.Helper()
	request, err := http.NewRequestWithContext(n.ctx, http.MethodGet, "http://"+address+path, nil)
	n.must(err)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	n.must(err)
	return response.StatusCode, string(b)
}

// start runs the program until the returned function is called, or to the end
// of the test.
func (n *testNode) start() (stop func()) {
	n.Helper()
	return n.startWith(n.options())
}

func (n *testNode) startWith(o Options) (stop func()) {
	n.Helper()
	ctx, cancel := context.WithCancel(n.ctx)
	done := make(chan error, 1)
	go func() { done <- Run(ctx, o) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			n.Errorf("Run: %v", err)
		}
	})
	n.Cleanup(stop)
	return stop
}

// reported tells whether the log says of so many devices that they moved to a
// place.
func (n *testNode) reported(count int, to Place) bool {
	devices := map[string]bool{}
	for line := range strings.Lines(n.logs.String()) {
		if _, moved, ok := strings.Cut(line, `msg="device moved"`); ok {
			device, _, at := strings.Cut(moved, fmt.Sprintf(" place=%s ", to))
			if at {
				devices[device] = true
			}
		}
	}
	return len(devices) == count
}

// until waits for a condition that nothing announces.
func (n *testNode) until(what string, ok func() bool) {
	n.Helper()
	for !ok() {
		if n.ctx.Err() != nil {
			n.Fatalf("still not: %s\n%s", what, n.logs)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// eight are the HCAs of a GPU node.
func eight() []sysfs.HCA {
	var hcas []sysfs.HCA
	for n := range 8 {
		hcas = append(hcas, sysfs.MLX5(n))
	}
	return hcas
}

// guide is the configuration of the operator's guide, with the pause between
// two rescans that a test needs.
func guide(seconds int) string {
	return fmt.Sprintf(`{
        "periodicUpdateInterval": %d,
        "configList": [
        {
         "resourceName": "hca_gpu",
         "rdmaHcaMax": 8,
         "selectors": {
           "ifNames": ["ens12np0", "ens11np0", "ens13np0","ens14np0","ens16np0","ens15np0","ens17np0","ens18np0"]
          }
        }
       ]
}`, seconds)
}

func names(devices []Device) string {
	var s []string
	for _, d := range devices {
		s = append(s, d.Name)
	}
	return strings.Join(s, " ")
}
