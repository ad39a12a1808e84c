package cni_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/test/standin/kubelet"
)

const resource = "rdma/hca_gpu"

// A devicePlugin is the device plugin's process with a kubelet stand-in.
type devicePlugin struct {
	*rig
	kubelet *kubelet.Kubelet
	dir     string
	chars   []string // the character devices that a pod should get
	cmd     *exec.Cmd
	log     bytes.Buffer
}

// startDevicePlugin runs rdma-device-plugin with the guide's configuration,
// except for an interval that lets a test see rescans.
func (r *rig) startDevicePlugin() *devicePlugin {
	r.Helper()
	dir, err := os.MkdirTemp("", "dp") // short: a socket's path has 108 bytes
	must(r, err)
	r.Cleanup(func() { os.RemoveAll(dir) })
	config, err := json.Marshal(map[string]any{"periodicUpdateInterval": 1, "configList": []any{map[string]any{
		"resourceName": "hca_gpu", "rdmaHcaMax": 8, "selectors": map[string]any{"ifNames": rails}}}})
	must(r, err)
	must(r, os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644))
	must(r, os.MkdirAll(filepath.Join(dir, "device-plugins"), 0o755))
	k, err := kubelet.Start(filepath.Join(dir, "device-plugins"), slog.New(slog.NewTextHandler(io.Discard, nil)))
	must(r, err)
	r.Cleanup(k.Close)
	d := &devicePlugin{rig: r, kubelet: k, dir: dir, chars: r.charDevices()}
	d.start()
	r.Cleanup(d.stop)
	return d
}

// charDevices lists what the kernel has for rxe0 to rxe7, and rdma_cm.
func (r *rig) charDevices() []string {
	r.Helper()
	files, err := filepath.Glob("/sys/class/infiniband_*/*/ibdev")
	must(r, err)
	paths := []string{"/dev/infiniband/rdma_cm"}
	for _, file := range files {
		if device := strings.TrimSpace(string(readFile(r, file))); len(device) == len("rxe0") && device <= "rxe7" {
			paths = append(paths, "/dev/infiniband/"+filepath.Base(filepath.Dir(file)))
		}
	}
	slices.Sort(paths)
	return paths
}

// start gives the process the one capability that the DaemonSet gives it.
func (d *devicePlugin) start() {
	d.Helper()
	d.cmd = exec.Command("setpriv", "--inh-caps=-all,+net_admin", "--bounding-set=-all,+net_admin", program("rdma-device-plugin"),
		"--config-file", filepath.Join(d.dir, "config.json"), "--kubelet-dir", d.dir, "--state-dir", d.stateDir)
	d.cmd.Stderr = &d.log
	d.cmd.Stdout = &d.log
	must(d, d.cmd.Start())
}

func (d *devicePlugin) stop() {
	if d.cmd != nil {
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		_ = d.cmd.Wait()
		d.cmd = nil
	}
}

// expect waits for the count, and then that it stays through rescans.
func (d *devicePlugin) expect(when string, n int) {
	d.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := d.kubelet.Wait(ctx, resource, n); err != nil {
		d.Fatalf("%s: %v; the plugin's log:\n%s", when, err, d.log.String())
	}
	time.Sleep(2500 * time.Millisecond) // two rescans
	if capacity, allocatable := d.kubelet.Allocatable(resource); capacity != n || allocatable != n {
		d.Fatalf("%s: %d of %d allocatable, want %d; the plugin's log:\n%s", when, allocatable, capacity, n, d.log.String())
	}
	response, ids, err := d.kubelet.Allocate(resource, 1)
	must(d, err)
	var have []string
	for _, device := range response.Devices {
		if device.Permissions != "rw" || device.HostPath != device.ContainerPath {
			d.Errorf("%s: device %+v", when, device)
		}
		have = append(have, device.HostPath)
	}
	d.kubelet.Free(resource, ids...)
	if !slices.Equal(have, d.chars) {
		d.Errorf("%s: a pod gets %v\nwant %v", when, have, d.chars)
	}
}

