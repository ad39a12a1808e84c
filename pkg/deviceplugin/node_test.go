package deviceplugin

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
	standin "github.com/roce-k8s/roce-k8s/test/standin/kubelet"
)

// A testNode is a simulated node that the program runs on.
type testNode struct{ *node.Node }

func newTestNode(t *testing.T, hcas ...sysfs.HCA) *testNode {
	t.Helper()
	return &testNode{node.New(t, hcas...)}
}

// look reads the node's devices, once.
func (n *testNode) look(i *inventory.Inventory) inventory.Snapshot {
	n.Helper()
	s, err := i.Read(n.Ctx)
	n.Must(err)
	return s
}

// inventory is the node's, with the links of a host.
func (n *testNode) inventory(links func(context.Context) ([]netlink.Link, error)) *inventory.Inventory {
	return inventory.New(inventory.Options{Node: n.RDMA(), Journal: n.Journal, StateDir: n.State(), Links: links, Log: n.Log()})
}

func (n *testNode) kubelet() *standin.Kubelet {
	n.Helper()
	k, err := standin.Start(filepath.Join(n.Dir, "device-plugins"), slog.New(slog.DiscardHandler))
	n.Must(err)
	n.Cleanup(k.Close)
	return k
}

func (n *testNode) wait(k *standin.Kubelet, resource string, allocatable int) {
	n.Helper()
	if err := k.Wait(n.Ctx, resource, allocatable); err != nil {
		n.Fatalf("%v\n%s", err, n.Logs)
	}
}

func (n *testNode) options() Options {
	return Options{
		ConfigFile: filepath.Join(n.Dir, "config.json"), KubeletDir: n.Dir, StateDir: n.State(),
		Proc: filepath.Join(n.Dir, "proc"), Node: n.RDMA(), Log: n.Log(),
	}
}

// ask gets a page of the program's HTTP server.
func (n *testNode) ask(address, path string) (status int, body string) {
	n.Helper()
	request, err := http.NewRequestWithContext(n.Ctx, http.MethodGet, "http://"+address+path, nil)
	n.Must(err)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	n.Must(err)
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
	ctx, cancel := context.WithCancel(n.Ctx)
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
func (n *testNode) reported(count int, to inventory.Place) bool {
	devices := map[string]bool{}
	for line := range strings.Lines(n.Logs.String()) {
		if _, moved, ok := strings.Cut(line, `msg="device moved"`); ok {
			device, _, at := strings.Cut(moved, fmt.Sprintf(" place=%s ", to))
			if at {
				devices[device] = true
			}
		}
	}
	return len(devices) == count
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
