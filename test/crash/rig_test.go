// Package crash_test kills roce-host-device at every system call that changes
// something and looks whether the call that comes next puts everything right:
// a DEL, the ADD once more, another pod's ADD, or a GC. It also runs many of
// them at once, and many one after another.
//
// On any Linux machine veth ends stand in for NICs, in a network namespace that
// plays the host. In the lab VM the NICs are real PCI devices with real
// Soft-RoCE devices on them, and the host is the host; ROCE_LAB_MODE says which
// lab it is.
package crash_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/test/fixtures/mounts"
)

// rails are the names that the lab gives to its first eight NICs.
var rails = []string{"ens12np0", "ens11np0", "ens13np0", "ens14np0", "ens16np0", "ens15np0", "ens17np0", "ens18np0"}

func inLab() bool { return os.Getenv("ROCE_LAB_MODE") != "" }

// A node has NICs, a state folder and the plugins.
type node struct {
	testing.TB
	plugin   string
	ipam     string // host-local
	stateDir string
	host     netns.NsHandle // the namespace that plays the host
	addrs    bool           // the NICs have addresses and routes on the host
	// seen is told of each system call of killAt's that changes something, just before
	// it is made, in the host's namespace; nil for nobody.
	seen func(change string)
}

// newNode gives a test a node. The test stays on its OS thread, whose network
// namespace the plugin inherits.
func newNode(t testing.TB) *node {
	t.Helper()
	if os.Getuid() != 0 {
		skip(t, "netns", "network namespaces need root")
	}
	n := &node{TB: t, plugin: find(t, "roce-host-device"), ipam: find(t, "host-local")}
	runtime.LockOSThread()
	home, err := netns.Get()
	must(t, err)
	t.Cleanup(func() {
		must(t, netns.Set(home))
		home.Close()
		if !inLab() {
			n.host.Close()
		}
		runtime.UnlockOSThread()
	})
	if inLab() {
		n.host = home
	}
	n.reset()
	return n
}

// reset gives the node a new state folder and, where NICs cost nothing, new
// NICs: what one failed attempt left must not fail the next.
func (n *node) reset() {
	n.Helper()
	n.stateDir = mounts.StateDir(n)
	if inLab() {
		return
	}
	if n.host > 0 {
		n.host.Close()
	}
	var err error
	n.host, err = netns.New()
	must(n, err)
	for _, name := range rails {
		must(n, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: 9000}, PeerName: "sw-" + name}))
		ip(n, "link", "set", "sw-"+name, "up")
		ip(n, "link", "set", name, "up")
	}
	if n.addrs {
		n.configureHost()
	}
}

// configureHost puts on the first rail what a host may have on a NIC: all of
// it must come back.
func (n *node) configureHost() {
	n.Helper()
	n.addrs = true
	for _, args := range []string{
		"link set %s alias rail-one",
		"link property add dev %s altname alt-%[1]s",
		"addr add 192.168.1.1/24 dev %s",
		"-6 addr add fd00:1::1/64 dev %s nodad",
		"route add 10.1.0.0/16 via 192.168.1.9 dev %s metric 77",
		"-6 route add fd00:99::/64 via fd00:1::9 dev %s metric 77",
	} {
		ip(n, strings.Fields(fmt.Sprintf(args, rails[0]))...)
	}
}

// unconfigureHost takes it off a NIC of the lab, which others use after us.
func (n *node) unconfigureHost() {
	n.Helper()
	for _, args := range []string{
		"-6 route del fd00:99::/64 dev %s", "addr flush dev %s scope global", "link property del dev %s altname alt-%[1]s",
	} {
		ip(n, strings.Fields(fmt.Sprintf(args, rails[0]))...)
	}
	link, err := netlink.LinkByName(rails[0])
	must(n, err)
	must(n, netlink.LinkSetAlias(link, ""))
}

// enter gives the calling goroutine a thread in the host's namespace, which
// ends with it.
func (n *node) enter() {
	runtime.LockOSThread()
	if err := netns.Set(n.host); err != nil {
		n.Error(err)
	}
}

