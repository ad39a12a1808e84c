// Package hostile_test has pods, networks and other plugins do their worst, and
// checks whether a NIC was lost: between ADD and DEL a pod with all
// capabilities in its namespace, before ADD whoever may write a network, and at
// any time other programs that move links.
//
// On any Linux machine veth ends stand in for NICs, in a network namespace that
// plays the host. In the lab VM the NICs are real PCI devices with real
// Soft-RoCE devices on them, and the host is the host; ROCE_LAB_MODE says which
// lab it is.
package hostile_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/test/fixtures/mounts"
	"github.com/roce-k8s/roce-k8s/test/fixtures/snapshot"
)

// rails are the NICs that the suite uses, and fabric the NICs that they are
// wired to. The lab names its own so.
var (
	rails  = []string{"ens12np0", "ens11np0"}
	fabric = []string{"ens22np0", "ens21np0"}
)

// How long a DEL may take, whatever a pod does: a runtime gives it a minute or
// two, and a node has many pods. Where a pod keeps the kernel busy, it is less
// than what the DEL's own deadlines for NIC and IPAM come to: links that come and
// go hold the rtnetlink lock for seconds each time on a busy machine, and a DEL
// needs it more than ten times.
const (
	delLimit       = 10 * time.Second
	slowedDelLimit = 40 * time.Second
)

func labMode() string { return os.Getenv("ROCE_LAB_MODE") }
func inLab() bool     { return labMode() != "" }

// bin is the folder with this program's other name, which pods call.
var bin string

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == foulName {
		os.Exit(foul(os.Args[1:]))
	}
	os.Exit(mounts.Run(func() int { return withFoul(m.Run) }))
}

// withFoul gives the tests the program foul, and a folder of named namespaces
// of their own, which end with them.
func withFoul(run func() int) int {
	if os.Getuid() == 0 {
		must := func(err error) {
			if err != nil {
				panic(err)
			}
		}
		must(os.MkdirAll("/run/netns", 0o755))
		must(unix.Mount("netns", "/run/netns", "tmpfs", 0, "mode=0755"))
		var err error
		bin, err = os.MkdirTemp("", "roce-hostile-")
		must(err)
		defer os.RemoveAll(bin)
		self, err := os.Executable()
		must(err)
		must(os.Symlink(self, filepath.Join(bin, foulName)))
		must(os.Setenv("PATH", bin+":"+os.Getenv("PATH")))
	}
	return run()
}

// A node has NICs, a state folder, and a pod that holds the second NIC and does
// nothing.
type node struct {
	*testing.T
	stateDir string
	host     netns.NsHandle // the namespace that plays the host
	other    *pod
	before   snapshot.Snapshot // of the host, with the first NIC on it
	apart    []string          // links that the suite does not use
	inPod    snapshot.Snapshot // of a pod that is the first to have the first NIC
}

// newNode gives a test a node. The test stays on its OS thread, whose network
// namespace the plugin inherits.
func newNode(t *testing.T) *node {
	t.Helper()
	n := emptyNode(t)
	n.apart = slices.Clone(fabric)
	if inLab() {
		interfaces, err := net.Interfaces()
		must(t, err)
		for _, i := range interfaces {
			if !slices.Contains(rails, i.Name) {
				n.apart = append(n.apart, i.Name)
			}
		}
		n.ip("addr add 172.31.1.1/24 dev " + fabric[0])
		t.Cleanup(func() { n.ip("addr del 172.31.1.1/24 dev " + fabric[0]) })
	} else {
		for i, nic := range rails {
			n.ip(fmt.Sprintf("link add %s mtu 9000 address 02:00:00:0c:e0:%02x type veth peer name %s mtu 9000", nic, i, fabric[i]))
			n.ip("link set " + fabric[i] + " up")
			n.ip("link set " + nic + " up")
		}
		n.ip("addr add 172.31.1.1/24 dev " + fabric[0])
		n.ip("link set lo up")
	}
	n.ip("link set " + rails[0] + " alias rail-one")
	n.ip("link property add dev " + rails[0] + " altname alt-" + rails[0])
	n.ip("addr add 192.168.1.1/24 dev " + rails[0])
	n.ip("route add 10.1.0.0/16 via 192.168.1.9 dev " + rails[0] + " metric 77")
	if inLab() {
		t.Cleanup(func() {
			n.ip("link property del dev " + rails[0] + " altname alt-" + rails[0])
			n.ip("addr flush dev " + rails[0] + " scope global")
			run(n, "ip", "link", "set", rails[0], "alias", "")
		})
	}
	n.other = n.pod()
	n.other.add("net1", n.config(rails[1]))
	first := n.pod()
	n.before = n.settled(n.snapshot)
	first.add("net1", n.config(rails[0]))
	n.inPod = n.settled(first.snapshot)
	n.other.remember()
	first.del("net1", n.config(rails[0]))
	n.expectAllAsBefore("an innocent pod")
	t.Cleanup(func() {
		if err := n.other.tryDel("net1", n.config(rails[1])); err != nil {
			t.Error(err)
		}
	})
	return n
}

