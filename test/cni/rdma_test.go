package cni_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func needLab(t *testing.T, mode string) {
	t.Helper()
	if !inLab() {
		t.Skip("needs the lab VM's RDMA devices; `make test-lab` runs it there")
	}
	if lab.rxe != "patched" {
		t.Skip("the stock Soft-RoCE module cannot change namespaces; see TestTheStockSoftRoCEModuleLosesItsDevice")
	}
	if mode != "" && mode != lab.mode {
		t.Skip("for RDMA mode " + mode)
	}
}

func TestInExclusiveModeTheRDMADeviceGoesWithTheNetdev(t *testing.T) {
	needLab(t, "exclusive")
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	p.add("net1", r.config(rails[0]))
	if out := p.exec("rdma", "link"); !strings.Contains(out, "link rxe0/1 state ACTIVE physical_state LINK_UP netdev net1") {
		t.Errorf("in the pod:\n%s", out)
	}
	if out := run(t, "rdma", "dev"); strings.Contains(out, "rxe0:") {
		t.Errorf("still on the host:\n%s", out)
	}
	must(t, p.check("net1", r.config(rails[0])))
	p.del("net1", r.config(rails[0]))
	r.expectHost(before)
}

func TestInSharedModeTheRDMADeviceStaysVisibleEverywhere(t *testing.T) {
	needLab(t, "shared")
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	p.add("net1", r.config(rails[0]))
	for where, out := range map[string]string{"pod": p.exec("rdma", "dev"), "host": run(t, "rdma", "dev")} {
		if !strings.Contains(out, "rxe0:") {
			t.Errorf("%s:\n%s", where, out)
		}
	}
	must(t, p.check("net1", r.config(rails[0])))
	p.del("net1", r.config(rails[0]))
	r.expectHost(before)
}

// The kernel gives a moved device the lowest free number. If a device with a
// lower number has gone, that is another one than the pod's containers were
// promised.
func TestAPodWithTheWrongDeviceNodesIsRefusedHoweverOftenTheRuntimeTries(t *testing.T) {
	needLab(t, "exclusive")
	r := newRig(t, 2)
	before := hostState(t)
	lowest, above := rails[0], rails[1]
	if uverbs(t, "rxe1") < uverbs(t, "rxe0") {
		lowest, above = above, lowest
	}
	gone := map[string]string{rails[0]: "rxe0", rails[1]: "rxe1"}[lowest]
	run(t, "rdma", "link", "del", gone)
	t.Cleanup(func() {
		run(t, "rdma", "link", "add", gone, "type", "rxe", "netdev", lowest)
		r.expectHost(before)
	})
	without := hostState(t)
	config, err := json.Marshal(r.config(above))
	must(t, err)
	add := func(p *pod, uid string) error {
		_, err := p.direct("ADD", "net1", config, "CNI_ARGS=IgnoreUnknown=1;K8S_POD_UID="+uid)
		return err
	}
	for range 3 { // each with a container ID of its own
		p := r.pod()
		err := add(p, "11111111-aaaa-4bbb-8ccc-222222222222")
		if code(err) != 106 || !strings.Contains(err.Error(), "the character device of "+above+" is now /dev/infiniband/uverbs") ||
			!strings.Contains(err.Error(), "delete the pod and create it again") {
			t.Errorf("code %d: %v", code(err), err)
		}
		p.del("net1", r.config(above))
		r.expectHost(without)
		r.expectClean()
	}
	p := r.pod()
	must(t, add(p, "11111111-aaaa-4bbb-8ccc-333333333333"))
	p.del("net1", r.config(above))
	r.expectHost(without)
}

// uverbs is the number of a device's character device.
func uverbs(t *testing.T, device string) int {
	t.Helper()
	files, err := filepath.Glob("/sys/class/infiniband_verbs/uverbs*/ibdev")
	must(t, err)
	for _, file := range files {
		var number int
		if _, err := fmt.Sscanf(filepath.Base(filepath.Dir(file)), "uverbs%d", &number); err == nil && strings.TrimSpace(string(readFile(t, file))) == device {
			return number
		}
	}
	t.Fatalf("%s has no uverbs device", device)
	return 0
}

func TestCHECKFindsTheRDMADeviceGone(t *testing.T) {
	needLab(t, "exclusive")
	r := newRig(t, 1)
	before, p, other := hostState(t), r.pod(), r.pod()
	config := r.config(rails[0])
	p.add("net1", config)
	p.exec("rdma", "dev", "set", "rxe0", "netns", other.name)
	if err := p.check("net1", config); code(err) != 111 || !strings.Contains(err.Error(), "no RDMA device rxe0 in the pod's namespace") {
		t.Errorf("code %d: %v", code(err), err)
	}
	p.del("net1", config) // and DEL finds it there
	r.expectHost(before)
}

