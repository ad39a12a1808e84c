package cni_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/policy"
	"github.com/roce-k8s/roce-k8s/test/fixtures/mounts"
)

// Whatever a pod does to its NIC, DEL finds it by identity and restores it.
func TestDELFindsTheNICWhateverThePodDidToIt(t *testing.T) {
	tests := []struct {
		name     string
		commands []string // run in the pod
	}{
		{"renamed", []string{"ip link set net1 down", "ip link set net1 name mine"}},
		{"alias cleared", []string{`ip link set net1 alias ""`}},
		{"alias set to another name of the host", []string{"ip link set net1 alias eth0"}},
		{"down", []string{"ip link set net1 down"}},
		{"another MTU", []string{"ip link set net1 mtu 1400"}},
		{"promiscuous", []string{"ip link set net1 promisc on allmulticast on"}},
		{"more addresses", []string{"ip addr add 10.99.0.1/24 dev net1", "ip addr flush dev net1"}},
		{"alternative name dropped", []string{"ip link property del dev net1 altname alt-ens12np0"}},
		{"alternative names that are the host's", []string{"ip link property add dev net1 altname " + rails[0] + " altname " + rails[1] + " altname mine"}},
		{"port of a bridge", []string{"ip link add br0 type bridge", "ip link set net1 master br0"}},
		{"a macvlan on top", []string{"ip link add link net1 m1 up type macvlan"}},
		{"in a namespace of its own", []string{"unshare --net sleep 20 >/dev/null 2>&1 & sleep 0.3; ip link set net1 netns $!"}},
	}
	if inLab() { // a virtual NIC has nothing but its MAC to be known by
		tests[7].commands = nil
		type test = struct {
			name     string
			commands []string
		}
		tests = append(tests,
			test{"another MAC address", []string{"ip link set net1 down", "ip link set net1 address 02:00:00:00:00:99"}},
			test{"port of a bond", []string{"modprobe bonding max_bonds=0", "ip link add bond7 type bond", "ip link set net1 down", "ip link set net1 master bond7", "ip link set bond7 up"}},
			test{"a VLAN on top", []string{"ip link add link net1 v7 up type vlan id 7"}})
	}
	r := newRig(t, 2)
	for _, tt := range tests {
		r.run(tt.name, func(r *rig) {
			if tt.name == "alternative name dropped" {
				needs(r, "names that move")
			}
			before, p := hostState(r), r.pod()
			config := r.config(rails[0])
			p.add("net1", config)
			if len(tt.commands) > 0 {
				p.exec("bash", "-ec", strings.Join(tt.commands, "\n"))
			}
			p.del("net1", config)
			r.expectHost(before)
			r.expectClean()
		})
	}
}

func TestANICWhoseNamespaceDiedComesBackUnderItsOwnName(t *testing.T) {
	for _, after := range []string{"DEL", "DEL without CNI_NETNS", "GC", "ADD of the next pod"} {
		t.Run(after, func(t *testing.T) {
			r := newRig(t, 8)
			before, p := hostState(t), r.pod()
			for i, nic := range rails {
				p.add(fmt.Sprintf("net%d", i+1), r.config(nic))
			}
			p.kill()
			next := r.pod()
			for i, nic := range rails {
				name, config := fmt.Sprintf("net%d", i+1), r.config(nic)
				switch after {
				case "DEL":
					p.del(name, config)
				case "DEL without CNI_NETNS":
					gone := *p
					gone.netns = ""
					gone.del(name, config)
				case "GC":
					r.gc(config)
				case "ADD of the next pod":
					if !inLab() {
						// the kernel destroyed the veth: there is no next pod
						if _, err := next.tryAdd(name, config); code(err) != 100 {
							t.Errorf("code %d: %v", code(err), err)
						}
						p.del(name, config)
						continue
					}
					next.add(name, config)
					next.del(name, config)
				}
			}
			if inLab() {
				r.expectHost(before)
			}
			r.expectClean()
		})
	}
}

func TestANICThatComesBackNumberedGetsItsNameAgain(t *testing.T) {
	needLab(t, "")
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	p.add("net1", r.config(rails[0]))
	run(t, "ip", "link", "add", "net1", "type", "dummy") // so that the kernel has to number it
	index := strings.TrimSpace(p.exec("cat", "/sys/class/net/net1/ifindex"))
	p.kill()
	run(t, "bash", "-ec", "for i in {1..100}; do ip link show dev"+index+" && exit; sleep 0.05; done; exit 1")
	run(t, "ip", "link", "del", "net1")
	p.del("net1", r.config(rails[0]))
	r.expectHost(before)
	r.expectClean()
}

func TestAnADDThatWasKilledIsUndone(t *testing.T) {
	for _, by := range []string{"DEL", "GC", "a second ADD", "ADD of another pod"} {
		t.Run(by, func(t *testing.T) {
			r := newRig(t, 1)
			before, p := hostState(t), r.pod()
			config := r.config(rails[0], map[string]any{"ipam": with(r.hostLocal(1), "type", "host-local")})
			r.killDuringADD(p, config)
			switch by {
			case "DEL":
				p.del("net1", config)
			case "GC":
				r.gc(config)
			case "a second ADD":
				p.add("net1", config)
				p.del("net1", config)
			case "ADD of another pod":
				other := r.pod()
				other.add("net1", config)
				other.del("net1", config)
			}
			r.expectHost(before)
			r.expectClean()
		})
	}
}

