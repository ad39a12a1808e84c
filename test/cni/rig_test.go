// Package cni_test runs roce-host-device as a container runtime does, through
// libcni, between real network namespaces.
//
// On any Linux machine veth ends stand in for NICs, in a network namespace
// that plays the host. In the lab VM the NICs are real PCI devices with real
// Soft-RoCE devices on them, and the host is the host; ROCE_LAB_MODE and
// ROCE_LAB_RXE say which lab it is.
package cni_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/test/fixtures/mounts"
)

// rails are the NICs of the guide's node, in its order; the lab names its own
// after them.
var rails = []string{"ens12np0", "ens11np0", "ens13np0", "ens14np0", "ens16np0", "ens15np0", "ens17np0", "ens18np0"}

// peerRails are the NICs that the lab wires to them.
var peerRails = []string{"ens22np0", "ens21np0", "ens23np0", "ens24np0", "ens26np0", "ens25np0", "ens27np0", "ens28np0"}

// lab tells which lab VM this is; zero on a machine without RDMA.
var lab = struct{ mode, rxe string }{os.Getenv("ROCE_LAB_MODE"), os.Getenv("ROCE_LAB_RXE")}

func inLab() bool { return lab.mode != "" }

func TestMain(m *testing.M) { os.Exit(mounts.Run(m.Run)) }

// A rig is one test's node: NICs on the host, a state folder, an IPAM plugin.
type rig struct {
	*testing.T
	stateDir string
	cni      *libcni.CNIConfig
	host     netns.NsHandle // the namespace that plays the host
	pods     int
}

// run runs a subtest on the same node. A subtest is a goroutine of its own and
// so needs a thread of its own in the host's namespace.
func (r *rig) run(name string, f func(r *rig)) {
	r.T.Run(name, func(t *testing.T) {
		r.enter()
		sub := *r
		sub.T = t
		f(&sub)
	})
}

// newRig gives a test a node of its own. It locks the test to its OS thread,
// whose network namespace the plugin's process inherits.
func newRig(t *testing.T, nics int) *rig {
	t.Helper()
	if os.Getuid() != 0 {
		skip(t, "netns", "network namespaces need root")
	}
	path := pluginPath(t)
	runtime.LockOSThread()
	r := &rig{T: t, stateDir: mounts.StateDir(t), cni: libcni.NewCNIConfigWithCacheDir(path, t.TempDir(), nil)}
	home, err := netns.Get()
	must(t, err)
	if inLab() {
		r.host = home
		before := hostState(t)
		t.Cleanup(func() {
			if after := hostState(t); after != before && !t.Failed() {
				t.Errorf("the host is not as it was before the test\nbefore:\n%s\nafter:\n%s", before, after)
			}
		})
		return r
	}
	r.host, err = netns.New()
	must(t, err)
	t.Cleanup(func() {
		r.host.Close()
		must(t, netns.Set(home))
		home.Close()
		runtime.UnlockOSThread()
	})
	for _, name := range rails[:nics] {
		must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: 9000}, PeerName: "sw-" + name}))
		run(t, "ip", "link", "set", "sw-"+name, "up")
		run(t, "ip", "link", "set", name, "up", "alias", "rail of "+name)
		run(t, "ip", "link", "property", "add", "dev", name, "altname", "alt-"+name)
		run(t, "ip", "addr", "add", fmt.Sprintf("192.168.%d.1/24", slices.Index(rails, name)), "dev", name)
		run(t, "ip", "route", "add", fmt.Sprintf("10.%d.0.0/16", slices.Index(rails, name)), "via", fmt.Sprintf("192.168.%d.9", slices.Index(rails, name)))
	}
	return r
}

// enter gives the calling goroutine a thread in the host's namespace, which
// ends with it.
func (r *rig) enter() {
	runtime.LockOSThread()
	if err := netns.Set(r.host); err != nil {
		r.Error(err)
	}
}