func TestTheCountStaysTrueWhilePodsHoldTheNICs(t *testing.T) {
	needLab(t, "")
	r := newRig(t, 8)
	run(t, "ip", "addr", "add", "fd00:7::1/64", "nodad", "dev", rails[0])
	t.Cleanup(func() { run(t, "ip", "addr", "del", "fd00:7::1/64", "dev", rails[0]) })
	before, p := hostState(t), r.pod()
	d := r.startDevicePlugin()
	d.expect("before any pod", 8)
	for i, nic := range rails {
		p.add(fmt.Sprintf("net%d", i+1), r.config(nic))
	}
	d.expect("all 8 NICs in a pod", 8)
	d.stop()
	d.start()
	d.expect("after a restart of the plugin", 8)
	must(t, d.kubelet.Restart())
	d.expect("after a restart of the kubelet", 8)
	p.kill()
	time.Sleep(time.Second)
	d.expect("after the pod's namespace died", 8)
	r.expectHost(before) // by rescue alone
	for i := len(rails) - 1; i >= 0; i-- {
		p.del(fmt.Sprintf("net%d", i+1), r.config(rails[i]))
	}
	d.expect("after DEL", 8)
	d.stop()
	r.expectHost(before)
	r.expectClean()
	if strings.Contains(d.log.String(), "level=ERROR") {
		t.Errorf("the plugin's log:\n%s", d.log.String())
	}
}

// The old plugins are replaced by ours on a node that runs a pod: host-device
// keeps no journal, and the device plugin starts for the first time.
func TestNICsThatHostDeviceHoldsCountFromTheFirstStart(t *testing.T) {
	needLab(t, "")
	r := newRig(t, 8)
	p := r.pod()
	host, err := netdev.CurrentNamespace()
	must(t, err)
	defer host.Close()
	// A pod's namespace has a number (nsid) on the host because of its eth0.
	run(t, "ip", "link", "add", "cluster0", "type", "veth", "peer", "name", "eth0", "netns", p.name)
	var states []netdev.State
	old := map[string]any{"type": "host-device"}
	for i, nic := range rails {
		link, err := host.LinkNamed(nic)
		must(t, err)
		state, err := host.State(t.Context(), link)
		must(t, err)
		states = append(states, state)
		p.add(fmt.Sprintf("net%d", i+1), r.config(nic, old))
	}
	d := r.startDevicePlugin()
	d.expect("all 8 NICs in a pod by host-device", 8)
	for i := len(rails) - 1; i >= 0; i-- {
		p.del(fmt.Sprintf("net%d", i+1), r.config(rails[i], old))
	}
	d.expect("after host-device's DEL", 8)
	run(t, "ip", "link", "del", "cluster0")
	// Addresses and state are what host-device does not give back.
	for i, nic := range rails {
		link, err := host.LinkNamed(nic)
		must(t, err)
		_, _, err = host.Restore(t.Context(), host, link, netdev.IdentityOf(link), states[i], slog.Default())
		must(t, err)
	}
}

func TestLinksOfAnotherNamespaceAreSeenWithoutEnteringIt(t *testing.T) {
	if inLab() {
		t.Skip("the rails of the lab have another test")
	}
	r := newRig(t, 1)
	p := r.pod()
	p.add("net1", r.config(rails[0], map[string]any{"type": "host-device", "rdma": nil}))
	host, err := netdev.CurrentNamespace()
	must(t, err)
	defer host.Close()
	// The pod's namespace has a number here no later than when the kernel tells of a
	// link whose other end is there.
	_, err = host.Links(t.Context())
	must(t, err)
	links, err := host.LinksElsewhere(t.Context())
	must(t, err)
	for _, link := range links {
		if a := link.Attrs(); a.Name == "net1" {
			if a.Alias != rails[0] || !slices.Equal(a.AltNames, []string{"alt-" + rails[0]}) {
				t.Errorf("alias %q, alternative names %v", a.Alias, a.AltNames)
			}
			return
		}
	}
	t.Errorf("net1 is not among %d links", len(links))
}
