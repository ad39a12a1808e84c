package hostile_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A network is what a tenant wrote, and what becomes of it.
type network struct {
	name   string
	host   []string // ip commands on the host before ADD, and their undo
	undo   []string
	change map[string]any
	other  bool   // the device is the host's end of the other pod's eth0
	ifName string // "" is net1
	code   uint   // of the ADD; 0 is success
	say    string
}

// A tenant writes networks. None of them takes what is not the tenant's, none
// leaves anything, and each ends with its DEL.
func TestNoNetworkTakesWhatIsNotItsOwn(t *testing.T) {
	notInLab(t)
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte("secret"), 0o600))
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(secret, link))
	runtimeConfig := func(file string) map[string]any {
		return map[string]any{"runtimeConfig": map[string]any{"CNIDeviceInfoFile": file}}
	}
	const devinfo = "/var/run/k8s.cni.cncf.io/devinfo"
	networks := []network{
		{name: "the loopback", change: map[string]any{"device": "lo"}, code: 112, say: "lo: it is the loopback"},
		{name: "a bridge of the host", host: []string{"link add br9 type bridge"}, undo: []string{"link del br9"}, change: map[string]any{"device": "br9"}, code: 112, say: "br9: it is a bridge"},
		{name: "a VXLAN of the host", host: []string{"link add vx9 type vxlan id 9 remote 192.0.2.1 dstport 4789"}, undo: []string{"link del vx9"}, change: map[string]any{"device": "vx9"}, code: 112, say: "vx9: it is a vxlan"},
		{name: "the host's end of another pod's eth0", other: true, code: 112, say: "$cali: it is the host's end of an interface of the pod"},
		{name: "the NIC with the node's address", host: []string{"addr add 203.0.113.7/24 dev $nic", "route add default via 203.0.113.1"}, undo: []string{"route del default", "addr del 203.0.113.7/24 dev $nic"}, code: 112, say: "$nic: the host's default route"},
		{name: "a port of a bridge of the host", host: []string{"link add br9 type bridge", "link set $nic master br9"}, undo: []string{"link del br9"}, code: 112, say: "$nic: it is a port of bridge br9"},
		{name: "another pod's NIC", change: map[string]any{"device": rails[1]}, code: 101, say: "held by pod default/cni-"},

		{name: "all devices", change: map[string]any{"device": nil, "kernelpath": "/sys/devices/*"}, code: 7, say: "is a pattern"},
		{name: "any device", change: map[string]any{"device": nil, "kernelpath": "/sys/devices/virtual/net/[a-z]?"}, code: 7, say: "is a pattern"},
		{name: "a path out of the devices", change: map[string]any{"device": nil, "kernelpath": "/sys/devices/../class/net/lo"}, code: 7},
		{name: "a device with slashes", change: map[string]any{"device": "../" + rails[0]}, code: 100},
		{name: "an address that is a path", change: map[string]any{"device": nil, "pciBusID": "../../../../etc"}, code: 7},
		{name: "an address that is a pattern", change: map[string]any{"device": nil, "pciBusID": "0000:*"}, code: 7},

		{name: "a state folder of its own", change: map[string]any{"stateDir": filepath.Dir(link)}},
		{name: "a state folder of the host's", change: map[string]any{"stateDir": "/etc/cron.d"}},

		{name: "a device information file anywhere", change: runtimeConfig(secret), code: 7, say: "CNIDeviceInfoFile"},
		{name: "one out of Multus's folder", change: runtimeConfig(devinfo + "/.." + strings.Repeat("/..", 8) + secret), code: 7, say: "CNIDeviceInfoFile"},
		{name: "Multus's folder itself", change: runtimeConfig(devinfo), code: 7, say: "CNIDeviceInfoFile"},
		{name: "a link for one", change: runtimeConfig(link), code: 7, say: "CNIDeviceInfoFile"},

		{name: "a name that means all interfaces", ifName: "all", code: 4},
		{name: "a name that means those to come", ifName: "default", code: 4},
		{name: "a name that the kernel would number", ifName: "net%d", code: 4},
		{name: "the loopback's name", ifName: "lo", code: 4},
		{name: "the name of eth0", ifName: "eth0", code: 102, say: "the pod already has an interface eth0"},

		{name: "sysctls of all interfaces", change: sysctls("net.ipv4.conf.all.forwarding"), code: 7, say: "is not one of the interface's own"},
		{name: "sysctls of another interface", change: sysctls("net.ipv4.conf.eth0.rp_filter"), code: 7, say: "is not one of the interface's own"},
		{name: "sysctls of the kernel", change: sysctls("kernel.core_pattern"), code: 7, say: "is not one of the interface's own"},
		{name: "sysctls by a path", change: sysctls("net/ipv4/conf/IFNAME/../all/forwarding"), code: 7, say: "is not one of the interface's own"},
		{name: "sysctls with a path for their last part", change: sysctls("net.ipv4.conf.IFNAME...forwarding"), code: 7, say: "is not one of the interface's own"},

		{name: "the kernel's routing table", change: map[string]any{"sourceRouting": map[string]any{"table": 255}}, code: 7, say: "which the kernel reserves"},
		{name: "a rule behind all", change: map[string]any{"sourceRouting": map[string]any{"priority": 32767}}, code: 7, say: "after the main table's rule"},
		{name: "an MTU that no NIC has", change: map[string]any{"mtu": 70000}, code: 7, say: `"mtu" is 70000`},

		{name: "an IPAM plugin that there is not", change: ipam("no-such-plugin"), code: 108, say: "no-such-plugin"},
		{name: "an IPAM plugin by a path", change: ipam("../../bin/true"), code: 108},
		{name: "this plugin for IPAM", change: ipam("roce-host-device"), code: 108, say: "itself"},
		{name: "one whose child never ends", change: ipam("breeds")},
		{name: "one that does not stop talking", change: ipam("talks"), code: 108, say: "talks"},
		{name: "one that does not stop complaining", change: ipam("complains"), code: 108, say: "complains"},
		{name: "one that is killed", change: ipam("dies"), code: 108},
		{name: "one that answers with rubbish", change: ipam("raves"), code: 108},
		{name: "one that gives what cannot be", change: ipam("lies"), code: 109},

		{name: "a configuration as deep as a well", change: map[string]any{"cni.dev/well": json.RawMessage(strings.Repeat("[", 9000) + strings.Repeat("]", 9000))}},
		{name: "one of ten megabytes", change: map[string]any{"cni.dev/much": strings.Repeat("x", 10<<20)}, code: 107},
	}
	ipamPlugins(t, map[string]string{
		"breeds":    `setsid sleep 20 & echo '{"cniVersion": "1.1.0", "ips": [{"address": "172.31.1.2/24"}]}'`,
		"talks":     `exec head -c 20000000 /dev/zero`,
		"complains": `head -c 20000000 /dev/zero >&2; exit 1`,
		"dies":      `kill -KILL $$`,
		"raves":     `echo '{"cniVersion": [}'`,
		"lies":      `echo '{"cniVersion": "1.1.0", "ips": [{"address": "172.31.1.2/24", "gateway": "192.0.2.1"}], "routes": [{"dst": "10.0.0.0/8", "gw": "192.0.2.1"}]}'`,
	})
	var n *node
	for _, net := range networks {
		if n == nil || t.Failed() {
			n = newNode(t)
		}
		n.run(net.name, func(n *node) {
			for _, command := range net.host {
				n.ip(os.Expand(command, n.variable))
			}
			ifName := net.ifName
			if ifName == "" {
				ifName = "net1"
			}
			before, p := n.settled(n.snapshot), n.pod()
			config := n.config(rails[0], net.change)
			if net.other {
				config["device"] = n.other.cali()
			}
			err := p.tryAdd(ifName, config)
			if say := os.Expand(net.say, n.variable); code(err) != net.code || err != nil && (net.code == 0 || !strings.Contains(err.Error(), say)) {
				n.Errorf("ADD: code %d: %.500v\nwant code %d: %s", code(err), err, net.code, say)
			}
			if net.code != 0 {
				n.expect("after a refused ADD the host", before, n.snapshot)
			}
			for range 2 {
				p.del(ifName, config)
			}
			p.end()
			n.expect("after DEL the host", before, n.snapshot)
			for _, command := range net.undo {
				n.ip(os.Expand(command, n.variable))
			}
			n.expect("the host", n.before, n.snapshot)
			n.other.expectUntouched()
			n.expectClean(n.other)
			for _, file := range []string{secret, link} {
				if b, err := os.ReadFile(file); err != nil || string(b) != "secret" {
					n.Errorf("%s: %q, %v", file, b, err)
				}
			}
		})
	}
}