// What its record says, while it has no ifindex of the pod's, is that the NIC is on
// the host or in the pod: whoever moved it from there knows why.
func TestAnADDThatWasKilledTakesNothingFromWhereSomebodyBroughtIt(t *testing.T) {
	if inLab() {
		t.Skip("what another plugin does to a NIC there, it does not undo")
	}
	r := newRig(t, 1)
	p, config := r.pod(), r.config(rails[0])
	r.killDuringADD(p, config)
	run(t, "bash", "-ec", "sed -i /awayIndex/d "+filepath.Join(r.stateDir, "{attachments,copies}/*.json"))
	process := exec.Command("unshare", "--net", "sleep", "60")
	must(t, process.Start())
	defer func() { _, _ = process.Process.Kill(), process.Wait() }()
	where := fmt.Sprintf("/proc/%d/ns/net", process.Process.Pid)
	own, err := os.Readlink("/proc/self/task/" + fmt.Sprint(gettid()) + "/ns/net")
	must(t, err)
	r.eventually("unshare to make a namespace", func() bool { its, err := os.Readlink(where); return err == nil && its != own })
	p.exec("ip", "link", "set", "net1", "netns", fmt.Sprint(process.Process.Pid))
	p.del("net1", config)
	run(t, "nsenter", "--net="+where, "ip", "link", "show", "net1")
	r.expectClean()
}

// A runtime that never got the answer does not know that its ADD has succeeded.
func TestAnADDForAnAttachmentThatIsThereBeginsAnew(t *testing.T) {
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	config := r.config(rails[0])
	p.add("net1", config)
	p.add("net1", config)
	p.del("net1", config)
	r.expectHost(before)
	r.expectClean()
}

// killDuringADD kills the plugin while its IPAM plugin is at work and the NIC
// is on its way or in the pod.
func (r *rig) killDuringADD(p *pod, config map[string]any) {
	r.Helper()
	slow := r.TempDir()
	real, err := exec.LookPath(filepath.Join(hostLocalDir(r.T), "host-local"))
	must(r, err)
	must(r, os.WriteFile(filepath.Join(slow, "host-local"), []byte("#!/bin/bash\nsleep 1\nexec "+real+"\n"), 0o755))
	b, err := json.Marshal(config)
	must(r, err)
	cmd := exec.Command(plugin())
	cmd.Env = append(os.Environ(), "CNI_COMMAND=ADD", "CNI_CONTAINERID="+p.id, "CNI_NETNS="+p.netns, "CNI_IFNAME=net1", "CNI_PATH="+slow)
	cmd.Stdin = strings.NewReader(string(b))
	must(r, cmd.Start())
	for range 200 { // until the NIC is in the pod
		if exec.Command("ip", "-n", p.name, "link", "show", "net1").Run() == nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	must(r, cmd.Process.Kill())
	_ = cmd.Wait()
}

func hostLocalDir(t *testing.T) string {
	for _, dir := range pluginPath(t) {
		if _, err := os.Stat(filepath.Join(dir, "host-local")); err == nil {
			return dir
		}
	}
	return ""
}

// gc runs GC with no valid attachment.
func (r *rig) gc(config map[string]any) {
	r.Helper()
	if _, ok := config["cni.dev/valid-attachments"]; !ok {
		config["cni.dev/valid-attachments"] = nil // as libcni writes an empty list
	}
	b, err := json.Marshal(config)
	must(r, err)
	p := &pod{rig: r}
	_, err = p.direct("GC", "", b)
	must(r, err)
}

func TestGCLeavesValidAttachmentsAlone(t *testing.T) {
	r := newRig(t, 3)
	before, p := hostState(t), r.pod()
	first, second, another := r.config(rails[0]), r.config(rails[1], map[string]any{"name": "roce-net1"}), r.config(rails[2])
	p.add("net1", first)
	p.add("net2", second)
	p.add("net3", another) // of another network, whose GC will come
	first["cni.dev/valid-attachments"] = []any{map[string]any{"containerID": p.id, "ifname": "net2"}}
	r.gc(first)
	p.exec("ip", "link", "show", "net2")
	p.exec("ip", "link", "show", "net3")
	if out := run(t, "ip", "link"); !strings.Contains(out, rails[0]) || strings.Contains(out, rails[1]+":") {
		t.Errorf("on the host:\n%s", out)
	}
	p.del("net2", second)
	p.del("net3", another)
	r.expectHost(before)
	r.expectClean()
}

// What GC saw before it had the lock may have ended since.
func TestGCThatWaitedForADELLeavesWhatThatLeft(t *testing.T) {
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	config := r.config(rails[0])
	p.add("net1", config)
	locks, err := filepath.Glob(filepath.Join(r.stateDir, "locks", "container-*"))
	must(t, err)
	lock, err := os.OpenFile(locks[0], os.O_RDWR, 0)
	must(t, err)
	defer lock.Close()
	must(t, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
	stdin, err := json.Marshal(config)
	must(t, err)
	gc := p.command("roce-host-device", "GC", "", append(stdin[:len(stdin)-1], `,"cni.dev/valid-attachments":null}`...))
	must(t, gc.Start())
	r.eventually("GC to wait for the lock", func() bool {
		open, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", gc.Process.Pid))
		return slices.ContainsFunc(open, func(fd string) bool { to, _ := os.Readlink(fd); return filepath.Base(to) == filepath.Base(locks[0]) })
	})
	for _, folder := range []string{"attachments", "copies"} {
		must(t, os.Rename(filepath.Join(r.stateDir, folder), filepath.Join(r.stateDir, folder+"-away")))
	}
	must(t, lock.Close())
	must(t, gc.Wait())
	p.exec("ip", "link", "show", "net1")
	for _, folder := range []string{"attachments", "copies"} {
		must(t, os.RemoveAll(filepath.Join(r.stateDir, folder)))
		must(t, os.Rename(filepath.Join(r.stateDir, folder+"-away"), filepath.Join(r.stateDir, folder)))
	}
	p.del("net1", config)
	r.expectHost(before)
}

func TestWhatCannotBeReadOfAConfigurationStopsNoDEL(t *testing.T) {
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	p.add("net1", r.config(rails[0]))
	asJSON := func(changes map[string]any) []byte {
		b, err := json.Marshal(r.config(rails[0], changes))
		must(t, err)
		return b
	}
	// A missing list is no permission to release everything.
	for _, changes := range []map[string]any{{}, {"cni.dev/valid-attachments": "none"}} {
		if _, err := p.direct("GC", "net1", asJSON(changes)); code(err) != 7 {
			t.Errorf("GC: code %d: %v", code(err), err)
		}
	}
	p.exec("ip", "link", "show", "net1")
	broken := asJSON(map[string]any{"mtu": "9000", "sourceRouting": 7, "ipam": nil, "prevResult": map[string]any{"cniVersion": "1.1.0", "ips": 7}})
	if _, err := p.direct("DEL", "net1", broken); err != nil {
		t.Error(err)
	}
	r.expectHost(before)
	r.expectClean()
}

func TestABadJournalFileIsSetAsideAndStopsNothing(t *testing.T) {
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	config := r.config(rails[0])
	dir := filepath.Join(r.stateDir, "attachments")
	must(t, os.MkdirAll(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "foreign@net7.json"), []byte(`{"hello": "world"}`), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, p.id+"@net1.json"), []byte(`{"version": 1, "bootID`), 0o600))
	p.add("net1", config)
	p.del("net1", config)
	r.expectHost(before)
	for _, file := range []string{"foreign@net7.json.bad", p.id + "@net1.json.bad"} {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Error(err)
		}
	}
}