// config is the network configuration of one rail.
func (n *node) config(nic string, changes ...map[string]any) map[string]any {
	rail := slices.Index(rails, nic) + 1
	c := map[string]any{
		"cniVersion": "1.1.0", "name": fmt.Sprintf("roce-net%d", rail), "type": "roce-host-device", "device": nic,
		"mtu": 4200,
		"ipam": map[string]any{"type": "host-local", "dataDir": n.ipamDir(),
			"subnet": fmt.Sprintf("172.31.%d.0/24", rail)},
	}
	if !inLab() {
		c["rdma"] = "none"
	}
	for _, change := range changes {
		maps.Copy(c, change)
	}
	return c
}

// ipamDir is where host-local keeps the addresses that it has given out.
func (n *node) ipamDir() string { return filepath.Join(n.stateDir, "ipam") }

// A pod is a network namespace with a container in it.
type pod struct{ id, netns string }

// newPod makes a namespace that ends with the test.
func (n *node) newPod(name string) pod {
	n.Helper()
	name = fmt.Sprintf("crash-%s-%d", name, os.Getpid())
	ip(n, "netns", "add", name)
	n.Cleanup(func() { ip(n, "netns", "del", name) })
	return pod{"id-" + name, "/run/netns/" + name}
}

// command is a run of the plugin as a runtime starts it.
func (n *node) command(verb string, p pod, ifName string, config map[string]any) *exec.Cmd {
	b, err := json.Marshal(config)
	must(n, err)
	cmd := exec.Command(n.plugin)
	cmd.Env = append(os.Environ(), "CNI_COMMAND="+verb, "CNI_CONTAINERID="+p.id, "CNI_NETNS="+p.netns, "CNI_IFNAME="+ifName,
		"CNI_PATH="+os.Getenv("ROCE_CNI_PATH")+string(filepath.ListSeparator)+selves, "ROCE_CRASH_IPAM="+n.ipam,
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME="+p.id)
	cmd.Stdin = bytes.NewReader(b)
	return cmd
}

// call runs the plugin to its end. The answer to ADD is the CNI result.
func (n *node) call(verb string, p pod, ifName string, config map[string]any) (map[string]any, error) {
	cmd := n.command(verb, p, ifName, config)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	answer := map[string]any{}
	if len(out) > 0 && json.Unmarshal(out, &answer) != nil {
		return nil, fmt.Errorf("%s printed no JSON: %s", verb, out)
	}
	if err == nil {
		return answer, nil
	}
	var failed types.Error
	if json.Unmarshal(out, &failed) == nil && failed.Code != 0 {
		return nil, fmt.Errorf("%s: %w\n%s", verb, &failed, &stderr)
	}
	return nil, fmt.Errorf("%s: %w\n%s%s", verb, err, out, &stderr)
}

// code is the CNI error code of an error, 0 for none.
func code(err error) uint {
	var e *types.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// find looks for a plugin in the folders of ROCE_CNI_PATH.
func find(t testing.TB, plugin string) string {
	t.Helper()
	for _, dir := range filepath.SplitList(os.Getenv("ROCE_CNI_PATH")) {
		if path := filepath.Join(dir, plugin); unix.Access(path, unix.X_OK) == nil {
			return path
		}
	}
	skip(t, "plugins", "ROCE_CNI_PATH has no "+plugin+": run the tests with `make test-crash`")
	return ""
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

func ip(t testing.TB, args ...string) {
	t.Helper()
	output(t, append([]string{"ip"}, args...)...)
}

func output(t testing.TB, command ...string) string {
	t.Helper()
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until asks again until there is no difference, for as long as the kernel
// may take to end a namespace.
func until(difference func() string) string {
	d := difference()
	for end := time.Now().Add(20 * time.Second); d != "" && time.Now().Before(end); d = difference() {
		time.Sleep(20 * time.Millisecond)
	}
	return d
}