// emptyNode is a node without NICs of its own.
func emptyNode(t *testing.T) *node {
	t.Helper()
	if os.Getuid() != 0 {
		skip(t, "netns", "network namespaces need root")
	}
	program(t, "roce-host-device")
	program(t, "host-local")
	runtime.LockOSThread()
	n := &node{T: t, stateDir: mounts.StateDir(t)}
	home, err := netns.Get()
	must(t, err)
	n.host = home
	if !inLab() {
		n.host, err = netns.New()
		must(t, err)
	}
	t.Cleanup(func() {
		must(t, netns.Set(home))
		home.Close()
		if !inLab() {
			n.host.Close()
		}
		runtime.UnlockOSThread()
	})
	return n
}

// run runs a subtest on the same node. A subtest is a goroutine of its own and
// so needs a thread of its own in the host's namespace.
func (n *node) run(name string, f func(n *node)) {
	n.T.Run(name, func(t *testing.T) {
		runtime.LockOSThread()
		must(t, netns.Set(n.host))
		sub := *n
		sub.T = t
		if sub.other != nil {
			other := *sub.other
			other.node = &sub
			sub.other = &other
		}
		f(&sub)
	})
}

// config is a network configuration: what a network says, with changes on top.
// A nil value takes a key out. There is one address, so that one that leaks is
// missed.
func (n *node) config(nic string, changes ...map[string]any) map[string]any {
	rail := slices.Index(rails, nic) + 1
	c := map[string]any{
		"cniVersion": "1.1.0", "name": fmt.Sprintf("roce-net%d", rail), "type": "roce-host-device", "device": nic,
		"ipam": map[string]any{"type": "host-local", "dataDir": filepath.Join(n.stateDir, "ipam"), "subnet": fmt.Sprintf("172.31.%d.0/24", rail),
			"rangeStart": fmt.Sprintf("172.31.%d.2", rail), "rangeEnd": fmt.Sprintf("172.31.%d.2", rail)},
	}
	if !inLab() {
		c["rdma"] = "none"
	}
	for _, change := range changes {
		maps.Copy(c, change)
	}
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// A pod is a network namespace with a container ID, and an eth0 as of any
// cluster network.
type pod struct {
	*node
	name, id, netns string
	was             snapshot.Snapshot
	process         *process // of its last misdeed
	delLimit        time.Duration
}

var podsMade int

func (n *node) pod() *pod {
	n.Helper()
	podsMade++
	name := fmt.Sprintf("cni-%d", podsMade) // as a runtime calls a pod's
	p := &pod{node: n, name: name, id: "id-" + name, netns: "/run/netns/" + name, delLimit: delLimit}
	n.ip("netns add " + name)
	n.Cleanup(p.end)
	n.ip(fmt.Sprintf("link add %s address 02:00:00:00:ca:01 type veth peer name eth0 address 02:00:00:00:ca:02 netns %s", p.cali(), name))
	n.ip("-n " + name + " link set eth0 up")
	n.ip("-n " + name + " link set lo up")
	return p
}

// cali is the host's end of the pod's eth0.
func (p *pod) cali() string { return strings.Replace(p.name, "cni-", "cali", 1) }

// end ends the pod's namespace, if it has not.
func (p *pod) end() {
	p.Helper()
	if _, err := os.Stat(p.netns); err == nil {
		p.ip("netns del " + p.name)
	}
}

// A process is a program in a pod, in namespaces of its own for mounts and
// processes, with all capabilities.
type process struct {
	cmd *exec.Cmd
	out *os.File
}

// does runs commands in the pod: one process, which then stays. It ends, and all
// that it started, by kill or with the test.
func (p *pod) does(commands ...string) {
	p.Helper()
	script := prelude + strings.Join(commands, "\n") + "\necho done\nexec sleep infinity"
	read, write, err := os.Pipe()
	must(p, err)
	cmd := exec.Command("ip", "netns", "exec", p.name, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-ec", script)
	cmd.Stdout, cmd.Stderr = write, write
	for _, name := range []string{"nic", "other", "cali", "nic_mac", "other_mac"} {
		cmd.Env = append(cmd.Env, name+"="+p.variable(name))
	}
	cmd.Env = append(cmd.Env, "PATH="+os.Getenv("PATH"), "other_pod=/proc/self/fd/3") // as if somebody had passed it
	if p.other != nil {
		passed, err := os.Open(p.other.netns)
		must(p, err)
		defer passed.Close()
		cmd.ExtraFiles = []*os.File{passed}
	}
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	must(p, cmd.Start())
	write.Close()
	p.process = &process{cmd, read}
	p.Cleanup(p.process.kill)
	must(p, read.SetReadDeadline(time.Now().Add(time.Minute)))
	var said []byte
	for !bytes.HasSuffix(said, []byte("done\n")) {
		b := make([]byte, 1024)
		count, err := read.Read(b)
		said = append(said, b[:count]...)
		if err != nil {
			p.Fatalf("in the pod: %s\n%s", strings.Join(commands, "; "), said)
		}
	}
}

// kill ends the first process of the pod's, which takes all others with it before
// it is gone itself.
func (s *process) kill() {
	if first, err := exec.Command("pgrep", "-P", strconv.Itoa(s.cmd.Process.Pid)).Output(); err == nil && s.cmd.ProcessState == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(first))); err == nil {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	_ = s.cmd.Wait()
	s.out.Close()
}

// command is the plugin about to be run for the pod, as a runtime runs it.
func (p *pod) command(ctx context.Context, plugin, verb, ifName string, config []byte) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program(p.T, plugin))
	cmd.Env = append(os.Environ(), "CNI_COMMAND="+verb, "CNI_CONTAINERID="+p.id, "CNI_NETNS="+p.netns, "CNI_IFNAME="+ifName,
		"CNI_PATH="+os.Getenv("ROCE_CNI_PATH"), "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME="+p.name)
	cmd.Stdin = bytes.NewReader(config)
	return cmd
}

