package cni_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The host, udev included, sees a NIC that comes back under its own name: what
// it does for a netdev that appears, it does by the name.
func TestANICAppearsOnTheHostUnderItsOwnName(t *testing.T) {
	for name, c := range map[string]struct {
		inPod string // done in the pod before DEL
		want  []string
	}{
		"as it was given":                 {want: []string{rails[0]}},
		"renamed by the pod":              {inPod: "ip link set net1 down; ip link set net1 name evil", want: []string{rails[0]}},
		"the pod calls it what it is":     {inPod: "ip link set net1 down; ip link set net1 name " + rails[0], want: []string{rails[0]}},
		"the pod has another of its name": {inPod: "ip link add " + rails[0] + " type veth peer name other", want: []string{"net1", rails[0]}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1)
			before, p := hostState(t), r.pod()
			config := r.config(rails[0])
			p.add("net1", config)
			if c.inPod != "" {
				p.exec("bash", "-ec", c.inPod)
			}
			seen := r.namesSeen(func() { p.del("net1", config) })
			if !slices.Equal(seen, c.want) {
				t.Errorf("the host saw it as %q, want %q", seen, c.want)
			}
			r.expectHost(before)
		})
	}
}

// namesSeen are the names, each once, of what the kernel told the host of rail 1
// while f ran.
func (r *rig) namesSeen(f func()) (names []string) {
	r.Helper()
	updates, done := make(chan netlink.LinkUpdate, 1000), make(chan struct{})
	must(r, netlink.LinkSubscribe(updates, done))
	f()
	time.Sleep(100 * time.Millisecond) // the last ones are on their way
	close(done)
	back, err := netlink.LinkByName(rails[0])
	must(r, err)
	for {
		select {
		case u, open := <-updates:
			if !open {
				return names
			}
			a := u.Attrs()
			if u.Header.Type == unix.RTM_NEWLINK && a.Index == back.Attrs().Index && !slices.Contains(names, a.Name) {
				names = append(names, a.Name)
			}
		case <-time.After(time.Second):
			return names
		}
	}
}

// onAHostWithAddresses skips the test where the NICs have none: in the lab,
// which a test must not change. Real hosts are in test/hosts.
func onAHostWithAddresses(t *testing.T) {
	t.Helper()
	if inLab() {
		t.Skip("runs on the machine itself")
	}
}

