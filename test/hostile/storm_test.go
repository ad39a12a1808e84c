package hostile_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	stormNICs = 8
	stormSeed = 20261126
	// stormOperations take half a minute. ROCE_STORM_OPERATIONS says otherwise.
	stormOperations = 1000
)

func stormNIC(i int) string { return fmt.Sprint("rail", i) }
func stormMAC(i int) string { return fmt.Sprintf("02:00:00:0c:e1:%02x", i) }

// Our plugin, host-device and a script that moves links take NICs from the host
// and give them back, at once, as if each were alone; ours is killed in the
// middle now and then. Each knows what it holds, and must find it where it put
// it: none of them takes a NIC from anywhere but the host.
func TestThreePluginsAtOnceLoseNothing(t *testing.T) {
	notInLab(t)
	program(t, "host-device")
	seed, err := strconv.ParseUint(cmp.Or(os.Getenv("ROCE_STORM_SEED"), strconv.Itoa(stormSeed)), 10, 64)
	must(t, err)
	operations, err := strconv.Atoi(cmp.Or(os.Getenv("ROCE_STORM_OPERATIONS"), strconv.Itoa(stormOperations)))
	must(t, err)
	t.Logf("storm: %d operations, seed %d", operations, seed)

	n := emptyNode(t)
	for i := range stormNICs {
		n.ip(fmt.Sprintf("link add %s mtu 9000 address %s type veth peer name wire%d mtu 9000", stormNIC(i), stormMAC(i), i))
		n.ip(fmt.Sprintf("link set wire%d up", i))
		n.ip("link set " + stormNIC(i) + " up") // without an alias: host-device leaves none
	}
	before := n.settled(n.snapshot)

	var left atomic.Int64
	left.Store(int64(operations))
	actors := []*actor{
		{name: "ours-1", does: &ourPlugin{network: "storm-1"}},
		{name: "ours-2", does: &ourPlugin{network: "storm-2"}},
		{name: "host-device", does: hostDevice{}},
		{name: "script", does: script{}},
	}
	var wg sync.WaitGroup
	for i, a := range actors {
		a.node, a.held, a.rand = n, map[int]*pod{}, rand.New(rand.NewPCG(seed, uint64(i)))
		for range 2 {
			a.pods = append(a.pods, n.pod())
		}
		wg.Go(func() {
			// Its programs start in the host's namespace; the thread ends with it.
			runtime.LockOSThread()
			if err := netns.Set(n.host); err != nil {
				t.Error(err)
				return
			}
			for left.Add(-1) >= 0 && !t.Failed() {
				a.step()
			}
			a.finish()
		})
	}
	wg.Wait()
	for _, a := range actors {
		t.Logf("storm: %s: %s", a.name, a.summary())
	}
	for i := range stormNICs { // host-device and the script leave NICs down
		n.ip("link set " + stormNIC(i) + " up")
	}
	n.expect("after the storm the host", before, n.snapshot)
	n.expectClean()
}

// An actor takes NICs for its namespaces, and gives them back.
type actor struct {
	*node
	name string
	does interface {
		take(a *actor, nic int, p *pod) error
		give(a *actor, nic int, p *pod) error
	}
	rand                *rand.Rand
	pods                []*pod
	held                map[int]*pod // what it knows to have, by NIC
	taken, given, other int
}

func (a *actor) summary() string {
	return fmt.Sprintf("took %d NICs, gave %d back, did not get %d", a.taken, a.given, a.other)
}

// step is one operation.
func (a *actor) step() {
	a.expectHeld()
	if held := slices.Sorted(maps.Keys(a.held)); len(held) > a.rand.IntN(3) {
		nic := held[a.rand.IntN(len(held))]
		a.giveBack(nic, a.held[nic])
		return
	}
	nic := a.rand.IntN(stormNICs)
	if _, mine := a.held[nic]; mine {
		return
	}
	p := a.pods[a.rand.IntN(len(a.pods))]
	if err := a.does.take(a, nic, p); err != nil {
		a.other++
		return
	}
	a.held[nic] = p
	a.taken++
}

func (a *actor) giveBack(nic int, p *pod) {
	delete(a.held, nic)
	if err := a.does.give(a, nic, p); err != nil {
		a.Errorf("%s cannot give %s back: %v", a.name, stormNIC(nic), err)
	}
	a.given++
}

func (a *actor) finish() {
	a.expectHeld()
	for _, nic := range slices.Sorted(maps.Keys(a.held)) {
		a.giveBack(nic, a.held[nic])
	}
}

