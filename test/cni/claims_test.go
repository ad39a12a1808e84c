package cni_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	current "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/claim"
	"github.com/roce-k8s/roce-k8s/test/fixtures/mounts"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// podUID is that of a pod that has claims.
const podUID = "5f2c4b1e-0000-4000-8000-00000000000"

// onPCI gives the rig's NICs PCI functions, in a sysfs that stands in for this
// machine's: claims name NICs by address.
func (r *rig) onPCI(nics int) (hcas []sysfs.HCA) {
	r.Helper()
	tree, err := sysfs.New(r.TempDir())
	must(r, err)
	for i, name := range rails[:nics] {
		h := sysfs.MLX5(i)
		h.Netdev = name
		hcas = append(hcas, h)
		must(r, tree.Add(h))
	}
	must(r, unix.Mount(tree.Sys(), "/sys", "", unix.MS_BIND, ""))
	r.Cleanup(func() { must(r, unix.Unmount("/sys", unix.MNT_DETACH)) })
	return hcas
}

// newClaimRig is a node of NICs whose pods have claims.
func newClaimRig(t *testing.T, nics int) (*rig, []sysfs.HCA) {
	t.Helper()
	if inLab() {
		t.Skip("the lab's NICs have no fixed addresses: see the cluster's tests")
	}
	r := newRig(t, nics)
	return r, r.onPCI(nics)
}

// A claimant is a pod with a UID, and the plugin at the end of its own network.
type claimant struct {
	*pod
	uid string
}

func (r *rig) claimant(n int) claimant { return claimant{r.pod(), podUID + fmt.Sprint(n)} }

// allot writes a claim on NICs for the pod. network is for each of them.
func (c claimant) allot(uid, network string, hcas []sysfs.HCA, rails ...int) {
	c.Helper()
	allotted := claim.Claim{UID: uid, Namespace: "default", Name: "claim-" + uid, Pod: attachment.Pod{Namespace: "default", Name: c.name, UID: c.uid}}
	for _, rail := range rails {
		allotted.Devices = append(allotted.Devices, claim.Device{Request: "nics", Name: fmt.Sprintf("pci-%d", rail), Bus: "pci", Address: hcas[rail].PCI, Rail: rail, Network: json.RawMessage(network)})
	}
	must(c, claim.Write(c.stateDir, allotted))
}

// previous is the answer of the cluster's own network, with a line of its own.
func (c claimant) previous() string {
	return fmt.Sprintf(`{ "cniVersion":"1.1.0","interfaces":[ {"name":"eth0","sandbox":%q} ],
  "ips":[{"address":"10.244.0.7/24","interface":0}], "dns":{"nameservers":["10.96.0.10"]} }`, c.netns)
}

func (c claimant) run(command string, changes ...map[string]any) ([]byte, error) {
	c.Helper()
	config := map[string]any{"cniVersion": "1.1.0", "name": "cluster", "type": "roce-host-device", "claims": true}
	if command == "ADD" {
		config["prevResult"] = json.RawMessage(c.previous())
	}
	for _, change := range changes {
		maps.Copy(config, change)
	}
	maps.DeleteFunc(config, func(_ string, v any) bool { return v == nil })
	// Not json.Marshal, which would make one line of prevResult.
	keys := []string{}
	for _, key := range slices.Sorted(maps.Keys(config)) {
		value, raw := config[key].(json.RawMessage)
		if !raw {
			b, err := json.Marshal(config[key])
			must(c, err)
			value = b
		}
		keys = append(keys, fmt.Sprintf("%q:%s", key, value))
	}
	args := "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + c.name
	if c.uid != "" {
		args += ";K8S_POD_UID=" + c.uid
	}
	return c.direct(command, "eth0", []byte("{"+strings.Join(keys, ",")+"}"), args)
}

func (c claimant) attach() *current.Result {
	c.Helper()
	out, err := c.run("ADD")
	must(c, err)
	return resultOf(c, out)
}

func resultOf(t testing.TB, out []byte) *current.Result {
	t.Helper()
	result, err := current.NewResult(out)
	must(t, err)
	r, err := current.NewResultFromResult(result)
	must(t, err)
	return r
}

// ofTheHost is what the claims here have for their NICs: this machine has no RDMA.
const ofTheHost = `{"rdma":"none","keepAddresses":true,"sourceRouting":true}`

