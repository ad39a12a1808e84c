package cni_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
)

// A scriptedIPAM is an IPAM plugin that answers as a test wants it to.
type scriptedIPAM struct {
	*rig
	dir string
}

const oneAddress = `echo '{"cniVersion": "1.1.0", "ips": [{"address": "172.31.1.2/24"}]}'`

// ipamError is how a plugin fails.
func ipamError(msg string) string {
	return fmt.Sprintf(`echo '{"cniVersion": "1.1.0", "code": 100, "msg": "%s"}'; exit 1`, msg)
}

// scriptIPAM installs an IPAM plugin. answers are shell commands, by CNI
// command; a command without one is answered with success.
func (r *rig) scriptIPAM(name string, answers map[string]string) scriptedIPAM {
	r.Helper()
	dir := r.TempDir()
	script := "#!/bin/bash\ncat >" + dir + "/config\necho $CNI_COMMAND >>" + dir + "/calls\ncase $CNI_COMMAND in\n"
	for command, answer := range answers {
		script += command + ") " + answer + ";;\n"
	}
	script += `VERSION) echo '{"cniVersion": "1.1.0", "supportedVersions": ["0.3.1", "1.0.0", "1.1.0"]}';;` + "\nesac\n"
	must(r, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755))
	r.Setenv("ROCE_CNI_PATH", dir+string(filepath.ListSeparator)+os.Getenv("ROCE_CNI_PATH"))
	r.cni = libcni.NewCNIConfigWithCacheDir(pluginPath(r.T), r.TempDir(), nil)
	return scriptedIPAM{r, dir}
}

func (s scriptedIPAM) file(name string) string {
	return string(readFile(s, filepath.Join(s.dir, name)))
}

// calls are the commands that it got, in order.
func (s scriptedIPAM) calls() []string { return strings.Fields(s.file("calls")) }

func TestWhateverFailsAfterIPAMsADDItsDELFollows(t *testing.T) {
	tests := []struct {
		name   string
		answer string
		change map[string]any
		code   uint
		say    string
	}{
		{"IPAM itself", ipamError("no more addresses"), nil, 108, "no more addresses"},
		{"it returns no address", `echo '{"cniVersion": "1.1.0", "ips": []}'`, nil, 108, "returned no address"},
		{"it returns what is no address", `echo '{"cniVersion": "1.1.0", "ips": [{"address": "0.0.0.0/0"}]}'`, nil, 108, "no address of an interface"},
		{"it returns no JSON", "echo hello", nil, 108, "get an address from scripted"},
		{"the move", oneAddress, map[string]any{"sysctls": map[string]any{"net.ipv4.conf.IFNAME.no_such_key": "1"}}, 109, "no_such_key"},
		{"the configuration in the pod", `echo '{"cniVersion": "1.1.0", "ips": [{"address": "172.31.1.2/24"}], "routes": [{"dst": "10.0.0.0/8", "gw": "192.0.2.1"}]}'`,
			nil, 109, "add route 10.0.0.0/8"},
	}
	r := newRig(t, 1)
	before := hostState(t)
	for _, tt := range tests {
		r.run(tt.name, func(r *rig) {
			ipam, p := r.scriptIPAM("scripted", map[string]string{"ADD": tt.answer}), r.pod()
			config := r.config(rails[0], map[string]any{"ipam": map[string]any{"type": "scripted"}}, tt.change)
			if _, err := p.tryAdd("net1", config); code(err) != tt.code || !strings.Contains(err.Error(), tt.say) {
				r.Errorf("code %d: %v, want %d: %s", code(err), err, tt.code, tt.say)
			}
			if calls := ipam.calls(); !slices.Equal(calls, []string{"ADD", "DEL"}) {
				r.Errorf("the IPAM plugin was called for %v", calls)
			}
			r.expectHost(before)
			r.expectClean()
		})
	}
}

func TestAnIPAMPluginThatNeedsTheNICInThePodIsAskedWhileItIsThere(t *testing.T) {
	r := newRig(t, 1)
	before := hostState(t)
	ipam := r.scriptIPAM("dhcp", map[string]string{
		"ADD": `nsenter --net=$CNI_NETNS ip link show up dev $CNI_IFNAME >"$(dirname "$0")/seen"; ` + oneAddress,
		"DEL": `nsenter --net=$CNI_NETNS ip link show up dev $CNI_IFNAME >"$(dirname "$0")/seen-last"`})
	p, config := r.pod(), r.config(rails[0], map[string]any{"ipam": map[string]any{"type": "dhcp"}})
	p.add("net1", config)
	if seen := ipam.file("seen"); !strings.Contains(seen, "net1") {
		t.Errorf("when it was asked the pod had, of links that are up: %q", seen)
	}
	p.del("net1", config)
	if seen := ipam.file("seen-last"); !strings.Contains(seen, "net1") { // the release of a lease goes out by it
		t.Errorf("when it was to free the address the pod had, of links that are up: %q", seen)
	}
	// So it is not asked at all where the NIC does not come.
	if _, err := p.tryAdd("net1", r.config(rails[0], config, map[string]any{"sysctls": map[string]any{"net.ipv4.conf.IFNAME.no_such_key": "1"}})); code(err) != 109 {
		t.Errorf("code %d: %v", code(err), err)
	}
	if calls := ipam.calls(); !slices.Equal(calls, []string{"ADD", "DEL"}) {
		t.Errorf("it was called for %v", calls)
	}
	r.expectHost(before)
}