func TestARecordOfAnEarlierBootIsHistory(t *testing.T) {
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	config := r.config(rails[0])
	p.add("net1", config)
	record := r.records()[0]
	old := strings.Replace(string(readFile(t, record)), `"mtu": 9000`, `"mtu": 1300`, 1)
	p.del("net1", config)
	// As after a power cut: the NIC is on the host as the boot configured it,
	// the record and the address are still there.
	must(t, os.WriteFile(record, []byte(strings.Replace(old, `"bootID": "`, `"bootID": "earlier-`, 1)), 0o600))
	must(t, os.WriteFile(filepath.Join(r.stateDir, "ipam", "roce-net1", "172.31.1.2"), []byte(p.id+"\r\nnet1"), 0o600))
	other := r.pod()
	other.add("net1", config)
	other.del("net1", config)
	p.kill()
	p.del("net1", config)
	r.expectHost(before)
	r.expectClean()
}

// A DEL may never come. The kernel had its NIC already, or the boot.
func TestTheNextADDOfANICEndsAnAttachmentThatIsOver(t *testing.T) {
	for name, change := range map[string][]string{
		"of an earlier boot":                     {`"bootID": "`, `"bootID": "earlier-`},
		"of one that numbered links another way": {`"bootID": "`, `"bootID": "earlier-`, `"lower": `, `"lower": 9`},
		"of one that named the NIC another way":  {`"bootID": "`, `"bootID": "earlier-`, `"name": "` + rails[0], `"name": "before0`},
		"brought back by the rescue":             {`"step": "attached"`, `"step": "returned"`},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 2)
			before, p := hostState(t), r.pod()
			p.add("net1", r.config(rails[0]))
			record := r.records()[0]
			over := strings.NewReplacer(change...).Replace(string(readFile(t, record)))
			p.del("net1", r.config(rails[0]))
			must(t, os.WriteFile(record, []byte(over), 0o600))
			lease := filepath.Join(r.stateDir, "ipam", "roce-net1", "172.31.1.2")
			must(t, os.WriteFile(lease, []byte(p.id+"\r\nnet1"), 0o600))

			other := r.pod()
			other.add("net2", r.config(rails[1])) // another NIC's
			if _, err := os.Stat(lease); err != nil {
				t.Error(err)
			}
			other.add("net1", r.config(rails[0]))
			if _, err := os.Stat(lease); err == nil {
				t.Error("the address is taken for ever")
			}
			p.del("net1", r.config(rails[0])) // it was only late
			other.exec("ip", "link", "show", "net1")
			other.del("net1", r.config(rails[0]))
			other.del("net2", r.config(rails[1]))
			r.expectHost(before)
			r.expectClean()
		})
	}
}