func TestAPodGetsTheNICsOfItsClaimsAndGivesThemBack(t *testing.T) {
	r, hcas := newClaimRig(t, 8)
	before, p := hostState(t), r.claimant(1)
	p.allot("c1", ofTheHost, hcas, 5, 0, 2)
	p.allot("c2", `{"rdma":"none","ifName":"storage","mtu":4200}`, hcas, 7)
	r.claimant(2).allot("c3", ofTheHost, hcas, 1)
	for range 2 { // a runtime that missed the answer tries again
		result := p.attach()
		if got := names(result); !slices.Equal(got, []string{"eth0", "rail1", "rail3", "rail6", "storage8"}) {
			t.Errorf("the result has %v", got)
		}
		if len(result.IPs) != 4 || *result.IPs[3].Interface != 3 || result.IPs[0].Address.String() != "10.244.0.7/24" || !slices.Equal(result.DNS.Nameservers, []string{"10.96.0.10"}) {
			t.Errorf("the result: %v", result)
		}
	}
	if nics := p.nicsIn(); !slices.Equal(slices.Sorted(slices.Values(nics)), []string{"rail1 192.168.0.1/24", "rail3 192.168.2.1/24", "rail6 192.168.5.1/24"}) {
		t.Errorf("the pod has %v", nics)
	}
	result, err := json.Marshal(p.attach())
	must(t, err)
	check := func() error {
		_, err := p.run("CHECK", map[string]any{"prevResult": json.RawMessage(result)})
		return err
	}
	must(t, check())
	p.exec("ip", "link", "set", "rail6", "down")
	if err := check(); code(err) != 111 || !strings.Contains(err.Error(), "rail6 is down") {
		t.Errorf("CHECK: code %d: %v", code(err), err)
	}
	must(t, r.collect([]any{map[string]any{"containerID": p.id, "ifname": "eth0"}}))
	if len(r.records()) != 4 {
		t.Errorf("after a GC that names the call: %v", r.records())
	}
	must(t, claim.Remove(r.stateDir, "c1")) // as Unprepare does, of which a DEL may come late
	must(t, claim.Remove(r.stateDir, "c2"))
	for range 2 {
		_, err := p.run("DEL")
		must(t, err)
		r.expectHost(before)
		r.expectClean()
	}
}

// collect is a GC of the cluster's network.
func (r *rig) collect(valid []any) error {
	r.Helper()
	_, err := claimant{pod: &pod{rig: r}}.run("GC", map[string]any{"cni.dev/valid-attachments": valid})
	return err
}

func TestGCEndsTheAttachmentsOfClaims(t *testing.T) {
	r, hcas := newClaimRig(t, 2)
	before, p := hostState(t), r.claimant(1)
	p.allot("c1", ofTheHost, hcas, 0, 1)
	p.attach()
	must(t, r.collect([]any{}))
	r.expectHost(before)
	r.expectClean()
}

// Nearly all pods of a node have no claims: what is printed for them is what came
// in, and nothing is asked of the kernel, locked or written.
func TestAPodWithoutClaimsIsPassedOnByteForByteAndAtOnce(t *testing.T) {
	r := newRig(t, 1)
	strace, err := exec.LookPath("strace")
	for name, before := range map[string]func(){
		"nobody has claims": func() {},
		"another pod has": func() {
			r.claimant(2).allot("c2", "", []sysfs.HCA{sysfs.MLX5(0)}, 0)
		},
	} {
		before()
		p := r.claimant(1)
		for _, command := range []string{"ADD", "DEL", "CHECK"} {
			out, err := p.run(command, map[string]any{"prevResult": json.RawMessage(p.previous())})
			want := ""
			if command == "ADD" {
				want = p.previous()
			}
			if string(out) != want || err != nil {
				t.Errorf("%s, %s: %q, %v; want %q", name, command, out, err, want)
			}
		}
		must(t, r.collect([]any{}))
	}
	if entries, err := os.ReadDir(r.stateDir); len(entries) != 1 || err != nil { // the other pod's claim
		t.Errorf("in the state folder: %v, %v", entries, err)
	}
	if err != nil {
		skip(t, "strace", "strace is missing")
	}
	p := r.claimant(1)
	config := []byte(`{"cniVersion":"1.1.0","name":"cluster","type":"roce-host-device","claims":true,"prevResult":` + strings.ReplaceAll(p.previous(), "\n", "") + `}`)
	for _, command := range []string{"ADD", "DEL"} {
		cmd := p.command("roce-host-device", command, "eth0", config, "CNI_ARGS=K8S_POD_UID="+p.uid)
		cmd.Args = []string{strace, "-f", "-qq", "-o", filepath.Join(t.TempDir(), "calls"), "-e", "trace=socket,flock,setns,mkdir,mkdirat,unlink,unlinkat,rename,renameat,renameat2", cmd.Path}
		cmd.Path = strace
		must(t, cmd.Run())
		if calls := readFile(t, cmd.Args[4]); strings.Contains(string(calls), "(") {
			t.Errorf("%s:\n%s", command, calls)
		}
	}
}