func TestCHECKToleratesAnIPAMPluginWithoutCHECKAndNothingElse(t *testing.T) {
	for msg, want := range map[string]uint{
		"CNI CHECK method is not implemented": 0, // Whereabouts
		"the address is not reserved":         108,
	} {
		t.Run(msg, func(t *testing.T) {
			r := newRig(t, 1)
			r.scriptIPAM("scripted", map[string]string{"ADD": oneAddress, "CHECK": ipamError(msg)})
			p, config := r.pod(), r.config(rails[0], map[string]any{"ipam": map[string]any{"type": "scripted"}})
			p.add("net1", config)
			if err := p.check("net1", config); code(err) != want {
				t.Errorf("code %d: %v, want %d", code(err), err, want)
			}
			p.del("net1", config)
		})
	}
}

func TestGCAndSTATUSAreForwardedToTheIPAMPlugin(t *testing.T) {
	r := newRig(t, 1)
	ipam := r.scriptIPAM("scripted", map[string]string{"STATUS": ipamError("the lease server is down"), "GC": ipamError("no way")})
	config := r.config(rails[0], map[string]any{"ipam": map[string]any{"type": "scripted"},
		"cni.dev/valid-attachments": []any{map[string]any{"containerID": "kept", "ifname": "net9"}}})
	b, err := json.Marshal(config)
	must(t, err)
	if _, err = r.pod().direct("GC", "", b); code(err) != 108 || !strings.Contains(err.Error(), "no way") {
		t.Errorf("GC: code %d: %v", code(err), err)
	}
	if got := ipam.file("config"); !strings.Contains(got, `"containerID":"kept"`) {
		t.Errorf("GC: the IPAM plugin's configuration is %s", got)
	}
	if _, err = r.pod().direct("STATUS", "", b); code(err) != 50 || !strings.Contains(err.Error(), "the lease server is down") {
		t.Errorf("STATUS: code %d: %v", code(err), err)
	}
	if calls := ipam.calls(); !slices.Equal(calls, []string{"GC", "STATUS"}) {
		t.Errorf("the IPAM plugin was called for %v", calls)
	}
}

func TestAnIPAMPluginThatIsOlderThanACommandFailsNone(t *testing.T) {
	r := newRig(t, 1)
	r.scriptIPAM("scripted", map[string]string{"STATUS": ipamError("unknown CNI_COMMAND: STATUS"), "GC": ipamError("unknown CNI_COMMAND: GC")})
	b, err := json.Marshal(r.config(rails[0], map[string]any{"ipam": map[string]any{"type": "scripted"}, "cni.dev/valid-attachments": []any{}}))
	must(t, err)
	for _, command := range []string{"GC", "STATUS"} {
		if _, err := r.pod().direct(command, "", b); err != nil {
			t.Errorf("%s: code %d: %v", command, code(err), err)
		}
	}
}

func TestIPAMRoutesAreInstalledWithAllThatTheySay(t *testing.T) {
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	r.scriptIPAM("scripted", map[string]string{"ADD": `echo '{"cniVersion": "1.1.0", "ips": [{"address": "172.31.1.2/24", "gateway": "172.31.1.1"}],
		"routes": [{"dst": "10.1.0.0/16", "mtu": 4000, "advmss": 1400, "priority": 77}, {"dst": "10.2.0.0/16", "table": 900}, {"dst": "10.3.0.0/16", "scope": 253}]}'`})
	config := r.config(rails[0], map[string]any{"ipam": map[string]any{"type": "scripted"}})
	result := p.add("net1", config)
	for command, want := range map[string]string{
		"ip route show 10.1.0.0/16":           "10.1.0.0/16 via 172.31.1.1 dev net1 metric 77 mtu 4000 advmss 1400",
		"ip route show table 900":             "10.2.0.0/16 via 172.31.1.1 dev net1",
		"ip route show 10.3.0.0/16 scope 253": "10.3.0.0/16",
	} {
		if out := p.exec(strings.Fields(command)...); !strings.Contains(out, want) {
			t.Errorf("%s:\n%s\nwant %s", command, out, want)
		}
	}
	if len(result.Routes) != 3 || result.Routes[0].MTU != 4000 {
		t.Errorf("the result has the routes %v", result.Routes)
	}
	must(t, p.check("net1", config))
	p.exec("ip", "route", "del", "10.2.0.0/16", "table", "900")
	if err := p.check("net1", config); code(err) != 111 || !strings.Contains(err.Error(), "no route 10.2.0.0/16 via 172.31.1.1 table 900") {
		t.Errorf("code %d: %v", code(err), err)
	}
	p.del("net1", config)
	r.expectHost(before)
}

// Where an ADD fails, and the IPAM plugin with it, and the NIC cannot be given back
// at once, the record stays. The DEL has the address freed all the same.
func TestAnAddressThatAFailedADDCouldNotFreeIsFreedByDEL(t *testing.T) {
	r := newRig(t, 1)
	before := hostState(t)
	ipam, p := r.scriptIPAM("scripted", map[string]string{"ADD": oneAddress}), r.pod()
	config := r.config(rails[0], map[string]any{"ipam": map[string]any{"type": "scripted"}})
	p.add("net1", config)
	path := r.records()[0]
	record := map[string]any{}
	must(t, json.Unmarshal(readFile(t, path), &record))
	delete(record, "config") // as such an ADD leaves it
	b, err := json.Marshal(record)
	must(t, err)
	must(t, os.WriteFile(path, b, 0o600))
	p.del("net1", config)
	if calls := ipam.calls(); !slices.Equal(calls, []string{"ADD", "DEL"}) {
		t.Errorf("the IPAM plugin was called for %v", calls)
	}
	r.expectHost(before)
	r.expectClean()
}
