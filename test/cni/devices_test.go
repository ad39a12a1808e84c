package cni_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	current "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/policy"
	"github.com/roce-k8s/roce-k8s/test/fixtures/mounts"
)

// several is the configuration of one network of several NICs.
func (r *rig) several(devices []string, changes ...map[string]any) map[string]any {
	return r.config(rails[0], append([]map[string]any{{"name": "roce-rails", "device": nil, "devices": devices}}, changes...)...)
}

// valid is a GC's configuration.
func valid(config map[string]any, attachments []any) map[string]any {
	return with(maps.Clone(config), "cni.dev/valid-attachments", attachments)
}

// names are those of a result's interfaces.
func names(result *current.Result) (names []string) {
	for _, nic := range result.Interfaces {
		names = append(names, nic.Name)
	}
	return names
}

// nicsIn are the pod's NICs and their addresses: "net1 192.168.0.1/24".
func (p *pod) nicsIn() (nics []string) {
	p.Helper()
	var links []struct {
		Name      string `json:"ifname"`
		Addresses []struct {
			Scope  string `json:"scope"`
			Local  string `json:"local"`
			Prefix int    `json:"prefixlen"`
		} `json:"addr_info"`
	}
	must(p, json.Unmarshal([]byte(p.exec("ip", "-j", "addr")), &links))
	for _, link := range links {
		for _, a := range link.Addresses {
			if a.Scope == "global" {
				nics = append(nics, fmt.Sprintf("%s %s/%d", link.Name, a.Local, a.Prefix))
			}
		}
	}
	return nics
}

func TestOneADDGivesThePodSeveralNICsInTheOrderOfTheList(t *testing.T) {
	all := rails
	for name, tt := range map[string]struct {
		changes func(r *rig) map[string]any
		address func(i int) string
	}{
		"host-local": {func(*rig) map[string]any { return nil }, nil},
		"the host's addresses": {func(*rig) map[string]any {
			return map[string]any{"ipam": nil, "keepAddresses": true, "sourceRouting": true}
		}, func(i int) string { return fmt.Sprintf("192.168.%d.1/24", i) }},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 8)
			if inLab() && tt.address != nil {
				t.Skip("the lab's NICs have no addresses on the host")
			}
			before, p := hostState(t), r.pod()
			config := r.several(all, tt.changes(r))
			result := p.add("net1", config)
			want := []string{"net1", "net1-2", "net1-3", "net1-4", "net1-5", "net1-6", "net1-7", "net1-8"}
			if got := names(result); !slices.Equal(got, want) {
				t.Errorf("the result has %v", got)
			}
			nics := p.nicsIn()
			if len(result.IPs) != 8 || len(nics) != 8 || len(slices.Compact(slices.Sorted(slices.Values(nics)))) != 8 {
				t.Errorf("addresses %v, in the pod %v", result.IPs, nics)
			}
			for i, ip := range result.IPs {
				line := want[*ip.Interface] + " " + ip.Address.String()
				if *ip.Interface != i || !slices.Contains(nics, line) || tt.address != nil && ip.Address.String() != tt.address(i) {
					t.Errorf("address %d is %s, in the pod %v", i, line, nics)
				}
			}
			must(t, p.check("net1", config))
			if again := p.add("net1", config); !slices.Equal(names(again), want) { // a runtime that missed the answer
				t.Errorf("the second ADD: %v", names(again))
			}
			p.exec("ip", "link", "set", "net1-5", "down")
			if err := p.check("net1", config); code(err) != 111 || !strings.Contains(err.Error(), rails[4]) || !strings.Contains(err.Error(), "net1-5 is down") {
				t.Errorf("CHECK: code %d: %v", code(err), err)
			}
			for range 2 {
				p.del("net1", config)
				r.expectHost(before)
				r.expectClean()
			}
		})
	}
}