// pluginPath is CNI_PATH: our plugin and the IPAM plugins.
func pluginPath(t *testing.T) []string {
	dirs := filepath.SplitList(os.Getenv("ROCE_CNI_PATH"))
	for _, plugin := range []string{"roce-host-device", "host-local"} {
		if !slices.ContainsFunc(dirs, func(dir string) bool { _, err := os.Stat(filepath.Join(dir, plugin)); return err == nil }) {
			skip(t, "plugins", "ROCE_CNI_PATH has no "+plugin+": run the tests with `make test`")
		}
	}
	return dirs
}

// skip skips a test because something is missing. ROCE_TEST_REQUIRE lists what
// this machine must have: there, a skip is a failure.
func skip(t testing.TB, want, reason string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("ROCE_TEST_REQUIRE"), ","), want) {
		t.Fatalf("%s is required here: %s", want, reason)
	}
	t.Skip(reason)
}

// config is a network configuration: what the guide's NADs say, with changes
// on top. A nil value takes a key out.
func (r *rig) config(nic string, changes ...map[string]any) map[string]any {
	rail := slices.Index(rails, nic) + 1
	if rail == 0 {
		rail = slices.Index(peerRails, nic) + 1
	}
	c := map[string]any{
		"cniVersion": "1.1.0", "name": fmt.Sprintf("roce-net%d", rail), "type": "roce-host-device", "device": nic,
		"ipam": r.hostLocal(rail),
	}
	if !inLab() || lab.rxe == "none" {
		c["rdma"] = "none"
	}
	for _, change := range changes {
		maps.Copy(c, change)
	}
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func (r *rig) hostLocal(rail int) map[string]any {
	return map[string]any{"type": "host-local", "dataDir": filepath.Join(r.stateDir, "ipam"),
		"subnet": fmt.Sprintf("172.31.%d.0/24", rail), "gateway": fmt.Sprintf("172.31.%d.1", rail)}
}

// leases are the addresses that the IPAM plugin has given out and not freed. A file
// with nothing in it is none: host-local was killed between making it and writing
// in it (backend/disk/backend.go, Reserve), and cannot tell whose it is.
func (r *rig) leases() (all []string) {
	files, err := filepath.Glob(filepath.Join(r.stateDir, "ipam", "*", "[0-9]*"))
	must(r, err)
	for _, file := range files {
		if info, err := os.Stat(file); err == nil && info.Size() > 0 {
			all = append(all, filepath.Base(file))
		}
	}
	return all
}

// records are the files of the journal.
func (r *rig) records() []string {
	files, err := filepath.Glob(filepath.Join(r.stateDir, "attachments", "*"))
	must(r, err)
	return files
}

// A pod is a network namespace with a container ID.
type pod struct {
	*rig
	name, id, netns string
}

func (r *rig) pod() *pod {
	r.Helper()
	r.pods++
	name := fmt.Sprintf("pod%d-%d", r.pods, os.Getpid())
	p := &pod{rig: r, name: name, id: "id-" + name, netns: "/run/netns/" + name}
	run(r, "ip", "netns", "add", name)
	r.Cleanup(func() {
		if _, err := os.Stat(p.netns); err == nil {
			run(r, "ip", "netns", "del", name)
		}
	})
	return p
}

// in is the pod as a subtest sees it.
func (p *pod) in(r *rig) *pod {
	sub := *p
	sub.rig = r
	return &sub
}

// kill ends the pod's namespace without a DEL.
func (p *pod) kill() {
	p.Helper()
	run(p, "ip", "netns", "del", p.name)
}

func (p *pod) runtimeConf(ifName string) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{ContainerID: p.id, NetNS: p.netns, IfName: ifName, Args: [][2]string{
		{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "default"}, {"K8S_POD_NAME", p.name}}}
}

func list(t testing.TB, config map[string]any) *libcni.NetworkConfigList {
	t.Helper()
	b, err := json.Marshal(map[string]any{"cniVersion": config["cniVersion"], "name": config["name"], "plugins": []any{config}})
	must(t, err)
	l, err := libcni.ConfListFromBytes(b)
	must(t, err)
	return l
}