func TestWhatAClaimCannotHaveFailsThePod(t *testing.T) {
	r, hcas := newClaimRig(t, 3)
	before := hostState(t)
	for want, tt := range map[string]struct {
		network string
		changes map[string]any
		prepare func(r *rig, p *claimant)
		code    uint
	}{
		`claim default/claim-c1, device pci-0: network configuration: unknown key "mtv"`: {network: `{"mtv":1}`, code: 7},
		`"device" is set`:     {network: `{"device":"ens11np0"}`, code: 7},
		`"prevResult" is set`: {network: `{"prevResult":{}}`, code: 7},
		`"sourceRouting" has table 7, and so has another NIC's`: {network: `{"rdma":"none","sourceRouting":{"table":7}}`, code: 7},
		`"ifName" is 7`: {network: `{"ifName":7}`, code: 7},
		`averylongprefix1 would be its name in the pod`: {network: `{"ifName":"averylongprefix"}`, code: 7},
		`a/b1 cannot be its name in the pod`:            {network: `{"ifName":"a/b"}`, code: 7},
		`the node's policy does not allow NIC`:          {network: ofTheHost, prepare: func(r *rig, _ *claimant) { mounts.Policy(r, `{"nics":[{"names":["eth*"]}]}`) }, code: 7},
		`0000:08:00.0: held by pod default`:             {network: ofTheHost, prepare: nil, code: 101},
		`no NIC with deviceID "0000:08:00.0"`:           {network: ofTheHost, code: 100},
		`"claims" without prevResult`:                   {changes: map[string]any{"prevResult": nil}, code: 7},
		`"claims" is set, and so is "mtu"`:              {changes: map[string]any{"mtu": 9000}, code: 7},
		`"claims" is set, and so is "ipam"`:             {changes: map[string]any{"ipam": map[string]any{"type": "host-local"}}, code: 7},
		`"claims" is set, and so is "devices"`:          {changes: map[string]any{"devices": rails[:1]}, code: 7},
		`but the runtime does not say K8S_POD_UID`:      {prepare: func(_ *rig, p *claimant) { p.uid = "" }, code: 107},
		`is writable by users other than root`:          {prepare: func(r *rig, _ *claimant) { must(r, os.Chmod(claim.Dir(r.stateDir), 0o777)) }, code: 107},
		`c1.json: unexpected end of JSON input; only roo`: {prepare: func(r *rig, p *claimant) {
			must(r, os.Truncate(filepath.Join(claim.Dir(r.stateDir), p.uid+".c1.json"), 9))
		}, code: 107},
	} {
		r.run(want, func(r *rig) {
			p := r.claimant(1)
			network := tt.network
			if network == "" {
				network = ofTheHost
			}
			p.allot("c1", network, hcas, 0, 2)
			defer func() {
				must(r, os.Chmod(claim.Dir(r.stateDir), 0o700))
				must(r, claim.Remove(r.stateDir, "c1"))
			}()
			switch tt.code {
			case 101:
				other := r.pod()
				other.add("net1", r.config(rails[0]))
				defer other.del("net1", r.config(rails[0]))
			case 100:
				run(r, "ip", "link", "set", rails[0], "name", "away")
				defer run(r, "ip", "link", "set", "away", "name", rails[0])
			}
			if tt.prepare != nil {
				tt.prepare(r, &p)
			}
			out, err := p.run("ADD", tt.changes)
			if code(err) != tt.code || !strings.Contains(err.Error(), want) || strings.Contains(string(out), "eth0\"") {
				r.Errorf("code %d: %v, want %d: %s", code(err), err, tt.code, want)
			}
			if nics := p.nicsIn(); len(nics) > 0 {
				r.Errorf("the pod has %v", nics)
			}
			if _, err := p.run("DEL"); err != nil { // whatever it is, the pod ends
				r.Errorf("DEL: %v", err)
			}
		})
	}
	r.expectHost(before)
	r.expectClean()
}