// The NIC that is back is under another name, as when another link has its own.
func TestAnADDLeavesWhatIsOverOfANICThatOnlyHadTheName(t *testing.T) {
	r := newRig(t, 2)
	p := r.pod()
	p.add("net1", r.config(rails[1]))
	record := r.records()[0]
	over := string(readFile(t, record))
	p.del("net1", r.config(rails[1]))
	for _, change := range [][2]string{{`"step": "attached"`, `"step": "returned"`}, {`"name": "` + rails[1] + `"`, `"name": "` + rails[0] + `"`}} {
		if !strings.Contains(over, change[0]) {
			t.Fatalf("no %s in %s", change[0], over)
		}
		over = strings.ReplaceAll(over, change[0], change[1])
	}
	must(t, os.WriteFile(record, []byte(over), 0o600))
	other := r.pod()
	other.add("net1", r.config(rails[0]))
	if _, err := os.Stat(record); err != nil {
		t.Errorf("without that NIC's lock: %v", err)
	}
	other.del("net1", r.config(rails[0]))
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

func TestOfManyADDsForOneNICOneSucceeds(t *testing.T) {
	r := newRig(t, 1)
	before := hostState(t)
	const n = 8
	pods := make([]*pod, n)
	for i := range pods {
		pods[i] = r.pod()
	}
	config, err := json.Marshal(r.config(rails[0]))
	must(t, err)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i, p := range pods {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r.enter()
			_, errs[i] = p.direct("ADD", "net1", config)
		}()
	}
	wg.Wait()
	var winner *pod
	for i, err := range errs {
		switch c := code(err); {
		case err == nil && winner == nil:
			winner = pods[i]
		case err == nil:
			t.Errorf("two pods have the NIC: %s and %s", winner.name, pods[i].name)
		case c != 101 && c != 11:
			t.Errorf("code %d: %v", c, err)
		}
	}
	if winner == nil {
		t.Fatalf("no pod has the NIC: %v", errs)
	}
	winner.del("net1", r.config(rails[0]))
	r.expectHost(before)
	r.expectClean()
}