// expectHeld looks for what the actor holds, where it put it.
func (a *actor) expectHeld() {
	for nic, p := range a.held {
		ns, err := netns.GetFromPath(p.netns)
		if err != nil {
			a.Error(err)
			return
		}
		h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
		if err != nil {
			a.Error(err)
			return
		}
		links, err := h.LinkList()
		h.Close()
		ns.Close()
		if err != nil {
			a.Error(err)
		}
		if !slices.ContainsFunc(links, func(l netlink.Link) bool { return l.Attrs().HardwareAddr.String() == stormMAC(nic) }) {
			a.Errorf("%s has lost %s", a.name, stormNIC(nic))
			delete(a.held, nic)
		}
	}
}

// Our plugin is called as a runtime calls it: DEL follows an ADD that failed,
// and is called again until it succeeds; now and then there is a GC.
type ourPlugin struct{ network string }

func (o *ourPlugin) config(a *actor, nic int) map[string]any {
	return map[string]any{"cniVersion": "1.1.0", "name": o.network, "type": "roce-host-device", "device": stormNIC(nic), "rdma": "none", "mtu": 4200,
		"ipam": map[string]any{"type": "host-local", "dataDir": filepath.Join(a.stateDir, "ipam"), "subnet": "172.31.0.0/24"}}
}

func (o *ourPlugin) take(a *actor, nic int, p *pod) error {
	if a.rand.IntN(10) == 0 {
		o.collect(a, nic)
	}
	err := o.callOrKill(a, "ADD", nic, p)
	if err != nil {
		if err := o.give(a, nic, p); err != nil {
			a.Errorf("%s: DEL after a failed ADD of %s: %v", a.name, stormNIC(nic), err)
		}
	}
	return err
}

func (o *ourPlugin) give(a *actor, nic int, p *pod) error {
	if o.callOrKill(a, "DEL", nic, p) == nil {
		return nil
	}
	_, err := p.call("roce-host-device", "DEL", ifNameOf(nic), o.config(a, nic))
	return err
}

func ifNameOf(nic int) string { return fmt.Sprint("net", nic) }

// callOrKill runs the plugin, and in one of four times kills it in the middle.
func (o *ourPlugin) callOrKill(a *actor, verb string, nic int, p *pod) error {
	if a.rand.IntN(4) > 0 {
		_, err := p.call("roce-host-device", verb, ifNameOf(nic), o.config(a, nic))
		return err
	}
	b, err := json.Marshal(o.config(a, nic))
	if err != nil {
		return err
	}
	cmd := p.command(context.Background(), "roce-host-device", verb, ifNameOf(nic), b)
	if err := cmd.Start(); err != nil {
		return err
	}
	time.Sleep(time.Duration(a.rand.IntN(60)) * time.Millisecond)
	signal := unix.SIGKILL
	if a.rand.IntN(2) == 0 {
		signal = unix.SIGTERM
	}
	_ = cmd.Process.Signal(signal) // it may have ended
	return cmd.Wait()
}

func (o *ourPlugin) collect(a *actor, nic int) {
	valid := []any{}
	for nic, p := range a.held {
		valid = append(valid, map[string]any{"containerID": p.id, "ifname": ifNameOf(nic)})
	}
	config := o.config(a, nic)
	config["cni.dev/valid-attachments"] = valid
	if _, err := a.pods[0].call("roce-host-device", "GC", "", config); err != nil {
		a.Errorf("%s: GC: %v", a.name, err)
	}
}

type hostDevice struct{}

func (hostDevice) config(nic int) map[string]any {
	return map[string]any{"cniVersion": "1.0.0", "name": "theirs", "type": "host-device", "device": stormNIC(nic)}
}

func (h hostDevice) take(_ *actor, nic int, p *pod) error {
	_, err := p.call("host-device", "ADD", ifNameOf(nic), h.config(nic))
	return err
}

func (h hostDevice) give(_ *actor, nic int, p *pod) error {
	_, err := p.call("host-device", "DEL", ifNameOf(nic), h.config(nic))
	return err
}

type script struct{}

func (script) take(_ *actor, nic int, p *pod) error {
	return exec.Command("ip", "link", "set", stormNIC(nic), "netns", p.name).Run()
}

func (script) give(a *actor, nic int, p *pod) error {
	host := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(a.host))
	out, err := exec.Command("ip", "-n", p.name, "link", "set", stormNIC(nic), "netns", host).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