func TestADDWithoutAnRDMADeviceIsRefusedUnlessItIsOptional(t *testing.T) {
	needLab(t, "")
	r := newRig(t, 1)
	nic := rails[7]
	before, p := hostState(t), r.pod()
	run(t, "rdma", "link", "del", "rxe7")
	t.Cleanup(func() {
		run(t, "rdma", "link", "add", "rxe7", "type", "rxe", "netdev", nic)
		r.expectHost(before)
	})
	without := hostState(t)
	if _, err := p.tryAdd("net1", r.config(nic)); code(err) != 103 || !strings.Contains(err.Error(), nic+": find its RDMA device: no RDMA device") {
		t.Errorf("code %d: %v", code(err), err)
	}
	r.expectHost(without)
	for _, rdma := range []string{"optional", "none"} {
		p.add("net1", r.config(nic, map[string]any{"rdma": rdma}))
		p.del("net1", r.config(nic, map[string]any{"rdma": rdma}))
	}
	r.expectHost(without)
	r.expectClean()
}

func TestTrafficPassesBetweenTwoPodsOnAllEightRails(t *testing.T) {
	needLab(t, "")
	r := newRig(t, 8)
	before, one, two := hostState(t), r.pod(), r.pod()
	for i := range rails {
		name := fmt.Sprintf("net%d", i+1)
		one.add(name, r.config(rails[i]))
		two.add(name, r.config(peerRails[i]))
	}
	errs := make([]error, len(rails))
	var wg sync.WaitGroup
	for i := range rails {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[i] = pingpong(one, two, i)
		}()
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("rail %d: %v", i+1, err)
		}
	}
	for i := len(rails) - 1; i >= 0; i-- {
		name := fmt.Sprintf("net%d", i+1)
		one.del(name, r.config(rails[i]))
		two.del(name, r.config(peerRails[i]))
	}
	r.expectHost(before)
	r.expectClean()
}

// pingpong sends messages over a reliable connection between the pods on one
// rail. Both have the first and second address of the rail's subnet.
func pingpong(one, two *pod, rail int) error {
	port := fmt.Sprint(18515 + rail)
	args := func(p *pod, device int) []string {
		return []string{"netns", "exec", p.name, "timeout", "300", "ibv_rc_pingpong", "-n", "20", "-s", "512", "-p", port,
			"-d", fmt.Sprintf("rxe%d", device), "-g", gidIndex(device)}
	}
	server := exec.Command("ip", args(one, rail)...)
	if err := server.Start(); err != nil {
		return err
	}
	defer func() { _ = server.Process.Kill() }()
	var out []byte
	err := fmt.Errorf("no try")
	for range 60 { // until the server listens
		time.Sleep(500 * time.Millisecond)
		if out, err = exec.Command("ip", append(args(two, rail+len(rails)), fmt.Sprintf("172.31.%d.2", rail+1))...).CombinedOutput(); err == nil {
			return server.Wait()
		}
	}
	return fmt.Errorf("%w: %s", err, out)
}

// gidIndex is where Soft-RoCE puts the first IPv4 address: after the
// link-local GID.
func gidIndex(int) string { return "1" }

func TestTheStockSoftRoCEModuleLosesItsDevice(t *testing.T) {
	needStock(t)
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	config := r.config(rails[0])
	_, err := p.tryAdd("net1", config)
	if code(err) != 106 || !strings.Contains(err.Error(), rails[0]) {
		t.Errorf("code %d: %v", code(err), err)
	}
	r.expectHost(before) // the device was made again
	p.del("net1", config)
	r.expectHost(before)
	r.expectClean()
}

func TestAPodThatCanDoWithoutRDMAGetsANICWhoseDeviceTheKernelDeletes(t *testing.T) {
	needStock(t)
	r := newRig(t, 1)
	for _, rdma := range []string{"optional", "none"} {
		for _, end := range []string{"DEL", "the namespace, then DEL", "the namespace, then GC"} {
			r.run(rdma+", ended by "+end, func(r *rig) {
				before, p := hostState(r), r.pod()
				config := r.config(rails[0], map[string]any{"rdma": rdma})
				p.add("net1", config)
				must(r, p.check("net1", config))
				if end != "DEL" {
					p.kill()
				}
				if strings.HasSuffix(end, "GC") {
					r.gc(config)
				} else {
					p.del("net1", config)
				}
				r.expectHost(before)
				r.expectClean()
			})
		}
	}
}

func needStock(t *testing.T) {
	t.Helper()
	if lab.rxe != "stock" {
		t.Skip("needs the lab VM with the stock module; `make test-lab` runs it there")
	}
}