// call runs a plugin to its end. An error has what it printed.
func (p *pod) call(plugin, verb, ifName string, config map[string]any) ([]byte, error) {
	b, err := json.Marshal(config)
	must(p, err)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := p.command(ctx, plugin, verb, ifName, b)
	cmd.WaitDelay = time.Second
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if stderr.Len() > 0 {
		p.Logf("%s for %s: %s", verb, p.name, &stderr)
	}
	if err == nil {
		return out, nil
	}
	var failed types.Error
	if json.Unmarshal(out, &failed) == nil && failed.Code != 0 {
		return out, &failed
	}
	return out, fmt.Errorf("%w: %s", err, out)
}

// code is the CNI error code of an error, 0 for none.
func code(err error) uint {
	var e *types.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func (p *pod) tryAdd(ifName string, config map[string]any) error {
	p.Helper()
	_, err := p.call("roce-host-device", "ADD", ifName, config)
	return err
}

func (p *pod) add(ifName string, config map[string]any) {
	p.Helper()
	if err := p.tryAdd(ifName, config); err != nil {
		p.Fatalf("ADD for %s: %v", p.name, err)
	}
}

// tryDel fails the test when a DEL takes too long, with whatever result.
func (p *pod) tryDel(ifName string, config map[string]any) error {
	p.Helper()
	start := time.Now()
	_, err := p.call("roce-host-device", "DEL", ifName, config)
	if took := time.Since(start); took >= p.delLimit {
		p.Errorf("DEL for %s took %v", p.name, took.Round(time.Second/10))
	}
	return err
}

func (p *pod) del(ifName string, config map[string]any) {
	p.Helper()
	if err := p.tryDel(ifName, config); err != nil {
		p.Fatalf("DEL for %s: %v", p.name, err)
	}
}

// in runs a command in the pod's network namespace.
func (p *pod) in(command string) string {
	p.Helper()
	return run(p, append([]string{"ip", "netns", "exec", p.name}, strings.Fields(command)...)...)
}

func (p *pod) snapshot() (s snapshot.Snapshot) {
	p.Helper()
	ns, err := netns.GetFromPath(p.netns)
	must(p, err)
	defer ns.Close()
	must(p, netdev.In(ns, func() (err error) {
		s, err = snapshot.Take(func(string) bool { return false })
		return err
	}))
	return s
}

// remember keeps what the pod is like, for expectUntouched.
func (p *pod) remember() { p.was = p.settled(p.snapshot) }

func (p *pod) expectUntouched() {
	p.Helper()
	p.expect("pod "+p.name+", which has another NIC,", p.was, p.snapshot)
}

// snapshot is what the host is like, without the ends of pods' eth0 and of
// wires.
func (n *node) snapshot() snapshot.Snapshot {
	n.Helper()
	s, err := snapshot.Take(func(link string) bool {
		return strings.HasPrefix(link, "cali") || strings.HasPrefix(link, "wire") || slices.Contains(n.apart, link)
	})
	must(n, err)
	return s
}

// settled takes a snapshot when nothing changes any more.
func (n *node) settled(take func() snapshot.Snapshot) (s snapshot.Snapshot) {
	n.Helper()
	s = take()
	for range 100 {
		time.Sleep(50 * time.Millisecond)
		last := s
		if s = take(); last.Difference(s) == "" {
			break
		}
	}
	return s
}

// expect waits until something is as wanted: a namespace ends, and a link comes
// up, in its own time.
func (n *node) expect(what string, want snapshot.Snapshot, take func() snapshot.Snapshot) {
	n.Helper()
	var difference string
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if difference = want.Difference(take()); difference == "" {
			return
		}
	}
	n.Fatalf("%s is not as before:\n%s", what, difference)
}