func (p *pod) tryAdd(ifName string, config map[string]any) (*current.Result, error) {
	p.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	answer, err := p.cni.AddNetworkList(ctx, list(p, config), p.runtimeConf(ifName))
	if err != nil {
		return nil, err
	}
	return current.NewResultFromResult(answer)
}

func (p *pod) add(ifName string, config map[string]any) *current.Result {
	p.Helper()
	result, err := p.tryAdd(ifName, config)
	must(p, err)
	return result
}

func (p *pod) tryDel(ifName string, config map[string]any) error {
	p.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return p.cni.DelNetworkList(ctx, list(p, config), p.runtimeConf(ifName))
}

func (p *pod) del(ifName string, config map[string]any) {
	p.Helper()
	must(p, p.tryDel(ifName, config))
}

func (p *pod) check(ifName string, config map[string]any) error {
	p.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return p.cni.CheckNetworkList(ctx, list(p, config), p.runtimeConf(ifName))
}

// exec runs a command in the pod and returns its output.
func (p *pod) exec(args ...string) string {
	p.Helper()
	return run(p, append([]string{"ip", "netns", "exec", p.name}, args...)...)
}

// code is the CNI error code of an error, 0 for none.
func code(err error) uint {
	var e *types.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// hostState describes every NIC of the thread's namespace as the host
// configured it, and the RDMA devices.
func hostState(t testing.TB) string {
	t.Helper()
	links := complete(t, netlink.LinkList)
	var lines []string
	for _, link := range links {
		a := link.Attrs()
		if a.Name == "lo" || strings.HasPrefix(a.Name, "sw-") {
			continue
		}
		slices.Sort(a.AltNames)
		lines = append(lines, fmt.Sprintf("%s mtu %d mac %s up %v promisc %v allmulti %v alias %q altnames %v", a.Name, a.MTU, a.HardwareAddr,
			a.Flags&net.FlagUp != 0, a.Promisc != 0, a.Allmulti != 0, a.Alias, a.AltNames))
		for _, addr := range complete(t, func() ([]netlink.Addr, error) { return netlink.AddrList(link, unix.AF_UNSPEC) }) {
			if !addr.IP.IsLinkLocalUnicast() { // comes by itself, some time after the link is up
				lines = append(lines, a.Name+" address "+addr.IPNet.String())
			}
		}
		for _, route := range complete(t, func() ([]netlink.Route, error) { return netlink.RouteList(link, unix.AF_INET) }) {
			lines = append(lines, fmt.Sprintf("%s route %s via %s metric %d proto %s", a.Name, route.Dst, route.Gw, route.Priority, route.Protocol))
		}
	}
	devices, _ := filepath.Glob("/sys/class/infiniband/*")
	for _, device := range devices {
		parent, _ := os.ReadFile(device + "/parent")
		lines = append(lines, fmt.Sprintf("rdma %s on %s", filepath.Base(device), strings.TrimSpace(string(parent))))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// complete asks for a list until nothing changed meanwhile.
func complete[T any](t testing.TB, list func() ([]T, error)) []T {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second) // also for a cleanup
	defer cancel()
	all, err := netdev.Complete(ctx, list)
	must(t, err)
	return all
}

// expectHost waits until the host is as it was: a namespace ends in the
// background.
func (r *rig) expectHost(want string) {
	r.Helper()
	var have string
	if !within(30*time.Second, func() bool { have = hostState(r); return have == want }) {
		r.Fatalf("the host is not as it was before ADD\nbefore:\n%s\nnow:\n%s", want, have)
	}
}

// eventually waits for what the kernel or another process does in its own time.
func (r *rig) eventually(what string, is func() bool) {
	r.Helper()
	if !within(30*time.Second, is) {
		r.Fatalf("waited in vain for %s", what)
	}
}

func within(limit time.Duration, is func() bool) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if is() {
			return true
		}
	}
	return is()
}

// expectClean checks that no record and no address is left.
func (r *rig) expectClean() {
	r.Helper()
	if records, leases := r.records(), r.leases(); len(records)+len(leases) > 0 {
		r.Fatalf("left over: records %v, addresses %v", records, leases)
	}
}

func run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