func TestNICsAreListedByNameByAddressOrByPattern(t *testing.T) {
	r := newRig(t, 4)
	if inLab() {
		t.Skip("the lab has eight")
	}
	before, p := hostState(t), r.pod()
	for want, devices := range map[string][]string{
		"ens13np0 ens12np0":                   {"ens13np0", "ens12np0"},
		"ens14np0 ens11np0":                   {"alt-ens14np0", "ens11np0"},
		"ens11np0 ens12np0 ens13np0 ens14np0": {"ens1?np0"}, // on no bus: by name
		"ens14np0 ens11np0 ens12np0 ens13np0": {"ens14np0", "ens1[123]np0"},
		"ens13np0":                            {"alt-ens13*"},
	} {
		config := r.several(devices)
		b, err := json.Marshal(config)
		must(t, err)
		_, err = p.direct("STATUS", "", b)
		must(t, err)
		p.add("net1", config)
		var got []string
		for i := range strings.Fields(want) {
			name := "net1"
			if i > 0 {
				name = fmt.Sprintf("net1-%d", i+1)
			}
			alias := strings.TrimSpace(p.exec("cat", "/sys/class/net/"+name+"/ifalias"))
			got = append(got, strings.TrimPrefix(alias, "rail of "))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%v: %v, want %s", devices, got, want)
		}
		p.del("net1", config)
		r.expectHost(before)
	}
	r.expectClean()
}

// The fifth of eight NICs fails at each step at which it can.
func TestIfOneOfSeveralNICsFailsThePodGetsNone(t *testing.T) {
	if inLab() {
		t.Skip("as in the lab with one NIC")
	}
	bad := rails[4]
	for name, tt := range map[string]struct {
		changes map[string]any
		before  func(r *rig, p *pod)
		want    string
		code    uint
	}{
		"it is not there":    {nil, func(r *rig, _ *pod) { run(r, "ip", "link", "del", bad) }, "no NIC with device \"" + bad + "\"", 100},
		"another pod has it": {nil, func(r *rig, _ *pod) { r.pod().add("net1", r.config(bad)) }, bad + ": held by ", 101},
		"the host needs it": {nil, func(r *rig, _ *pod) {
			run(r, "ip", "route", "add", "default", "dev", bad)
		}, bad + ": ", 112},
		"it has no address to keep":   {map[string]any{"ipam": nil, "keepAddresses": true}, func(r *rig, _ *pod) { run(r, "ip", "addr", "flush", "dev", bad) }, bad + ": keep its addresses", 109},
		"its name in the pod is used": {nil, func(_ *rig, p *pod) { p.exec("ip", "link", "add", "net1-5", "type", "bridge") }, "already has an interface net1-5", 102},
		"there is no room for its record": {nil, func(r *rig, _ *pod) {
			must(r, unix.Mount("tmpfs", r.stateDir, "tmpfs", 0, "mode=0755,size=60k"))
			must(r, mounts.Mount(r.stateDir))
			r.Cleanup(func() {
				must(r, unix.Unmount(policy.DefaultStateDir, unix.MNT_DETACH))
				must(r, unix.Unmount(r.stateDir, unix.MNT_DETACH))
			})
		}, "write down what is about to be moved", 107},
		"there is no address for it": {map[string]any{"ipam": map[string]any{"type": "host-local", "ranges": []any{[]any{map[string]any{
			"subnet": "172.31.1.0/24", "rangeStart": "172.31.1.10", "rangeEnd": "172.31.1.13"}}}}}, nil, "get an address from host-local", 108},
		"its address cannot be set": {map[string]any{"ipam": map[string]any{"type": "fifth"}}, nil, bad + ": configure its addresses", 109},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 8)
			p := r.pod()
			if tt.before != nil {
				tt.before(r, p)
			}
			if ipam, ok := tt.changes["ipam"].(map[string]any); ok && ipam["type"] == "fifth" {
				r.fifthAddressIsBad()
			} else if ok {
				ipam["dataDir"] = filepath.Join(r.stateDir, "ipam")
			}
			before, records, leases := hostState(t), r.records(), r.leases()
			_, err := p.tryAdd("net1", r.several(rails, tt.changes))
			if code(err) != tt.code || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("code %d: %v", code(err), err)
			}
			r.expectHost(before)
			if now := p.nicsIn(); len(now) > 0 {
				t.Errorf("the pod has %v", now)
			}
			if len(r.records()) != len(records) || len(r.leases()) != len(leases) {
				t.Errorf("left over: %v, %v", r.records(), r.leases())
			}
		})
	}
}