// The cluster's network works for the pods that want nothing of us, whatever is
// wrong with the policy.
func TestABrokenPolicyConcernsPodsWithClaimsAlone(t *testing.T) {
	r, hcas := newClaimRig(t, 1)
	mounts.Policy(t, `{"nics": 7}`)
	p, other := r.claimant(1), r.claimant(2)
	p.allot("c1", ofTheHost, hcas, 0)
	if _, err := p.run("ADD"); code(err) != 7 || !strings.Contains(err.Error(), "/etc/cni/roce-host-device.json:1:10") {
		t.Errorf("code %d: %v", code(err), err)
	}
	for _, command := range []string{"ADD", "DEL", "STATUS"} {
		if _, err := other.run(command); err != nil {
			t.Errorf("%s: %v", command, err)
		}
	}
	if _, err := p.run("DEL"); err != nil {
		t.Errorf("DEL: %v", err)
	}
}

// A pod of a cluster that comes from the device plugin may name its networks.
func TestANetworkTakesOverTheNICThatItsPodHasByAClaim(t *testing.T) {
	r, hcas := newClaimRig(t, 2)
	before, p := hostState(t), r.claimant(1)
	p.allot("c1", ofTheHost, hcas, 0, 1)
	result, err := p.run("ADD")
	must(t, err)
	other := r.claimant(2)
	config := r.config(rails[0], map[string]any{"mtu": 4200})
	add := func(p claimant) error {
		b, err := json.Marshal(config)
		must(t, err)
		_, err = p.direct("ADD", "net1", b, "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME="+p.name+";K8S_POD_UID="+p.uid)
		return err
	}
	if err := add(other); code(err) != 101 {
		t.Errorf("another pod's network: code %d: %v", code(err), err)
	}
	must(t, add(p))
	if nics := slices.Sorted(slices.Values(p.nicsIn())); !slices.Equal(nics, []string{"net1 172.31.1.2/24", "rail2 192.168.1.1/24"}) {
		t.Errorf("the pod has %v", nics)
	}
	_, err = p.run("CHECK", map[string]any{"prevResult": json.RawMessage(result)})
	must(t, err)
	must(t, p.hook("c1", p.id))
	_, err = p.run("DEL")
	must(t, err)
	if nics := p.nicsIn(); !slices.Equal(nics, []string{"net1 172.31.1.2/24"}) {
		t.Errorf("after the DEL of the claims the pod has %v", nics)
	}
	p.del("net1", config)
	r.expectHost(before)
	r.expectClean()
}

// hook runs the hook of a container of the pod, which has a network namespace.
func (c claimant) hook(claim, sandbox string) error {
	c.Helper()
	return c.hookIn(claim, sandbox, `{"type":"pid"},{"type":"network","path":"/run/netns/p"}`)
}

func (c claimant) hookIn(claim, sandbox, namespaces string) error {
	c.Helper()
	bundle := c.TempDir()
	must(c, os.WriteFile(filepath.Join(bundle, "config.json"), []byte(`{"linux":{"namespaces":[`+namespaces+`]}}`), 0o600))
	cmd := exec.Command(plugin(), "attached", claim)
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`{"ociVersion":"1.2.0","id":"c","bundle":%q,"annotations":{"io.kubernetes.cri.sandbox-id":%q}}`, bundle, sandbox))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return errors.New(string(out))
	}
	return nil
}

// So a node that lost the chain has no pod that is ready with fewer NICs than it
// was promised.
func TestAContainerDoesNotStartWithoutTheNICsOfItsClaim(t *testing.T) {
	r, hcas := newClaimRig(t, 3)
	p, other := r.claimant(1), r.claimant(2)
	p.allot("c1", ofTheHost, hcas, 0, 1)
	p.allot("c2", ofTheHost, hcas, 2)
	says := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "\n") != 1 {
			t.Errorf("%v, want one line with %s", err, want)
		}
	}
	says(p.hook("c1", p.id), "pod default/"+p.name+" has 0 of the 2 NICs of claim default/claim-c1: "+hcas[0].PCI+" is not in sandbox "+p.id)
	must(t, p.hookIn("c1", p.id, `{"type":"pid"}`)) // it has what the host has
	p.attach()
	must(t, p.hook("c1", p.id))
	must(t, p.hook("c2", p.id))
	says(p.hook("c1", other.id), "has 0 of the 2 NICs")
	says(p.hook("c9", p.id), "claim c9 is not prepared on this node")
	says(p.hook("c1", ""), "has no annotation that names its sandbox")
	run(t, "rm", filepath.Join(r.stateDir, "attachments", p.id+"@rail2.json"), filepath.Join(r.stateDir, "copies", p.id+"@rail2.json"))
	says(p.hook("c1", p.id), "has 1 of the 2 NICs of claim default/claim-c1: "+hcas[1].PCI)
	_, err := p.run("DEL")
	must(t, err)
}