func TestAnADDThatWaitsInVainSaysForWhom(t *testing.T) {
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	p.add("net1", r.config(rails[0])) // makes the NIC's lock
	p.del("net1", r.config(rails[0]))
	locks, err := filepath.Glob(filepath.Join(r.stateDir, "locks", "nic-*"))
	must(t, err)
	f, err := os.OpenFile(locks[0], os.O_RDWR|os.O_TRUNC, 0)
	must(t, err)
	defer f.Close()
	_, err = f.WriteString("pod default/slow, ADD of container c7\n")
	must(t, err)
	must(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
	_, err = p.tryAdd("net1", r.config(rails[0]))
	if code(err) != 11 || !strings.Contains(err.Error(), "NIC "+rails[0]+" is being changed by pod default/slow, ADD of container c7") {
		t.Errorf("code %d: %v", code(err), err)
	}
	r.expectHost(before)
	r.expectClean()
}

// Between the look at a name and the lock, the name may have become another's.
func TestAnADDHasTheLockOfTheNICThatItMoves(t *testing.T) {
	onAHostWithAddresses(t)
	r := newRig(t, 2)
	locks := map[string]*os.File{}
	for _, nic := range rails[:2] { // makes the NICs' locks
		p := r.pod()
		p.add("net1", r.config(nic))
		p.del("net1", r.config(nic))
		paths, err := filepath.Glob(filepath.Join(r.stateDir, "locks", "nic-*"))
		must(t, err)
		for _, path := range paths {
			if locks[path] == nil {
				locks[path], err = os.Open(path)
				must(t, err)
				defer locks[path].Close()
				must(t, unix.Flock(int(locks[path].Fd()), unix.LOCK_EX))
				locks[nic] = locks[path]
			}
		}
	}
	p, added := r.pod(), make(chan error, 1)
	config, err := json.Marshal(r.config(rails[0]))
	must(t, err)
	go func() {
		r.enter()
		_, err := p.direct("ADD", "net1", config)
		added <- err
	}()
	waits := func(forWhat string) {
		t.Helper()
		select {
		case err := <-added:
			t.Fatalf("ADD did not wait for %s: %v", forWhat, err)
		case <-time.After(time.Second):
		}
	}
	waits("the NIC that had the name")
	nic, err := netlink.LinkByName(rails[1])
	must(t, err)
	run(t, "bash", "-ec", "ip link set "+rails[0]+" down; ip link set "+rails[0]+" name other0; ip link set "+rails[1]+" down; ip link set "+rails[1]+" name "+rails[0])
	must(t, locks[rails[0]].Close())
	waits("the NIC that has it now")
	must(t, locks[rails[1]].Close())
	must(t, <-added)
	if got := strings.TrimSpace(p.exec("cat", "/sys/class/net/net1/iflink")); got != fmt.Sprint(nic.Attrs().ParentIndex) {
		t.Errorf("the pod has the peer of link %s, want that of %d", got, nic.Attrs().ParentIndex)
	}
	p.del("net1", r.config(rails[0]))
	r.expectClean()
}

func TestANICThatIsPulledOutOfTheNodeKeepsNoPod(t *testing.T) {
	needLab(t, "")
	const number = 15 // the last of the lab's NICs, which no other test uses
	nic, rdma := peerRails[7], fmt.Sprint("rxe", number)
	r := newRig(t, 0)
	before, p := hostState(t), r.pod()
	config := r.config(nic)
	result := p.add("net1", config)
	function := result.Interfaces[0].PciID
	must(t, os.WriteFile("/sys/bus/pci/devices/"+function+"/remove", []byte("1"), 0))
	status, err := json.Marshal(config)
	must(t, err)
	if _, err := p.direct("STATUS", "", status); code(err) != 51 || !strings.Contains(err.Error(), nic+": its hardware is gone; held by pod default/"+p.name) {
		t.Errorf("STATUS: code %d: %v", code(err), err)
	}
	p.del("net1", config)
	r.expectClean()
	must(t, os.WriteFile("/sys/bus/pci/rescan", []byte("1"), 0))
	run(t, "bash", "-ec", fmt.Sprintf("for i in {1..100}; do name=$(ls /sys/bus/pci/devices/%s/virtio*/net) && break; sleep 0.1; done\n"+
		"ip link set $name name %s mtu 9000 up\nrdma link add %s type rxe netdev %[2]s", function, nic, rdma))
	r.expectHost(before)
}

func TestANameThatIsTakenOnTheHostDelaysOnlyTheName(t *testing.T) {
	r := newRig(t, 2)
	before, p := hostState(t), r.pod()
	config := r.config(rails[0])
	p.add("net1", config)
	run(t, "ip", "link", "add", rails[0], "type", "veth", "peer", "name", "squatter")
	p.del("net1", config)
	r.expectClean() // record and address are gone, the NIC is home under another name
	_, err := p.tryAdd("net1", config)
	if code(err) != 100 || !strings.Contains(err.Error(), rails[0]+": the NIC is on the host as dev") {
		t.Fatalf("what has the name was taken for the NIC: code %d: %v", code(err), err)
	}
	home := regexp.MustCompile(`dev\d+`).FindString(err.Error())
	second := r.pod()
	second.add("net1", r.config(home)) // who has it meanwhile does not make that its name
	second.del("net1", r.config(home))
	run(t, "ip", "link", "add", "hosts-own", "link", home, "type", "macvlan")
	run(t, "ip", "link", "del", "squatter")
	other := r.pod()
	other.add("net1", r.config(rails[1])) // whatever comes next puts it right
	other.del("net1", r.config(rails[1]))
	run(t, "ip", "link", "del", "hosts-own") // which the host uses
	r.expectHost(before)
	if notes, err := filepath.Glob(filepath.Join(r.stateDir, "owed", "*")); len(notes) != 0 || err != nil {
		t.Errorf("still owed: %v, %v", notes, err)
	}
}

func TestAFullDiskIsFoundOutBeforeAnythingMoves(t *testing.T) {
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	run(t, "mount", "-t", "tmpfs", "-o", "size=64k,mode=0755", "tmpfs", policy.DefaultStateDir)
	defer run(t, "umount", policy.DefaultStateDir)
	config := r.config(rails[0], map[string]any{"ipam": nil})
	p.add("net1", config)
	fill := filepath.Join(policy.DefaultStateDir, "fill")
	for os.WriteFile(fill, make([]byte, 64<<10), 0o600) == nil {
		t.Fatal("64 KiB fit into a disk with a record on it")
	}
	p.del("net1", config) // needs no room
	r.expectHost(before)
	_ = os.WriteFile(fill, make([]byte, 64<<10), 0o600)
	if _, err := p.tryAdd("net1", config); code(err) != 107 || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("code %d: %v", code(err), err)
	}
	r.expectHost(before)
	if records := r.records(); len(records) != 0 {
		t.Errorf("records %v", records)
	}
}

func TestAReadOnlyStateFolderKeepsNoNICInAPod(t *testing.T) {
	r := newRig(t, 1)
	before, p, config := hostState(t), r.pod(), r.config(rails[0], map[string]any{"ipam": nil})
	p.add("net1", config)
	run(t, "mount", "--bind", policy.DefaultStateDir, policy.DefaultStateDir)
	t.Cleanup(func() { _ = exec.Command("umount", policy.DefaultStateDir).Run() })
	run(t, "mount", "-o", "remount,bind,ro", policy.DefaultStateDir)
	for range 2 {
		if err := p.tryDel("net1", config); code(err) != 107 || !strings.Contains(err.Error(), "the NIC is back on the host") {
			t.Errorf("code %d: %v", code(err), err)
		}
		r.expectHost(before)
	}
	run(t, "umount", policy.DefaultStateDir)
	p.del("net1", config)
	r.expectClean()
}

func TestADELFindsTheNICThoughTheRecordsAreLost(t *testing.T) {
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	p.add("net1", r.config(rails[0]))
	p.exec("bash", "-ec", "ip link set net1 down; ip link set net1 name mine; ip link property add dev mine altname "+rails[0])
	must(t, os.RemoveAll(filepath.Join(r.stateDir, "attachments")))
	p.del("net1", r.config(rails[0]))
	r.expectHost(before)
	r.expectClean()
}