// fifthAddressIsBad puts an IPAM plugin into CNI_PATH that gives the fifth
// interface an address whose gateway is out of reach.
func (r *rig) fifthAddressIsBad() {
	r.Helper()
	dir := r.TempDir()
	must(r, os.WriteFile(filepath.Join(dir, "fifth"), []byte(`#!/bin/bash
n=${CNI_IFNAME#net1-}; [[ $n != net1 ]] || n=1
route=; [[ $n != 5 ]] || route='{"dst":"10.9.0.0/16","gw":"203.0.113.9"}'
[[ $CNI_COMMAND != ADD ]] || echo '{"cniVersion":"1.1.0","ips":[{"address":"172.30.'$n'.5/24"}],"routes":['$route']}'
`), 0o755))
	path := os.Getenv("ROCE_CNI_PATH") + string(filepath.ListSeparator) + dir
	r.Setenv("ROCE_CNI_PATH", path)
	r.cni.Path = filepath.SplitList(path)
}

func TestDELAndGCEndAllNICsOfACall(t *testing.T) {
	r := newRig(t, 4)
	before := hostState(t)
	config := r.several(rails[:3])
	for how, end := range map[string]func(p *pod){
		"DEL": func(p *pod) { p.del("net1", config) },
		"DEL without a configuration that could be read": func(p *pod) {
			_, err := p.direct("DEL", "net1", []byte(`{"cniVersion":"1.1.0","name":"roce-rails","type":"roce-host-device","devices":7}`))
			must(r, err)
		},
		"DEL with another list": func(p *pod) { p.del("net1", r.several(rails[3:4])) },
		"GC":                    func(*pod) { r.gc(valid(config, []any{})) },
	} {
		p := r.pod()
		p.add("net1", config)
		p.add("net2", r.config(rails[3]))
		r.gc(valid(config, []any{map[string]any{"containerID": p.id, "ifname": "net1"}}))
		if nics := p.nicsIn(); len(nics) != 4 {
			t.Fatalf("after a GC that names the call: %v", nics)
		}
		end(p)
		if nics := p.nicsIn(); len(nics) != 1 || !strings.HasPrefix(nics[0], "net2 ") {
			t.Errorf("%s: the pod has %v", how, nics)
		}
		p.del("net2", r.config(rails[3]))
		r.expectHost(before)
		r.expectClean()
	}
}

// Both take the NICs' locks in one order, whatever that of their lists is.
func TestTwoCallsThatWantSomeOfTheSameNICsDoNotWaitForEachOther(t *testing.T) {
	r := newRig(t, 6)
	before := hostState(t)
	for range 10 {
		pods := []*pod{r.pod(), r.pod()}
		configs := []map[string]any{r.several(rails[:4]), r.several([]string{rails[5], rails[4], rails[3], rails[2]})}
		errs := make([]error, 2)
		var doing sync.WaitGroup
		for i, p := range pods {
			doing.Go(func() {
				r.enter()
				_, errs[i] = p.tryAdd("net1", configs[i])
			})
		}
		doing.Wait()
		lost := slices.IndexFunc(errs, func(err error) bool { return err != nil })
		if lost < 0 || errs[1-lost] != nil || code(errs[lost]) != 101 {
			t.Fatalf("one gets its NICs, the other is told who has them: %v", errs)
		}
		if nics := pods[lost].nicsIn(); len(nics) > 0 {
			t.Errorf("who has lost has %v", nics)
		}
		for i, p := range pods {
			p.del("net1", configs[i])
		}
		r.expectHost(before)
		r.expectClean()
	}
}

