package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// resource is the one of most tests.
const resource = "rdma/hca_gpu"

// patience bounds every wait. It is not a measure of speed: it must do on a
// machine that is busy with something else, and for a kubelet whose race has to
// be repaired by another registration.
const patience = 30 * time.Second

// shared is a configuration with a pool of so many units. The plugin looks at
// the devices every second, because a simulated tree sends no events.
func shared(units int, more string) string {
	return fmt.Sprintf(`{"periodicUpdateInterval": 1, "configList": [{"resourceName": "hca_gpu", "rdmaHcaMax": %d,
		"selectors": {"drivers": ["mlx5_core"]}%s}]}`, units, more)
}

// A node is a simulated node with a kubelet's folder, the plugin and a device
// manager.
type node struct {
	t       *testing.T
	kubelet Kubelet
	dir     string
	tree    *sysfs.Tree
	hcas    []sysfs.HCA
	manager Manager
	plugin  *plugin
	guests  int
}

// newNode makes a node with so many NICs, where nothing runs yet.
func newNode(t *testing.T, k Kubelet, nics int, config string) *node {
	t.Helper()
	program(t)
	// Not t.TempDir: the path of a socket has at most 107 bytes.
	dir, err := os.MkdirTemp("", "kubelet")
	n := &node{t: t, kubelet: k, dir: dir}
	n.ok(err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Cleanup(n.end)
	n.tree, err = sysfs.New(filepath.Join(dir, "node"))
	n.ok(err)
	for i := range nics {
		n.hcas = append(n.hcas, sysfs.MLX5(i))
	}
	n.ok(n.tree.Add(n.hcas...))
	n.ok(os.MkdirAll(n.folder(), 0o750))
	n.configure(config)
	return n
}

// end stops all that runs, and after a failure says what it logged.
func (n *node) end() {
	if n.plugin != nil {
		n.plugin.kill()
		if n.t.Failed() {
			n.t.Logf("the plugin's last lines:\n%s", n.plugin.log)
		}
	}
	if n.manager != nil {
		n.manager.Stop()
	}
}

func (n *node) ok(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// folder is the device-plugins folder.
func (n *node) folder() string { return filepath.Join(n.dir, "device-plugins") }

func (n *node) configure(text string) {
	n.t.Helper()
	n.ok(os.WriteFile(filepath.Join(n.dir, "config.json"), []byte(text), 0o600))
}

func (n *node) startPlugin() {
	n.t.Helper()
	n.plugin = startPlugin(n.t, n.pluginArgs()...)
}

func (n *node) pluginArgs() []string {
	return []string{
		"--config-file=" + filepath.Join(n.dir, "config.json"), "--kubelet-dir=" + n.dir,
		"--state-dir=" + filepath.Join(n.dir, "state"), "--sysfs-root=" + n.tree.Sys(), "--dev-root=" + n.tree.Dev(),
		// The machine's own NICs are not ours.
		"--rescue=false", "--metrics-address=",
	}
}

func (n *node) startKubelet(pods ...Pod) {
	n.t.Helper()
	m, err := n.kubelet.Start(n.folder(), pods)
	n.ok(err)
	n.manager = m
}

// restartKubelet ends one life of the kubelet and begins the next at once.
func (n *node) restartKubelet(pods ...Pod) {
	n.t.Helper()
	n.manager.Stop()
	n.startKubelet(pods...)
}

func (n *node) count(resource string) Count {
	n.t.Helper()
	c, err := n.manager.Count(resource)
	n.ok(err)
	return c
}

// await waits for a condition, and says how long it took to come true.
func (n *node) await(what string, is func() bool) time.Duration {
	n.t.Helper()
	begin := time.Now()
	for !is() {
		if time.Since(begin) > patience {
			n.t.Fatalf("not within %s: %s", patience, what)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(begin)
}

// awaitCount waits until the kubelet counts so many units.
func (n *node) awaitCount(resource string, want Count) time.Duration {
	n.t.Helper()
	var is Count
	defer func() {
		if is != want {
			n.t.Logf("%s has %+v, not %+v", resource, is, want)
		}
	}()
	return n.await(fmt.Sprintf("%s with %+v", resource, want), func() bool {
		is = n.count(resource)
		return is == want
	})
}

// stays checks that the count stays what it is for a while.
func (n *node) stays(resource string, want Count, long time.Duration) {
	n.t.Helper()
	for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if is := n.count(resource); is != want {
			n.t.Fatalf("%s has %+v, not %+v", resource, is, want)
		}
	}
}

// guest is a pod that was not on the node before.
func (n *node) guest(resource string, units int) Pod {
	n.guests++
	return Pod{UID: fmt.Sprintf("guest-%d", n.guests), Resource: resource, Units: units}
}

// awaitUse waits until a pod can really have so many units, and takes it off
// the node again. A manager can count units that it cannot give: of an
// endpoint that it thinks has stopped.
func (n *node) awaitUse(resource string, units int) {
	n.t.Helper()
	last := error(nil)
	defer func() {
		if n.t.Failed() {
			n.t.Logf("the last refusal: %v; the count: %+v", last, n.count(resource))
		}
	}()
	n.await(fmt.Sprintf("a pod with %d units of %s", units, resource), func() bool {
		pod := n.guest(resource, units)
		last = n.manager.Admit(pod)
		n.ok(n.manager.Remove(pod))
		return last == nil
	})
}

// admit puts a pod on the node, and checks the container's devices.
func (n *node) admit(pod Pod, devices []string) {
	n.t.Helper()
	if err := n.manager.Admit(pod); err != nil {
		n.t.Fatalf("a pod with %d units of %s is refused: %v", pod.Units, pod.Resource, err)
	}
	n.served(pod, devices)
}

// served checks that a pod's container can be started with these devices.
func (n *node) served(pod Pod, devices []string) {
	n.t.Helper()
	o, err := n.manager.Options(pod)
	if err != nil {
		n.t.Fatalf("the container of %s cannot be started: %v", pod.UID, err)
	}
	slices.Sort(o.Devices)
	if !slices.Equal(o.Devices, devices) {
		n.t.Fatalf("the container of %s gets %s, want %s", pod.UID, strings.Join(o.Devices, " "), strings.Join(devices, " "))
	}
}

// refused checks that a pod is refused, for the reason that is given.
func (n *node) refused(pod Pod, reason string) {
	n.t.Helper()
	err := n.manager.Admit(pod)
	n.ok(n.manager.Remove(pod))
	if err == nil || !strings.Contains(err.Error(), reason) {
		n.t.Fatalf("a pod with %d units of %s: %v, want %q", pod.Units, pod.Resource, err, reason)
	}
}

// allDevices are the paths that a unit of the pool gives.
func (n *node) allDevices() []string { return devicesOf(n.hcas, "uverbs", "umad", "issm") }

// devicesOf are the paths of kinds of the HCAs' devices, and rdma_cm.
func devicesOf(hcas []sysfs.HCA, kinds ...string) []string {
	paths := []string{"/dev/infiniband/rdma_cm"}
	for _, h := range hcas {
		for _, kind := range kinds {
			paths = append(paths, fmt.Sprintf("/dev/infiniband/%s%d", kind, h.Number))
		}
	}
	slices.Sort(paths)
	return paths
}

// sockets are the plugin's in the device-plugins folder.
func (n *node) sockets() []string {
	found, err := filepath.Glob(filepath.Join(n.folder(), "rdma-device-plugin.*.sock"))
	n.ok(err)
	return found
}