func sysctls(key string) map[string]any {
	return map[string]any{"sysctls": map[string]any{key: "1"}}
}

func ipam(plugin string) map[string]any {
	return map[string]any{"ipam": map[string]any{"type": plugin}}
}

// ipamPlugins installs IPAM plugins, by what they do when they are asked for an
// address.
func ipamPlugins(t *testing.T, does map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, add := range does {
		script := "#!/bin/bash\n[ $CNI_COMMAND = ADD ] || { cat >/dev/null; exit; }\n" + add + "\n"
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755))
	}
	t.Setenv("ROCE_CNI_PATH", dir+":"+os.Getenv("ROCE_CNI_PATH"))
}

// A runtime gives up on an ADD that an IPAM plugin keeps, and kills it.
func TestAnIPAMPluginThatHangsKeepsNoNIC(t *testing.T) {
	notInLab(t)
	ipamPlugins(t, map[string]string{
		"hangs":  "exec sleep infinity",
		"breeds": "setsid sleep 20 & exec sleep infinity",
	})
	n := newNode(t)
	for _, plugin := range []string{"hangs", "breeds"} {
		n.run(plugin, func(n *node) {
			p, config := n.pod(), n.config(rails[0], ipam(plugin))
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			b, err := json.Marshal(config)
			must(n, err)
			if err := p.command(ctx, "roce-host-device", "ADD", "net1", b).Run(); err == nil {
				n.Error("ADD has got an address")
			}
			p.del("net1", config)
			n.expectAllAsBefore("a killed ADD")
			n.expectNextPod()
		})
	}
	// Nobody kills it, and nobody asks for a DEL.
	n.run("hangs, and the runtime waits", func(n *node) {
		p := n.pod()
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		b, err := json.Marshal(n.config(rails[0], ipam("hangs")))
		must(n, err)
		if err := p.command(ctx, "roce-host-device", "ADD", "net1", b).Run(); err == nil || ctx.Err() != nil {
			n.Errorf("ADD ended with %v, %v", err, ctx.Err())
		}
		n.expectAllAsBefore("an ADD that gave up")
		n.expectNextPod()
	})
}