func TestABadListOfNICsChangesNothing(t *testing.T) {
	r := newRig(t, 2)
	before, p := hostState(t), r.pod()
	for want, tt := range map[string]struct {
		ifName  string
		changes map[string]any
		code    uint
	}{
		`"devices" is an empty list`:                               {"net1", map[string]any{"devices": []string{}}, 7},
		`"devices" has an empty entry`:                             {"net1", map[string]any{"devices": []string{rails[0], ""}}, 7},
		`"devices" has "` + rails[0] + `" twice`:                   {"net1", map[string]any{"devices": []string{rails[0], rails[0]}}, 7},
		`"devices" has the pattern "ens[" that is malformed`:       {"net1", map[string]any{"devices": []string{"ens["}}, 7},
		`"devices" is set, and so is "device"`:                     {"net1", map[string]any{"device": rails[1]}, 7},
		`"devices" is a string`:                                    {"net1", map[string]any{"devices": rails[0]}, 7},
		`no NIC of this node matches "enp*"`:                       {"net1", map[string]any{"devices": []string{rails[0], "enp*"}}, 100},
		`"devices" means 65 NICs of this node`:                     {"net1", map[string]any{"devices": many(65)}, 7},
		`are the same NIC`:                                         {"net1", map[string]any{"devices": []string{rails[0], rails[1][:4] + "*"}}, 7},
		`"sourceRouting" has table 7 for several NICs`:             {"net1", map[string]any{"sourceRouting": map[string]any{"table": 7}}, 7},
		`"rdmaDeviceName" is "roce0" for several NICs`:             {"net1", map[string]any{"rdma": nil, "rdmaDeviceName": "roce0"}, 7},
		`NIC 2 of 2 would be averylongname1-2 in the pod`:          {"averylongname1", nil, 4},
		`"cniVersion" is "0.2.0", whose results have one inter`:    {"net1", map[string]any{"cniVersion": "0.2.0"}, 7},
		`"runtimeConfig.mac" is "02:00:00:00:00:01" for several N`: {"net1", map[string]any{"runtimeConfig": map[string]any{"mac": "02:00:00:00:00:01"}}, 7},
	} {
		if strings.Contains(want, "same NIC") {
			tt.changes = map[string]any{"devices": []string{rails[0], rails[0][:5] + "*"}}
		}
		want = strings.Replace(want, " that is malformed", ", which is malformed", 1)
		b, err := json.Marshal(r.several(rails[:2], tt.changes))
		must(t, err)
		_, err = p.direct("ADD", tt.ifName, b)
		if code(err) != tt.code || !strings.Contains(err.Error(), want) {
			t.Errorf("code %d: %v, want %d: %s", code(err), err, tt.code, want)
		}
		r.expectHost(before)
		r.expectClean()
	}
}

// many are names of NICs.
func many(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("nic%d", i))
	}
	return names
}

func TestThePolicyIsAskedForEachOfSeveralNICs(t *testing.T) {
	r := newRig(t, 2)
	before, p := hostState(t), r.pod()
	mounts.Policy(t, `{"nics": [{"names": ["`+rails[0]+`"]}]}`)
	if _, err := p.tryAdd("net1", r.several(rails[:2])); code(err) != 7 || !strings.Contains(err.Error(), rails[1]+": the node's policy does not allow NIC") {
		t.Errorf("code %d: %v", code(err), err)
	}
	r.expectHost(before)
	r.expectClean()
}