// unreachable makes the pod's namespace one that lives, though nobody can tell what
// its path leads to, until reach.
func (p *pod) unreachable() (reach func()) {
	p.Helper()
	kept := p.netns + "-kept"
	shell := func(script string) {
		run(p, "bash", "-ec", strings.NewReplacer("PATH", p.netns, "KEPT", kept).Replace(script))
	}
	shell("touch KEPT; mount --bind PATH KEPT; umount PATH; rm PATH; ln -s PATH PATH")
	return func() { shell("rm PATH; touch PATH; mount --bind KEPT PATH; umount KEPT; rm KEPT") }
}

func TestADELThatCannotGiveTheNICBackSaysSoAndTheNextOneCan(t *testing.T) {
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	// Nor can the address be freed: that does not make the NIC one that is back.
	ipam := r.scriptIPAM("scripted", map[string]string{"ADD": oneAddress, "DEL": `[ -e "$(dirname "$0")/up" ] || { ` + ipamError("the server is down") + `; }`})
	config := r.config(rails[0], map[string]any{"ipam": map[string]any{"type": "scripted"}})
	p.add("net1", config)
	reach := p.unreachable()
	if err := p.tryDel("net1", config); code(err) != 110 || !strings.Contains(err.Error(), rails[0]+": give it back to the host") || !strings.Contains(err.Error(), "the server is down") {
		t.Errorf("code %d: %v", code(err), err)
	}
	if records := r.records(); len(records) != 1 {
		t.Errorf("records %v", records)
	}
	reach()
	must(t, os.WriteFile(filepath.Join(ipam.dir, "up"), nil, 0o600))
	p.del("net1", config)
	r.expectHost(before)
	r.expectClean()
}

func TestADELThatCannotGiveBackANICWithoutItsHardwareEndsTheAttachment(t *testing.T) {
	if inLab() {
		t.Skip("there one is pulled out")
	}
	r := newRig(t, 1)
	p, config := r.pod(), r.config(rails[0])
	p.add("net1", config)
	r.change("attachments", func(record map[string]any) {
		nic := record["nic"].(map[string]any)
		nic["bus"], nic["address"] = "pci", "0000:ff:1f.7"
	})
	reach := p.unreachable()
	p.del("net1", config)
	r.expectClean()
	reach()
}

func TestADELOfAnOlderRecordLeavesTheNICToItsHolder(t *testing.T) {
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	config := r.config(rails[0])
	p.add("net1", config)
	older := *p
	older.id = "older"
	b, err := os.ReadFile(r.records()[0])
	must(t, err)
	must(t, os.WriteFile(filepath.Join(r.stateDir, "attachments", "older@net1.json"), []byte(strings.Replace(string(b), p.id, older.id, 1)), 0o600))
	older.del("net1", config)
	p.exec("ip", "link", "show", "net1")
	p.del("net1", config)
	r.expectHost(before)
	r.expectClean()
}

func TestDELRemovesTheFileThatTellsMultusOfTheDevice(t *testing.T) {
	r := newRig(t, 1)
	p, config := r.pod(), r.config(rails[0])
	p.add("net1", config)
	file := filepath.Join(policy.DefaultDeviceInfoDir, "roce-test", "device.json")
	must(t, os.MkdirAll(filepath.Dir(file), 0o755))
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(file)) })
	must(t, os.WriteFile(file, nil, 0o600))
	r.rewrite("attachments", "deviceInfoFile", file)
	p.del("net1", config)
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("%v", err)
	}
}

func TestWithoutAnyRecordDELTakesNoNIC(t *testing.T) {
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	p.add("net1", r.config(rails[0]))
	for _, folder := range []string{"attachments", "copies"} {
		must(t, os.Rename(filepath.Join(r.stateDir, folder), filepath.Join(r.stateDir, "lost-"+folder)))
	}
	p.del("net1", r.config(rails[0]))
	p.exec("ip", "link", "show", "net1") // as far as anybody can tell, another plugin's
	r.expectClean()
	for _, folder := range []string{"attachments", "copies"} {
		must(t, os.RemoveAll(filepath.Join(r.stateDir, folder)))
		must(t, os.Rename(filepath.Join(r.stateDir, "lost-"+folder), filepath.Join(r.stateDir, folder)))
	}
	p.del("net1", r.config(rails[0]))
	r.expectHost(before)
}

// However far a DEL gets with the file descriptors that it has, the NIC is on
// the host or the attachment is still open: what could not be looked at does
// not count as empty.
func TestADELThatCannotLookEverywhereEndsNoAttachment(t *testing.T) {
	if inLab() {
		t.Skip("for a virtual NIC, which may really be gone")
	}
	r := newRig(t, 1)
	run(t, "ip", "link", "add", "mv0", "link", rails[0], "type", "macvlan")
	before, failed, config := hostState(t), 0, r.config("mv0", map[string]any{"name": "macvlan", "ipam": nil})
	stdin, err := json.Marshal(config)
	must(t, err)
	for files := 9; files <= 24; files++ {
		p := r.pod()
		p.add("net1", config)
		p.exec("bash", "-ec", "unshare --net sleep 20 >/dev/null 2>&1 & sleep 0.2; ip link set net1 netns $!")
		cmd := p.command("bash", "DEL", "net1", stdin)
		cmd.Args = append(cmd.Args, "-c", fmt.Sprintf("ulimit -n %d; exec %s 2>/dev/null", files, plugin()))
		if _, err := cmd.Output(); err != nil {
			failed++
			p.del("net1", config)
		}
		r.expectHost(before)
		r.expectClean()
	}
	if failed == 0 {
		t.Error("file descriptors never lacked")
	}
}