// The state folder is root's. What others could put there is not believed, and
// what is damaged stops nobody.
func TestAPlantedRecordIsNotBelieved(t *testing.T) {
	notInLab(t)
	n := newNode(t)
	folder := filepath.Join(n.stateDir, "attachments")
	victim, err := os.ReadFile(filepath.Join(folder, n.other.id+"@net1.json"))
	must(t, err)
	// The pod's own record, about the other pod's NIC.
	planted := strings.ReplaceAll(string(victim), n.other.id, "id-late")
	write := func(text string, mode os.FileMode) func(t testing.TB, path string) {
		return func(t testing.TB, path string) {
			must(t, os.WriteFile(path, []byte(text), 0o600))
			must(t, os.Chmod(path, mode))
		}
	}
	plants := []struct {
		name  string
		plant func(t testing.TB, path string)
	}{
		{"by another user", func(t testing.TB, path string) { write(planted, 0o600)(t, path); must(t, os.Chown(path, 1000, 1000)) }},
		{"that others can write", write(planted, 0o666)},
		{"that is a link", func(t testing.TB, path string) {
			elsewhere := filepath.Join(t.TempDir(), "record")
			write(planted, 0o600)(t, elsewhere)
			must(t, os.Symlink(elsewhere, path))
		}},
		{"that is a link to itself", func(t testing.TB, path string) { must(t, os.Symlink(path, path)) }},
		{"that is a folder", func(t testing.TB, path string) { must(t, os.Mkdir(path, 0o755)) }},
		{"that is a FIFO", func(t testing.TB, path string) { must(t, unix.Mkfifo(path, 0o600)) }},
		{"that is a device", func(t testing.TB, path string) { must(t, unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5)))) }},
		{"that is empty", write("", 0o600)},
		{"that is cut short", write(planted[:len(planted)/2], 0o600)},
		{"that is endless", func(t testing.TB, path string) { write(planted, 0o600)(t, path); must(t, os.Truncate(path, 1<<30)) }},
		{"of another container", write(string(victim), 0o600)},
		{"of another version", write(strings.Replace(planted, `"version": 1`, `"version": 999`, 1), 0o600)},
		{"of another boot", write(strings.Replace(planted, `"bootID": "`, `"bootID": "x`, 1), 0o600)},
	}
	for _, tt := range plants {
		for _, dir := range []string{"attachments", "copies"} {
			n.run(tt.name+", among the "+dir, func(n *node) {
				path := filepath.Join(n.stateDir, dir, "id-late@net1.json")
				tt.plant(n, path)
				p := n.pod()
				p.id = "id-late"
				for range 2 {
					p.del("net1", n.config(rails[0]))
				}
				n.other.expectUntouched()
				n.expectNextPod()
				n.expect("the host", n.before, n.snapshot)
				for _, left := range []string{path, path + ".bad"} {
					must(n, os.RemoveAll(left))
				}
				n.expectClean(n.other)
			})
		}
	}
}

func TestAStateFolderThatOthersCanWriteToIsRefused(t *testing.T) {
	notInLab(t)
	n := newNode(t)
	for name, spoil := range map[string]func(dir string) (undo func()){
		"another user's": func(dir string) func() {
			must(t, os.Chown(dir, 1000, 1000))
			return func() { must(t, os.Chown(dir, 0, 0)) }
		},
		"everybody's": func(dir string) func() {
			must(t, os.Chmod(dir, 0o777))
			return func() { must(t, os.Chmod(dir, 0o755)) }
		},
	} {
		for _, dir := range []string{n.stateDir, filepath.Join(n.stateDir, "attachments"), filepath.Join(n.stateDir, "copies")} {
			n.run(filepath.Base(dir)+" is "+name, func(n *node) {
				undo := spoil(dir)
				err := n.pod().tryAdd("net1", n.config(rails[0]))
				undo()
				if code(err) != 107 {
					n.Errorf("code %d: %v, want 107", code(err), err)
				}
				n.expectAllAsBefore("a refused ADD")
			})
		}
	}
}