// expectAllAsBefore checks that nothing is left of who had the first NIC.
func (n *node) expectAllAsBefore(who string) {
	n.Helper()
	n.expect("after "+who+" the host", n.before, n.snapshot)
	n.other.expectUntouched()
	n.expectClean(n.other)
}

// expectClean checks that journal and addresses are those of some pods, and that
// nobody holds a lock.
func (n *node) expectClean(of ...*pod) {
	n.Helper()
	must(n, filepath.WalkDir(n.stateDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		file, _ := filepath.Rel(n.stateDir, path)
		b, _ := os.ReadFile(path)
		known := d.Name() == "lock" || strings.HasPrefix(d.Name(), "last_reserved_ip.") || slices.ContainsFunc(of, func(p *pod) bool {
			return p != nil && strings.Contains(string(b), p.id)
		})
		switch {
		case filepath.Dir(file) == "locks":
			n.expectFree(path)
		case !known && len(b) == 0 && strings.HasPrefix(file, "ipam/"):
			// host-local was killed between making the file and writing in it
			// (backend/disk/backend.go, Reserve), and cannot tell whose it is.
			n.Logf("%s has an address for nobody", file)
		case !known:
			n.Errorf("left over: %s\n%s", file, b)
		}
		return nil
	}))
}

func (n *node) expectFree(lock string) {
	n.Helper()
	f, err := os.Open(lock)
	must(n, err)
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		b, _ := os.ReadFile(lock)
		n.Errorf("lock %s is held by %s", filepath.Base(lock), b)
	}
}

// expectNextPod checks that the next pod gets the first NIC as the first pod
// did, and that it works.
func (n *node) expectNextPod() {
	n.Helper()
	next := n.pod()
	next.add("net1", n.config(rails[0]))
	next.expect("the NIC in the next pod", n.inPod, next.snapshot)
	next.in("foul ping net1 172.31.1.1")
	next.del("net1", n.config(rails[0]))
	next.end()
}

// ip runs one ip command on the host.
func (n *node) ip(args string) {
	n.Helper()
	run(n, append([]string{"ip"}, strings.Fields(args)...)...)
}

// notInLab skips a test for which a NIC is as good as any.
func notInLab(t *testing.T) {
	t.Helper()
	if inLab() {
		t.Skip("runs on the machine itself")
	}
}

// program finds a plugin in the folders of ROCE_CNI_PATH.
func program(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range filepath.SplitList(os.Getenv("ROCE_CNI_PATH")) {
		if path := filepath.Join(dir, name); unix.Access(path, unix.X_OK) == nil {
			return path
		}
	}
	skip(t, "plugins", "ROCE_CNI_PATH has no "+name+": run the tests with `make test-hostile`")
	return ""
}

// skip skips a test for want of something. ROCE_TEST_REQUIRE lists what this
// machine must have: there, a skip is a failure.
func skip(t *testing.T, want, reason string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("ROCE_TEST_REQUIRE"), ","), want) {
		t.Fatalf("%s is required here: %s", want, reason)
	}
	t.Skip(reason)
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