// A namespace's name and inode number may be those of one that ended.
func TestALateDELLeavesTheNICToANamespaceThatLooksLikeItsOwn(t *testing.T) {
	if inLab() {
		t.Skip("what another plugin does to a NIC there, it does not undo")
	}
	needs(t, "cookies")
	r := newRig(t, 1)
	p, config := r.pod(), r.config(rails[0])
	inode := func() uint64 {
		var st unix.Stat_t
		must(t, unix.Stat(p.netns, &st))
		return st.Ino
	}
	p.add("net1", config)
	was := inode()
	// Its end without a DEL: of hardware, the kernel brings the NIC back.
	p.exec("ip", "link", "set", "net1", "netns", fmt.Sprint(gettid()))
	p.kill()
	if !within(10*time.Second, func() bool {
		run(t, "ip", "netns", "add", p.name)
		if inode() == was {
			return true
		}
		p.kill()
		return false
	}) {
		t.Skip("the kernel does not give the number again")
	}
	run(t, "ip", "link", "set", "net1", "name", "theirs", "netns", p.name)
	p.del("net1", config)
	p.exec("ip", "link", "show", "theirs")
	r.expectClean()
}

// Links on one NIC look alike: kind, lower device and, for VLANs, MAC address.
// Each pod has its own, and the end of one takes nothing from another, nor from
// the host.
func TestLinksOnOneNICAreToldApart(t *testing.T) {
	kinds := map[string]string{"macvlan": "type macvlan mode bridge"}
	if inLab() {
		kinds["VLAN"] = "type vlan id 2"
	}
	for kind, how := range kinds {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t, 1)
			names := []string{"up0", "up1", "up2"}
			config := func(i int) map[string]any {
				return r.config(names[i], map[string]any{"name": names[i], "rdma": "none", "ipam": nil})
			}
			for i, name := range names {
				run(t, append([]string{"ip", "link", "add", name, "link", rails[0]}, strings.Fields(strings.Replace(how, "id 2", fmt.Sprint("id ", 20+i), 1))...)...)
				t.Cleanup(func() { _ = exec.Command("ip", "link", "del", name).Run() })
			}
			before := hostState(t)
			first, second := r.pod(), r.pod()
			first.add("net1", config(0))
			second.add("net1", config(1))
			second.exec("ip", "link", "set", "net1", "address", "02:00:00:00:00:99")
			for _, p := range []*pod{first, second} {
				p.exec("ip", "link", "show", "net1")
			}
			first.kill() // the link ends with it
			first.del("net1", config(0))
			second.exec("ip", "link", "show", "net1")
			second.del("net1", config(1))
			run(t, append([]string{"ip", "link", "add", "up0", "link", rails[0], "address", macIn(before, "up0")}, strings.Fields(strings.Replace(how, "id 2", "id 20", 1))...)...)
			r.expectHost(before)
			r.expectClean()
		})
	}
}

// macIn is a NIC's address in a description of the host.
func macIn(state, nic string) string {
	for line := range strings.Lines(state) {
		if fields := strings.Fields(line); fields[0] == nic && fields[1] == "mtu" {
			return fields[4]
		}
	}
	return ""
}

// A runtime need not give its namespaces names: cri-dockerd's are those of a
// process.
func TestALateDELLeavesTheNICToAnotherAttachmentsNamespace(t *testing.T) {
	if inLab() {
		t.Skip("what another plugin does to a NIC there, it does not undo")
	}
	r := newRig(t, 2)
	first, second := r.pod(), *r.pod() // a copy: its own goes by the name
	process := exec.Command("unshare", "--net", "sleep", "60")
	must(t, process.Start())
	defer func() { _, _ = process.Process.Kill(), process.Wait() }()
	second.netns = fmt.Sprintf("/proc/%d/ns/net", process.Process.Pid)
	own, err := os.Readlink("/proc/self/task/" + fmt.Sprint(gettid()) + "/ns/net")
	must(t, err)
	if !within(10*time.Second, func() bool { its, err := os.Readlink(second.netns); return err == nil && its != own }) {
		t.Fatal("unshare makes no namespace")
	}
	first.add("net1", r.config(rails[0]))
	second.add("net2", r.config(rails[1]))
	first.exec("ip", "link", "set", "net1", "netns", fmt.Sprint(gettid()))
	first.kill()
	run(t, "ip", "link", "set", "net1", "name", "theirs", "netns", fmt.Sprint(process.Process.Pid))
	first.del("net1", r.config(rails[0]))
	run(t, "nsenter", "--net="+second.netns, "ip", "link", "show", "theirs")
	second.del("net2", r.config(rails[1]))
	r.expectClean()
}