func TestRoutesInOtherTablesComeBackAndRulesStay(t *testing.T) {
	onAHostWithAddresses(t)
	r := newRig(t, 1)
	for _, args := range []string{
		"route add 10.77.0.0/16 via 192.168.0.9 table 111", "route add default via 192.168.0.9 table 111",
		"route add local 10.79.0.0/16 dev " + rails[0] + " table 111", "route add 10.78.0.0/16 dev " + rails[0] + " table 70000 metric 7", "rule add priority 1111 from 192.168.0.1 lookup 111",
		"rule add priority 1112 iif " + rails[0] + " lookup 70000",
	} {
		run(t, append([]string{"ip"}, strings.Fields(args)...)...)
	}
	policy := func() string {
		routes := strings.Split(run(t, "ip", "-4", "route", "show", "table", "all"), "\n")
		slices.Sort(routes)
		return strings.Join(routes, "\n") + run(t, "ip", "-4", "rule")
	}
	before := policy()
	p := r.pod()
	config := r.config(rails[0])
	p.add("net1", config)
	p.del("net1", config)
	if after := policy(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	// The pod has them neither: without the host's rules they would mean nothing.
	keep := r.config(rails[0], map[string]any{"ipam": nil, "keepAddresses": true})
	p.add("net1", keep)
	if routes := p.exec("ip", "route", "show", "table", "all"); strings.Contains(routes, "table 111") || strings.Contains(routes, "70000") {
		t.Errorf("the pod has the host's other tables:\n%s", routes)
	}
	p.del("net1", keep)
	if after := policy(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// networkManager writes what NetworkManager would about a NIC whose profile is
// active. The folder stands for the real one.
func (r *rig) networkManager(nic string) {
	r.Helper()
	const folder = "/run/NetworkManager"
	if _, err := os.Stat(folder); os.IsNotExist(err) {
		must(r, os.Mkdir(folder, 0o755))
		r.Cleanup(func() { must(r, os.Remove(folder)) })
	}
	run(r, "mount", "-t", "tmpfs", "fake-NetworkManager", folder)
	r.Cleanup(func() { run(r, "umount", folder) })
	link, err := netlink.LinkByName(nic)
	must(r, err)
	must(r, os.Mkdir(folder+"/devices", 0o755))
	must(r, os.WriteFile(fmt.Sprintf("%s/devices/%d", folder, link.Attrs().Index), []byte("[device]\nmanaged=true\nconnection-uuid=1\n"), 0o600))
}

func TestAnADDSaysWhatNetworkManagerLacks(t *testing.T) {
	onAHostWithAddresses(t)
	r := newRig(t, 1)
	r.networkManager(rails[0])
	var log strings.Builder
	r.cni = libcni.NewCNIConfigWithCacheDir(pluginPath(t), t.TempDir(), &invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: &log}})
	says := func() bool {
		log.Reset()
		p := r.pod()
		p.add("net1", r.config(rails[0]))
		p.del("net1", r.config(rails[0]))
		r.overdue()
		return strings.Contains(log.String(), "nic="+rails[0]) && strings.Contains(log.String(), `lacks="no-auto-default=*"`)
	}
	if !says() {
		t.Errorf("it says %q", log.String())
	}
	must(t, os.Mkdir("/run/NetworkManager/conf.d", 0o755))
	must(t, os.WriteFile("/run/NetworkManager/conf.d/rails.conf", []byte("[main]\nno-auto-default=*\n"), 0o600))
	if says() {
		t.Errorf("it says %q though nothing lacks", log.String())
	}
}

// overdue makes what is owed to NICs due.
func (r *rig) overdue() {
	r.Helper()
	r.rewrite("owed", "back", time.Now().Add(-21*time.Second).UTC())
}

// rewrite sets a key of all records in a folder of the state folder.
func (r *rig) rewrite(folder, key string, value any) {
	r.Helper()
	r.change(folder, func(record map[string]any) { record[key] = value })
}

// change changes all records in a folder of the state folder.
func (r *rig) change(folder string, change func(record map[string]any)) {
	r.Helper()
	paths, err := filepath.Glob(filepath.Join(r.stateDir, folder, "*"))
	must(r, err)
	if len(paths) == 0 {
		r.Fatal("there is nothing in " + folder)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		must(r, err)
		record := map[string]any{}
		must(r, json.Unmarshal(b, &record))
		change(record)
		b, err = json.Marshal(record)
		must(r, err)
		must(r, os.WriteFile(path, b, 0o600))
	}
}

// The device plugin has a read-only /proc/sys.
func TestDELSetsTheSysctlsThatARescueMayNot(t *testing.T) {
	onAHostWithAddresses(t)
	r := newRig(t, 1)
	config := r.config(rails[0])
	sysctls := []string{"net.ipv6.conf." + rails[0] + ".accept_ra", "net.ipv4.neigh." + rails[0] + ".gc_stale_time"}
	values := func() string { return run(t, append([]string{"sysctl", "-n"}, sysctls...)...) }
	run(t, "sysctl", "-qw", sysctls[0]+"=0", sysctls[1]+"=240")
	before, p := values(), r.pod()
	p.add("net1", config)
	p.exec("ip", "link", "set", "net1", "netns", fmt.Sprint(unix.Gettid()))
	run(t, "ip", "link", "set", "net1", "down", "name", rails[0])
	r.rewrite("attachments", "step", "returned")
	if now := values(); now == before {
		t.Fatalf("the move keeps sysctls: %s", now)
	}
	p.del("net1", config)
	if now := values(); now != before {
		t.Errorf("%s, was %s", now, before)
	}
}

// udev runs ifupdown for a netdev that appears. After a pod's end without a
// DEL, DEL has it appear once more: there must be no address then, and if
// ifupdown does not come, the journal's comes back.
func TestDELHasIfupdownConfigureANICThatTheKernelBroughtBack(t *testing.T) {
	onAHostWithAddresses(t)
	for name, rescued := range map[string]bool{"rescued": true, "as the kernel left it": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 2)
			before, p := hostState(t), r.pod()
			config := r.config(rails[0])
			p.add("net1", config)
			p.exec("ip", "link", "set", "net1", "netns", fmt.Sprint(unix.Gettid()))
			if rescued {
				run(t, "ip", "link", "set", "net1", "name", rails[0], "alias", "rail of "+rails[0], "up")
				run(t, "ip", "addr", "add", "192.168.0.1/24", "dev", rails[0])
				run(t, "ip", "route", "add", "10.0.0.0/16", "via", "192.168.0.9")
				r.expectHost(before)
				r.rewrite("attachments", "step", "returned")
			}
			r.rewrite("attachments", "manager", "ifupdown")
			p.del("net1", config)
			if has := run(t, "ip", "-4", "-o", "addr", "show", "dev", rails[0]) + run(t, "ip", "-4", "route", "show", "dev", rails[0]); has != "" {
				t.Errorf("ifupdown would fail, for there is %s", has)
			}
			r.expectClean()
			r.overdue()
			other := r.pod() // any operation settles what is owed
			other.add("net1", r.config(rails[1]))
			other.del("net1", r.config(rails[1]))
			r.expectHost(before)
		})
	}
}

