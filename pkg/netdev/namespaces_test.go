package netdev_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

// mountedNamespace makes one that nothing but a mount has, in a mount namespace of a
// process's own.
func mountedNamespace(t *testing.T) (inode uint64) {
	t.Helper()
	cmd := exec.Command("unshare", "--mount", "bash", "-ec", `touch "$1"; unshare --net="$1" true; stat -c %i "$1"; exec sleep infinity`, "-", filepath.Join(t.TempDir(), "a net"))
	said, err := cmd.StdoutPipe()
	must(t, err, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	_, err = fmt.Fscan(said, &inode)
	must(t, err)
	return inode
}

// A namespace of which there is a file descriptor or a mount and nothing else is found
// by a deep search only; each comes once.
func TestNamespacesAreFoundWhateverHoldsThem(t *testing.T) {
	host := node.NewHost(t)
	held := open(t, host, newPod(t, host)).ID
	mounted := mountedNamespace(t)
	for _, deep := range []bool{false, true} {
		found := map[uint64]int{}
		for n, err := range netdev.AllNamespaces(t.Context(), deep) {
			if err == nil {
				found[n.ID]++
			}
		}
		for id, times := range found {
			if times != 1 {
				t.Errorf("deep %v: namespace %d comes %d times", deep, id, times)
			}
		}
		if found[host.ID] != 1 && deep {
			t.Error("the thread's is not found")
		}
		if (found[held] == 1) != deep || (found[mounted] == 1) != deep {
			t.Errorf("deep %v: the one that is held comes %d times, the one that is mounted %d times", deep, found[held], found[mounted])
		}
	}
	givenUp, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range netdev.AllNamespaces(ctx, false) {
		cancel()
		break // whoever leaves the loop hears no more
	}
	for _, ctx := range []context.Context{givenUp, late} {
		var last error
		for n, err := range netdev.AllNamespaces(ctx, false) {
			if n != nil {
				t.Errorf("%s though nobody waits", n.Path)
			}
			last = err
		}
		if !errors.Is(last, ctx.Err()) {
			t.Errorf("a search that was given up: %v, want %v", last, ctx.Err())
		}
	}
}

// The thread gets a /run of its own. A person's namespace, and a file that is none, lie
// beside those of pods.
func TestAPodsNamespaceIsFoundWhereItsRuntimeKeepsItAndByItsNumber(t *testing.T) {
	host := node.NewHost(t)
	must(t, unix.Unshare(unix.CLONE_NEWNS))
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must(t, unix.Mount("run", "/run", "tmpfs", 0, ""))
	must(t, os.MkdirAll("/run/docker/netns", 0o755), os.Mkdir("/run/netns", 0o755), os.WriteFile("/run/netns/cni-00000000-0000-0000-0000-000000000000", nil, 0o600), os.WriteFile("/run/netns/none", nil, 0o600))
	shell(t, "ip link add here type veth peer name away")
	link, err := host.LinkNamed("away")
	must(t, err)
	kept := map[uint64]bool{}
	for path, named := range map[string]bool{
		"/run/netns/cni-4cc8a6c5-6bd5-9f4d-6c5f-0e1c5a0a4b7e": true, "/run/docker/netns/3f1c2a9b7d6e": true, "/run/netns/blue": false,
	} {
		pod := open(t, host, newPod(t, host))
		kept[pod.ID] = true
		must(t, os.WriteFile(path, nil, 0o600), unix.Mount("/proc/thread-self/fd/"+strconv.Itoa(int(pod.NS)), path, "", unix.MS_BIND, ""))
		must(t, host.Apply(link.Attrs().Index, netdev.Change{Namespace: pod}))
		here, err := host.LinkNamed("here")
		must(t, err)
		want := path
		if !named {
			want = ""
		}
		if got, err := host.SandboxNumbered(here.Attrs().NetNsID); got != want || err != nil {
			t.Errorf("%s, %v; want %q", got, err, want)
		}
		must(t, pod.Apply(link.Attrs().Index, netdev.Change{Namespace: host}))
	}
	if got, err := host.SandboxNumbered(1 << 20); got != "" || err != nil {
		t.Errorf("of no namespace: %s, %v", got, err)
	}
	first := true
	for n, err := range netdev.AllNamespaces(t.Context(), false) {
		if err != nil {
			continue // of another test
		}
		if first = first && n.Sandbox; n.Sandbox != kept[n.ID] || n.Sandbox && !first {
			t.Errorf("%s is a runtime's: %v, those of runtimes first: %v", n.Path, n.Sandbox, first)
		}
		delete(kept, n.ID)
	}
	if len(kept) > 0 {
		t.Errorf("not found: %v", kept)
	}
}

func TestANamespaceIsTheSameWhereverItIsOpened(t *testing.T) {
	host := node.NewHost(t)
	pod := open(t, host, newPod(t, host))
	again, err := netdev.OpenNamespace("/proc/" + strconv.Itoa(sleepIn(t, host, pod)) + "/ns/net")
	must(t, err)
	defer again.Close()
	if again.ID != pod.ID || again.Cookie != pod.Cookie || pod.ID == 0 || pod.Cookie == 0 {
		t.Errorf("%d %d and %d %d", again.ID, again.Cookie, pod.ID, pod.Cookie)
	}
	if host.ID == pod.ID || host.Cookie == pod.Cookie {
		t.Errorf("two have %d %d", host.ID, host.Cookie)
	}
	if netdev.IsOwn(pod.NS) || !netdev.IsOwn(host.NS) {
		t.Error("the thread's own is another")
	}
	broken := errors.New("broken")
	if err := pod.Do(func() error {
		if !netdev.IsOwn(pod.NS) {
			t.Error("it ran somewhere else")
		}
		return broken
	}); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if _, err := netdev.OpenNamespace("/nowhere"); err == nil || err.Error() != "open network namespace /nowhere: no such file or directory" {
		t.Errorf("%v", err)
	}
}

// What was asked for is closed again, whatever came of it.
func TestNothingThatIsLookedIntoStaysOpen(t *testing.T) {
	host := node.NewHost(t)
	nic := node.AddNIC(t, host, "nic0")
	shell(t, "ip link set nic0 up; ip link set nic0w up; ip addr add fd00::1/64 dev nic0 nodad; ip link add mv0 link nic0 type macvlan")
	pod := open(t, host, newPod(t, host))
	path := "/proc/" + strconv.Itoa(sleepIn(t, host, pod)) + "/ns/net"
	mv0, err := host.LinkNamed("mv0")
	must(t, err, host.Apply(mv0.Attrs().Index, netdev.Change{Namespace: pod}))
	count := func() int {
		files, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(files)
	}
	const often = 20
	for what, look := range map[string]func() error{
		"a namespace": func() error {
			n, err := netdev.OpenNamespace(path)
			if err == nil {
				_, err = n.HardwareStatistics("lo") // opens a socket of its own
				n.Close()
			}
			return err
		},
		"all namespaces": func() error {
			for range netdev.AllNamespaces(t.Context(), false) {
				break
			}
			return nil
		},
		"what is on a link elsewhere": func() error { host.UppersElsewhere(t.Context(), nic); return nil },
		"the state of a link":         func() error { _, err := host.State(t.Context(), nic); return err },
		"connections": func() error {
			_, err := host.Connections(t.Context(), []netip.Addr{netip.IPv6Loopback()})
			return err
		},
		"an announcement": func() error { return host.Announce(nic, netip.MustParseAddr("fd00::1")) },
		"features":        func() error { _, err := host.Features(t.Context()); return err },
		"programs":        func() error { _, err := host.Programs(nic); return err },
	} {
		before := count()
		for range often {
			if err := look(); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
		if more := count() - before; more >= often {
			t.Errorf("%s: %d more files are open", what, more)
		}
	}
}

func TestSysctlsAreSetInTheNamespaceAndTheErrorSaysWhich(t *testing.T) {
	host := node.NewHost(t)
	link := node.AddNIC(t, host, "nic0")
	pod := open(t, host, newPod(t, host))
	must(t, pod.SetSysctls(nil))
	read := func(place *netdev.Namespace) string {
		t.Helper()
		must(t, netns.Set(place.NS))
		out, err := exec.Command("bash", "-c", "cd /proc/sys/net; echo $(cat ipv4/conf/lo/arp_ignore ipv4/conf/lo/arp_announce ipv6/conf/nic0/keep_addr_on_down 2>/dev/null)").CombinedOutput()
		must(t, err, netns.Set(host.NS))
		return string(out)
	}
	before := read(host)
	must(t, pod.SetSysctls([]netdev.Sysctl{{Path: "net/ipv4/conf/lo/arp_announce", Value: "1"}, {Path: "net/ipv4/conf/lo/arp_ignore", Value: "2"}}))
	if now := read(host); now != before {
		t.Errorf("%q on the host, was %q", now, before)
	}
	must(t, host.KeepIPv6(link))
	if now := read(host); !strings.HasSuffix(now, " 1\n") {
		t.Errorf("%q on the host", now)
	}
	err := pod.SetSysctls([]netdev.Sysctl{{Path: "net/ipv4/conf/nic0/arp_ignore", Value: "3"}, {Path: "net/ipv4/conf/lo/arp_ignore", Value: "4"}})
	if !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), `set net/ipv4/conf/nic0/arp_ignore to "3": `) {
		t.Errorf("%v", err)
	}
	if now := read(pod); now != "2 1\n" { // not what comes behind the one that could not be
		t.Errorf("%q in the pod", now)
	}
}