// What the host cannot have back, because it has changed meanwhile, keeps no pod.
func TestADELEndsThoughTheHostHasChanged(t *testing.T) {
	onAHostWithAddresses(t)
	nic := rails[0]
	t.Run("a smaller MTU below", func(t *testing.T) {
		r := newRig(t, 1)
		run(t, "bash", "-ec", "ip link add up0 mtu 9000 link "+nic+" type macvlan mode bridge; ip link set up0 up; ip addr add 192.168.50.1/24 dev up0")
		p, config := r.pod(), r.config("up0", map[string]any{"name": "up0", "ipam": nil})
		p.add("net1", config)
		run(t, "ip", "link", "set", nic, "mtu", "1500")
		p.del("net1", config)
		if has := run(t, "ip", "-o", "addr", "show", "up", "dev", "up0"); !strings.Contains(has, "192.168.50.1/24") {
			t.Errorf("up, it has %q", has)
		}
		r.expectClean()
	})
	t.Run("a route whose source address is gone", func(t *testing.T) {
		r := newRig(t, 2)
		run(t, "bash", "-ec", "ip link set lo up; ip addr add 10.255.0.1/32 dev lo; ip route add 10.99.0.0/16 via 192.168.0.9 src 10.255.0.1")
		before, config := hostState(t), r.config(nic)
		p := r.pod()
		p.add("net1", config)
		run(t, "ip", "addr", "del", "10.255.0.1/32", "dev", "lo")
		p.del("net1", config)
		run(t, "ip", "addr", "del", "192.168.0.1/24", "dev", nic) // which came back: it is the host's again
		run(t, "ip", "addr", "add", "192.168.0.1/23", "dev", nic)
		run(t, "ip", "route", "add", "10.0.0.0/16", "via", "192.168.0.9")
		other := r.pod() // and whoever has the NIC next
		other.add("net1", config)
		other.del("net1", config)
		if has := run(t, "ip", "-o", "-4", "addr", "show", "up", "dev", nic); !strings.Contains(has, "192.168.0.1/23") || strings.Contains(has, "192.168.0.1/24") {
			t.Errorf("it has %q", has)
		}
		r.expectClean()
		run(t, "ip", "addr", "add", "10.255.0.1/32", "dev", "lo")
		other.add("net2", r.config(rails[1])) // any operation settles what is owed
		other.del("net2", r.config(rails[1]))
		r.expectHost(strings.NewReplacer("192.168.0.1/24", "192.168.0.1/23", "192.168.0.0/24", "192.168.0.0/23").Replace(before))
		if notes, err := filepath.Glob(filepath.Join(r.stateDir, "owed", "*")); len(notes) != 0 || err != nil {
			t.Errorf("still owed: %v, %v", notes, err)
		}
	})
}

// A macvlan is known by its MAC address. While another has it, ours comes back with
// the one that the pod gave it, and the other is left alone.
func TestAMACAddressThatIsTakenMakesNoOtherLinkOurs(t *testing.T) {
	onAHostWithAddresses(t)
	r := newRig(t, 1)
	macvlan := "link add %s address 02:00:00:00:00:aa link " + rails[0] + " type macvlan mode bridge"
	run(t, append([]string{"ip"}, strings.Fields(fmt.Sprintf(macvlan, "up0"))...)...)
	run(t, "ip", "link", "set", "up0", "up")
	p, config := r.pod(), r.config("up0", map[string]any{"name": "up0", "ipam": nil})
	p.add("net1", config)
	p.exec("bash", "-ec", "ip link set net1 down; ip link set net1 address 02:00:00:00:00:bb; ip link set net1 up")
	run(t, append([]string{"ip"}, strings.Fields(fmt.Sprintf(macvlan, "up1"))...)...)
	run(t, "ip", "link", "set", "up1", "alias", "another", "up")
	other := settled(t, func() string { return run(t, "ip", "-d", "link", "show", "up1") })
	for range 2 {
		p.del("net1", config)
		if now := run(t, "ip", "-d", "link", "show", "up1"); now != other {
			t.Errorf("the other is\n%s\nwas\n%s", now, other)
		}
	}
	if has := run(t, "ip", "link", "show", "up", "dev", "up0"); !strings.Contains(has, "02:00:00:00:00:bb") {
		t.Errorf("%q", has)
	}
	run(t, "ip", "link", "del", "up1")
	r.expectClean()
}

// Where a policy names another state folder and cannot be used any more, nobody
// knows of what is in that. A DEL does not say that all is done while the pod has
// such an interface.
func TestADELWhoseStateFolderIsUnknownWaitsForThePolicy(t *testing.T) {
	r := newRig(t, 1)
	mounts.Policy(t, fmt.Sprintf(`{"stateDir": %q}`, filepath.Join(t.TempDir(), "state")))
	before, p, other, config := hostState(t), r.pod(), r.pod(), r.config(rails[0])
	p.add("net1", config)
	must(t, os.Chmod(policy.File, 0o666))
	if err := p.tryDel("net1", config); code(err) != 110 || !strings.Contains(err.Error(), "may name another state folder") {
		t.Errorf("code %d: %v", code(err), err)
	}
	if len(r.leases()) != 1 {
		t.Errorf("the addresses %v are given out", r.leases())
	}
	other.del("net1", config) // it has none
	must(t, os.Chmod(policy.File, 0o644))
	p.del("net1", config)
	r.expectHost(before)
	r.expectClean()
}