func TestANICOfANetworkManagerIsLeftToIt(t *testing.T) {
	onAHostWithAddresses(t)
	r := newRig(t, 2)
	r.networkManager(rails[0])
	before := hostState(t)
	config := r.config(rails[0])
	addresses := func() string { return run(t, "ip", "-4", "-o", "addr", "show", "dev", rails[0]) }
	another := func() { // any operation settles what is owed
		p := r.pod()
		p.add("net1", r.config(rails[1]))
		p.del("net1", r.config(rails[1]))
	}
	attach := func() {
		p := r.pod()
		p.add("net1", config)
		if notes, err := filepath.Glob(filepath.Join(r.stateDir, "owed", "*")); len(notes) != 0 || err != nil {
			t.Errorf("a pod has it, and on the host it is owed: %v, %v", notes, err)
		}
		p.del("net1", config)
		another()
		if has := addresses(); has != "" {
			t.Errorf("before the manager has seen it, it has %s", has)
		}
	}
	r.run("which configures it, in its own way", func(r *rig) {
		attach()
		run(r, "ip", "addr", "add", "192.168.0.1/24", "dev", rails[0])
		run(r, "ip", "route", "add", "10.0.0.0/16", "via", "192.168.0.9", "metric", "105")
		r.overdue()
		another()
		if routes := run(r, "ip", "route", "show", "10.0.0.0/16"); strings.Count(routes, "10.0.0.0/16") != 1 || !strings.Contains(routes, "metric 105") {
			r.Errorf("%s", routes)
		}
		run(r, "ip", "route", "del", "10.0.0.0/16")
		run(r, "ip", "route", "add", "10.0.0.0/16", "via", "192.168.0.9")
		r.expectHost(before)
	})
	r.run("which does not: the journal's comes back", func(r *rig) {
		attach()
		r.overdue()
		another()
		r.expectHost(before)
	})
	r.run("and nobody came by for long: what it has by now is the host's", func(r *rig) {
		attach()
		run(r, "ip", "addr", "add", "192.168.77.1/24", "dev", rails[0]) // another profile
		r.rewrite("owed", "back", time.Now().Add(-time.Hour).UTC())
		another()
		if has := addresses(); strings.Count(has, "inet") != 1 || !strings.Contains(has, "192.168.77.1") {
			r.Errorf("it has %s", has)
		}
		run(r, "ip", "addr", "del", "192.168.77.1/24", "dev", rails[0])
		run(r, "ip", "addr", "add", "192.168.0.1/24", "dev", rails[0])
		run(r, "ip", "route", "add", "10.0.0.0/16", "via", "192.168.0.9")
		r.expectHost(before)
	})
	r.run("and the next pod is faster: it is no configuration of the host's", func(r *rig) {
		attach()
		attach()
		attach()
		r.overdue()
		another()
		r.expectHost(before)
	})
	r.expectClean()
	if notes, err := filepath.Glob(filepath.Join(r.stateDir, "owed", "*")); len(notes) != 0 || err != nil {
		t.Errorf("still owed: %v, %v", notes, err)
	}
}