// A NIC that a pod has is not left out: the pod would get fewer than it was promised.
func TestAPatternMeansTheNICsOfOtherPodsToo(t *testing.T) {
	r := newRig(t, 3)
	if inLab() {
		t.Skip("as here")
	}
	before, p, other := hostState(t), r.pod(), r.pod()
	other.add("net1", r.config(rails[1]))
	config := r.several([]string{"ens*np0"})
	if _, err := p.tryAdd("net1", config); code(err) != 101 || !strings.Contains(err.Error(), rails[1]+": held by pod default/"+other.name) {
		t.Errorf("code %d: %v", code(err), err)
	}
	other.del("net1", r.config(rails[1]))
	if result := p.add("net1", config); len(result.Interfaces) != 3 {
		t.Errorf("%v", names(result))
	}
	p.del("net1", config)
	r.expectHost(before)
	r.expectClean()
}

// Somebody may ask for the very name that a call gives to its second NIC.
func TestANameThatAnotherCallGaveStaysItsOwn(t *testing.T) {
	r := newRig(t, 3)
	before, p := hostState(t), r.pod()
	config := r.several(rails[:2])
	p.add("net1", config)
	other := r.config(rails[2], map[string]any{"name": "roce-rails", "ipam": r.hostLocal(1)}) // of the same addresses
	if _, err := p.tryAdd("net1-2", other); code(err) != 102 {
		t.Errorf("code %d: %v", code(err), err)
	}
	p.del("net1-2", other)
	if leases := r.leases(); len(leases) != 2 {
		t.Errorf("the addresses %v are given out", leases)
	}
	must(t, p.check("net1", config))
	p.del("net1", config)
	r.expectHost(before)
	r.expectClean()
}

// kill -9 between two of the NICs: here the IPAM plugin does it.
func TestAnADDOfSeveralNICsThatWasKilledIsUndone(t *testing.T) {
	r := newRig(t, 3)
	before := hostState(t)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "killer"), []byte(`#!/bin/bash
[[ $CNI_COMMAND != ADD || $CNI_IFNAME != net1-2 || -e ${0%/*}/spare ]] || { sleep 0.2; kill -9 $PPID; sleep 1; }
exec host-local
`), 0o755))
	host, err := exec.LookPath(program("host-local"))
	must(t, err)
	must(t, os.Symlink(host, filepath.Join(dir, "host-local")))
	path := os.Getenv("ROCE_CNI_PATH") + string(filepath.ListSeparator) + dir
	t.Setenv("ROCE_CNI_PATH", path)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	r.cni.Path = filepath.SplitList(path)
	config := r.several(rails[:3], map[string]any{"ipam": with(r.hostLocal(1), "type", "killer")})
	for how, repair := range map[string]func(p *pod){
		"DEL": func(p *pod) { p.del("net1", config) },
		"GC":  func(*pod) { r.gc(valid(config, []any{})) },
		"the ADD again": func(p *pod) {
			must(t, os.WriteFile(filepath.Join(dir, "spare"), nil, 0o600))
			defer os.Remove(filepath.Join(dir, "spare"))
			if result := p.add("net1", config); len(result.Interfaces) != 3 || len(p.nicsIn()) != 3 {
				t.Errorf("%v, %v", names(result), p.nicsIn())
			}
			p.del("net1", config)
		},
		"another pod's ADD": func(p *pod) {
			must(t, os.WriteFile(filepath.Join(dir, "spare"), nil, 0o600))
			defer os.Remove(filepath.Join(dir, "spare"))
			other := r.pod()
			other.add("net1", config)
			p.del("net1", config)
			if nics := other.nicsIn(); len(nics) != 3 {
				t.Errorf("the other pod has %v", nics)
			}
			other.del("net1", config)
		},
	} {
		p := r.pod()
		if _, err := p.tryAdd("net1", config); err == nil {
			t.Fatalf("%s: it was not killed", how)
		}
		if len(r.records()) != 3 {
			t.Errorf("%s: killed too early or too late: %v", how, r.records())
		}
		repair(p)
		r.expectHost(before)
		r.expectClean()
	}
}
