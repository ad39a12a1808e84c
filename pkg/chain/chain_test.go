package chain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	"golang.org/x/sys/unix"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bridge is a list as an administrator writes it: in an order of its own, with keys
// and numbers that a program that decodes and encodes it would change.
const bridge = `{
  "plugins": [
    {"type": "bridge", "mtu": 1.5e3, "big": 12345678901234567890, "<new>": "\u00e4&"},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ],
	"name": "pods",  "cniVersion": "1.0.0"
}
`

const bridgeChained = `{
  "plugins": [
    {"type": "bridge", "mtu": 1.5e3, "big": 12345678901234567890, "<new>": "\u00e4&"},
    {"type": "portmap", "capabilities": {"portMappings": true}},
    {"type": "roce-host-device", "claims": true}
  ],
	"name": "pods",  "cniVersion": "1.0.0"
}
`

// A node's folder of CNI configurations, and its plugins.
type node struct {
	Chain
	t   testing.TB
	log *strings.Builder
}

// newNode makes a folder with files. The plugin is one that knows claims.
func newNode(t testing.TB, files map[string]string) node {
	t.Helper()
	n := node{t: t, log: &strings.Builder{}}
	n.Chain = Chain{Dir: t.TempDir(), Plugins: t.TempDir(), Log: slog.New(slog.NewTextHandler(n.log, nil))}
	for name, content := range files {
		n.write(name, content)
	}
	n.install("cat >/dev/null")
	return n
}

func (n node) path(name string) string { return filepath.Join(n.Dir, name) }

func (n node) write(name, content string) {
	n.t.Helper()
	must(n.t, os.WriteFile(n.path(name), []byte(content), 0o600))
}

func (n node) read(name string) string {
	n.t.Helper()
	b, err := os.ReadFile(n.path(name))
	must(n.t, err)
	return string(b)
}

// install puts a plugin into the folder of the plugins.
func (n node) install(script string) {
	n.t.Helper()
	path := filepath.Join(n.Plugins, Plugin)
	must(n.t, os.WriteFile(path+".new", []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	must(n.t, os.Rename(path+".new", path))
}

// all are the files of the folder, by name.
func (n node) all() map[string]string {
	n.t.Helper()
	entries, err := os.ReadDir(n.Dir)
	must(n.t, err)
	all := map[string]string{}
	for _, e := range entries {
		all[e.Name()] = n.read(e.Name())
	}
	return all
}

// eventually waits for something that an installer does.
func (n node) eventually(what string, holds func() bool) {
	n.t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatalf("not within 20 s: %s\n%v", what, n.all())
		}
	}
}

func TestTheListIsTheOneThatTheRuntimeChooses(t *testing.T) {
	list := func(name string) string {
		return fmt.Sprintf(`{"cniVersion": "1.0.0", "name": %q, "plugins": [{"type": "bridge"}]}`, name)
	}
	multus := func(rest string) string {
		return `{"cniVersion": "1.0.0", "name": "multus-cni-network", "type": "multus", ` + rest + `}`
	}
	for _, test := range []struct {
		name    string
		files   map[string]string
		changed string // names, with blanks
		err     string // a part
	}{
		{"the first by name", map[string]string{"20-b.conflist": list("b"), "10-a.conflist": list("a"), "05-c.conflist.bak": list("c")}, "10-a.conflist", ""},
		{"of Multus' own file, what it has in it", map[string]string{"00-multus.conf": multus(`"delegates": [` + list("pods") + `, ` + list("more") + `]`)}, "00-multus.conf", ""},
		{"and the file that it has that from", map[string]string{
			"00-multus.conf": multus(`"delegates": [` + list("pods") + `]`), "10-other.conflist": list("other"), "20-pods.conflist": list("pods"),
		}, "00-multus.conf 20-pods.conflist", ""},
		{"Multus may be in a list", map[string]string{
			"00-multus.conflist": `{"cniVersion": "1.0.0", "name": "m", "plugins": [` + multus(`"delegates": [`+list("pods")+`]`) + `]}`, "10-pods.conflist": list("pods"),
		}, "00-multus.conflist 10-pods.conflist", ""},
		{"a thick Multus names a file, at its own path", map[string]string{
			"00-multus.conf": strings.Replace(multus(`"clusterNetwork": "/elsewhere/cni/net.d/20-pods.conflist"`), `"multus"`, `"multus-shim"`, 1), "10-a.conflist": list("a"), "20-pods.conflist": list("pods"),
		}, "20-pods.conflist", ""},
		{"or a network, which comes before what it has in it", map[string]string{"00-multus.conf": multus(`"clusterNetwork": "pods", "delegates": [` + list("b") + `]`), "10-a.conflist": list("a"), "20-b.conflist": list("pods")}, "20-b.conflist", ""},
		{"a file that is broken and that nobody reads is none", map[string]string{"00-multus.conf": multus(`"clusterNetwork": "pods"`), "10-a.conflist": "{", "20-b.conflist": list("pods")}, "20-b.conflist", ""},
		{"a broken file of the name that is sought is not passed over", map[string]string{"00-multus.conf": multus(`"clusterNetwork": "/x/10-a.conflist"`), "10-a.conflist": "{", "20-b.conflist": list("/x/10-a.conflist")}, "", "10-a.conflist is no JSON"},
		{"a name alone is no file's", map[string]string{"00-multus.conf": multus(`"clusterNetwork": "10-a.conflist"`), "10-a.conflist": list("a")}, "", `"clusterNetwork" "10-a.conflist", which is no list in this folder`},
		{"a plugin of that name is no list", map[string]string{"00-multus.conf": multus(`"clusterNetwork": "pods"`), "10-a.conf": `{"name": "pods", "type": "bridge", "plugins": []}`, "20-b.conflist": list("pods")}, "20-b.conflist", ""},
		{"a list with another plugin beside Multus", map[string]string{
			"00-multus.conflist": `{"cniVersion": "1.0.0", "name": "m", "plugins": [{"type": "bandwidth"}, ` + multus(`"delegates": [`+list("pods")+`]`) + `]}`, "10-pods.conflist": list("pods"),
		}, "00-multus.conflist 10-pods.conflist", ""},
		{"one that only looks like Multus", map[string]string{"00-a.conflist": `{"cniVersion": "1.0.0", "name": "a", "plugins": [{"type": "multusx"}]}`, "10-b.conflist": list("b")}, "00-a.conflist", ""},

		{"no network", nil, "", "no network in"},
		{"a network that is no name", map[string]string{"00-multus.conf": multus(`"clusterNetwork": 7`)}, "", "00-multus.conf: json: cannot unmarshal number"},
		{"one plugin in the third kind of file", map[string]string{"10-a.json": `{"cniVersion": "1.0.0", "name": "a", "type": "bridge"}`}, "", "10-a.json is a single plugin"},
		{"a list of no version", map[string]string{"10-a.conflist": `{"cniVersion": "one", "name": "a", "plugins": [{"type": "bridge"}]}`}, "", "one"},
		{"one that is not there", map[string]string{"00-multus.conf": multus(`"clusterNetwork": "/etc/cni/multus/net.d/ovn.conflist"`), "10-a.conflist": list("a")}, "", `"clusterNetwork" "/etc/cni/multus/net.d/ovn.conflist"`},
		{"one plugin is no list", map[string]string{"10-a.conf": `{"cniVersion": "1.0.0", "name": "a", "type": "bridge"}`}, "", "10-a.conf is a single plugin"},
		{"nor behind Multus", map[string]string{"00-multus.conf": multus(`"delegates": [{"type": "flannel", "name": "pods"}]`)}, "", "delegates to a single plugin"},
		{"Multus without a network", map[string]string{"00-multus.conf": multus(`"delegates": []`)}, "", "delegates to no network"},
		{"what is being written, or broken", map[string]string{"10-a.conflist": `{"name": "a", "plugins": [`, "20-b.conflist": list("b")}, "", "10-a.conflist is no JSON"},
		{"what the runtime cannot use", map[string]string{"10-a.conflist": `{"plugins": [{"type": "bridge"}]}`}, "", "no name"},
		{"a list of an old version", map[string]string{"10-a.conflist": `{"cniVersion": "0.2.0", "name": "a", "plugins": [{"type": "bridge"}]}`}, "", `"cniVersion" "0.2.0", which knows no chains`},
		{"a list without a version", map[string]string{"10-a.conflist": `{"name": "a", "plugins": [{"type": "bridge"}]}`}, "", "knows no chains"},
		{"plugins in a folder", map[string]string{"10-a.conflist": `{"cniVersion": "1.1.0", "name": "a"}`}, "", "has its plugins in a folder of its own"},
		{"no plugins", map[string]string{"10-a.conflist": `{"cniVersion": "1.1.0", "name": "a", "plugins": []}`}, "", "no plugins in list"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNode(t, test.files)
			before := n.all()
			changed, err := n.Put()
			for i := range changed {
				changed[i] = filepath.Base(changed[i])
			}
			if strings.Join(changed, " ") != test.changed || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Fatalf("changed %v, error %v; want %q and %q", changed, err, test.changed, test.err)
			}
			if inForce := Check(n.Dir); (inForce == nil) != (test.err == "") {
				t.Errorf("in force: %v", inForce)
			}
			if again, _ := n.Put(); len(again) > 0 {
				t.Errorf("it changed %v once more", again)
			}
			if len(changed) > 0 {
				list, err := libcni.ConfListFromFile(n.path(changed[len(changed)-1]))
				if err == nil && !strings.HasPrefix(changed[len(changed)-1], "00") && list.Plugins[len(list.Plugins)-1].Network.Type != Plugin {
					err = errors.New("it is not the last")
				}
				if err != nil && strings.HasSuffix(changed[len(changed)-1], ".conflist") {
					t.Errorf("what a runtime sees: %v", err)
				}
			}
			if removed, err := n.Remove(); err == nil && len(removed) != len(changed) {
				t.Errorf("removed from %v", removed)
			}
			if after := n.all(); !reflect.DeepEqual(after, before) {
				t.Errorf("left behind %v", after)
			}
		})
	}
}

func TestEveryByteButThePluginStays(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridge})
	_, err := n.Put()
	must(t, err)
	if got := n.read("10-pods.conflist"); got != bridgeChained {
		t.Errorf("the list is\n%s", got)
	}
	_, err = n.Remove()
	must(t, err)
	if got := n.read("10-pods.conflist"); got != bridge {
		t.Errorf("the list without it is\n%s", got)
	}
}

func TestThePluginIsTakenOutWhereverItGot(t *testing.T) {
	const us = `{"claims":true,"type":"roce-host-device","extra":1}`
	for before, after := range map[string]string{
		`{"plugins": [` + us + `, {"type": "a"}]}`:                             `{"plugins": [{"type": "a"}]}`,
		`{"plugins": [{"type": "a"}, ` + us + `, {"type": "b"}]}`:              `{"plugins": [{"type": "a"}, {"type": "b"}]}`,
		`{"plugins": [{"type": "a"},` + us + `,` + us + `]}`:                   `{"plugins": [{"type": "a"}]}`,
		`{"big": 1e999, "plugins": [{"type": "a"},` + us + `]}`:                `{"big": 1e999, "plugins": [{"type": "a"}]}`,
		`{"delegates": [{}, {"plugins": [{"type": "a"},` + us + `]}]}`:         `{"delegates": [{}, {"plugins": [{"type": "a"}]}]}`,
		`{"plugins": [{"type": "roce-host-device", "device": "ens1"}, 1, ""]}`: `{"plugins": [{"type": "roce-host-device", "device": "ens1"}, 1, ""]}`,
	} {
		n := newNode(t, map[string]string{"10-a.conf": before})
		if _, err := n.Remove(); err != nil || n.read("10-a.conf") != after {
			t.Errorf("%s became %s, want %s; %v", before, n.read("10-a.conf"), after, err)
		}
	}
	n := newNode(t, map[string]string{"10-a.conflist": `{"plugins": [` + us + `]}`, "20-pods.conflist": bridgeChained, "99-loopback.conf": "{"})
	_, err := n.Remove()
	if err == nil || !strings.Contains(err.Error(), "nothing but roce-host-device") || !strings.Contains(err.Error(), "99-loopback.conf is no JSON") {
		t.Errorf("error %v", err)
	}
	if n.read("20-pods.conflist") != bridge {
		t.Error("what is wrong with one file kept another as it was")
	}
}

func TestAListThatHasThePluginInItsMiddleStays(t *testing.T) {
	before := strings.Replace(bridgeChained, "true}\n  ]", "true}, {\"type\": \"istio-cni\"}\n  ]", 1)
	n := newNode(t, map[string]string{"10-pods.conflist": before})
	if changed, err := n.Put(); len(changed) > 0 || err != nil || n.read("10-pods.conflist") != before || Check(n.Dir) != nil {
		t.Errorf("changed %v, error %v", changed, err)
	}
}

func TestOnlyTheListThatLacksThePluginIsChanged(t *testing.T) {
	const list = `{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge"}]}`
	const chained = `{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge"},` + element + `]}`
	multus := func(list string) string {
		return `{"cniVersion": "1.0.0", "name": "m", "type": "multus", "delegates": [` + list + `]}`
	}
	for name, tt := range map[string]struct{ inline, origin, changed string }{
		"where Multus has it from": {chained, list, "10-pods.conflist"},
		"Multus' own copy":         {list, chained, "00-multus.conf"},
		"neither":                  {chained, chained, ""},
	} {
		n := newNode(t, map[string]string{"00-multus.conf": multus(tt.inline), "10-pods.conflist": tt.origin})
		if err := Check(n.Dir); (err == nil) != (tt.inline == chained) || err != nil && !strings.Contains(err.Error(), "roce-host-device is not in the list of plugins in "+n.path("00-multus.conf")) {
			t.Errorf("%s: in force: %v", name, err)
		}
		changed, err := n.Put()
		var names []string
		for _, path := range changed {
			names = append(names, filepath.Base(path))
		}
		if want := map[string]string{"00-multus.conf": multus(chained), "10-pods.conflist": chained}; strings.Join(names, " ") != tt.changed || err != nil || !reflect.DeepEqual(n.all(), want) {
			t.Errorf("%s: changed %v, %v: %v", name, names, err, n.all())
		}
	}
}

func TestOwnerAndModeStay(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridge})
	path := n.path("10-pods.conflist")
	must(t, os.Chmod(path, 0o640))
	group := os.Getegid()
	if os.Geteuid() == 0 {
		group = 4711
		must(t, os.Chown(path, 0, group))
	}
	_, err := n.Put()
	must(t, err)
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	if st.Mode&0o7777 != 0o640 || int(st.Gid) != group {
		t.Errorf("mode %o, group %d", st.Mode&0o7777, st.Gid)
	}
}

func TestALinkIsNotFollowed(t *testing.T) {
	n := newNode(t, map[string]string{"pods": bridge})
	must(t, os.Symlink("pods", n.path("10-pods.conflist")))
	if changed, err := n.Put(); len(changed) > 0 || err == nil || !strings.Contains(err.Error(), "is a symbolic link") {
		t.Errorf("changed %v, error %v", changed, err)
	}
	if n.read("pods") != bridge {
		t.Error("it was changed")
	}
	_, err := n.Remove()
	must(t, err) // there is nothing to take out
}

// RLIMIT_FSIZE would have Go die of SIGXFSZ; a file system that is full does not.
func TestAFullDiskChangesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting takes root")
	}
	n := newNode(t, nil)
	if err := unix.Mount("tmpfs", n.Dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("no mounts here: ", err)
	}
	defer func() { must(t, unix.Unmount(n.Dir, unix.MNT_DETACH)) }()
	n.write("10-pods.conflist", bridge)
	filler, err := os.Create(n.path("filler"))
	must(t, err)
	for err == nil {
		_, err = filler.Write(make([]byte, 4096))
	}
	must(t, filler.Close())
	changed, err := n.Put()
	if len(changed) > 0 || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("changed %v, error %v", changed, err)
	}
	must(t, os.Remove(n.path("filler")))
	if all := n.all(); !reflect.DeepEqual(all, map[string]string{"10-pods.conflist": bridge}) {
		t.Errorf("the folder has %v", all)
	}
	_, err = n.Put()
	must(t, err)
}

func TestWhatAKilledInstallerLeftIsClearedUp(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridge, ".roce-host-device-123": bridge[:20]})
	_, err := n.Put()
	must(t, err)
	if all := n.all(); !reflect.DeepEqual(all, map[string]string{"10-pods.conflist": bridgeChained}) {
		t.Errorf("the folder has %v", all)
	}
}

// An agent that writes between the look and the change has the last word.
func TestWhatSomebodyElseWroteMeanwhileIsNotOverwritten(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridge})
	f, err := readFile(n.path("10-pods.conflist"))
	must(t, err)
	n.write("10-pods.conflist", strings.Replace(bridge, "portmap", "portban", 1)) // as long as before
	if err := f.replace([]byte(bridgeChained)); !errors.Is(err, errOvertaken) {
		t.Errorf("error %v", err)
	}
	if got := n.read("10-pods.conflist"); !strings.Contains(got, "portban") {
		t.Errorf("the agent's file is\n%s", got)
	}
}

// So it has if it writes while the next content is being written, which takes a while
// here.
func TestWhatSomebodyElseWritesInBetweenIsNotOverwritten(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridge})
	agents := strings.Replace(bridge, "portmap", "firewall", 1)
	long := append([]byte(bridgeChained), bytes.Repeat([]byte(" "), 16<<20)...)
	for range 20 { // the agent may come too late
		n.write("10-pods.conflist", bridge)
		f, err := readFile(n.path("10-pods.conflist"))
		must(t, err)
		ended, written := make(chan struct{}), make(chan error)
		go func() {
			for {
				half, err := filepath.Glob(n.path(part))
				select {
				case <-ended:
				default:
					if err == nil && len(half) == 0 {
						continue
					}
				}
				err = errors.Join(err, os.WriteFile(n.path("new"), []byte(agents), 0o600), os.Rename(n.path("new"), n.path("10-pods.conflist")))
				written <- err
				return
			}
		}()
		err = f.replace(long)
		close(ended)
		must(t, <-written)
		if errors.Is(err, errOvertaken) {
			if all := n.all(); !reflect.DeepEqual(all, map[string]string{"10-pods.conflist": agents}) {
				t.Errorf("the folder has %v", all)
			}
			return
		}
		must(t, err)
	}
	t.Error("the agent's file is overwritten each time")
}

func TestManyInstallersAtOnceAddThePluginOnce(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridge})
	done := make(chan error)
	for range 8 {
		go func() {
			_, err := n.Put()
			done <- err
		}()
	}
	for range 8 {
		must(t, <-done)
	}
	if all := n.all(); !reflect.DeepEqual(all, map[string]string{"10-pods.conflist": bridgeChained}) {
		t.Errorf("the folder has %v", all)
	}
}

// follow runs an installer until the function that it returns, or the test's end.
func (n node) follow() (end func()) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.Run(ctx)
	}()
	end = func() { stop(); <-done }
	n.t.Cleanup(end)
	return end
}

func TestTheLastInstallerTakesThePluginOut(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridge})
	first := n.follow()
	n.eventually("the list has it", func() bool { return Check(n.Dir) == nil })
	second := newNode(t, nil)
	second.Chain.Dir, second.Plugins = n.Dir, n.Plugins
	next := second.follow()
	time.Sleep(50 * time.Millisecond) // it is there before the first ends
	first()
	if got := n.read("10-pods.conflist"); got != bridgeChained || strings.Contains(n.log.String(), "took") {
		t.Errorf("after a rollout the list is\n%s\n%s", got, n.log)
	}
	next()
	if got := n.read("10-pods.conflist"); got != bridge {
		t.Errorf("after all installers the list is\n%s", got)
	}
}

// The folder of the plugins may be gone by then, and with it whatever another
// installer would put into the list.
func TestWithoutAFolderOfPluginsAnInstallerIsTheLast(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeChained})
	n.Plugins = filepath.Join(t.TempDir(), "absent")
	ended, end := context.WithCancel(t.Context())
	end()
	n.Run(ended)
	if got := n.read("10-pods.conflist"); got != bridge || !strings.Contains(n.log.String(), "took the plugin out of the list") {
		t.Errorf("the list is\n%s\n%s", got, n.log)
	}
}

func TestWhatTheLastInstallerCannotTakeOutIsSaid(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeChained, "20-broken.conflist": "{"})
	ended, end := context.WithCancel(t.Context())
	end()
	n.Run(ended)
	if got := n.read("10-pods.conflist"); got != bridge || !strings.Contains(n.log.String(), "the plugin stays in the list") || !strings.Contains(n.log.String(), "20-broken.conflist is no JSON") {
		t.Errorf("the list is\n%s\n%s", got, n.log)
	}
}

func TestAFolderThatIsNotThereIsAnErrorForAll(t *testing.T) {
	n := newNode(t, nil)
	n.Dir = filepath.Join(t.TempDir(), "absent")
	_, put := n.Put()
	_, removed := n.Remove()
	for what, err := range map[string]error{"put": put, "remove": removed, "check": Check(n.Dir)} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

func TestTheListIsFollowed(t *testing.T) {
	n := newNode(t, nil)
	n.follow()
	chained := func() bool { return Check(n.Dir) == nil }
	n.write("10-pods.conflist", bridge)
	n.eventually("the cluster's network comes after us", chained)
	for i := range 5 { // an agent that writes its file anew, in both ways
		if i%2 == 0 {
			n.write("10-pods.conflist", bridge)
		} else {
			n.write("new", bridge)
			must(t, os.Rename(n.path("new"), n.path("10-pods.conflist")))
		}
		n.eventually("an agent wrote it anew", chained)
	}
	n.write("05-cilium.conflist", strings.ReplaceAll(bridge, "pods", "cilium"))
	n.eventually("another network comes first", chained)
	must(t, os.RemoveAll(n.Dir))
	must(t, os.Mkdir(n.Dir, 0o755))
	n.write("10-pods.conflist", bridge)
	n.eventually("the folder went and came back", chained)
}

// Each pod of a node fails whose network names a plugin that is not there.
func TestWithoutAFitProgramTheListIsWithoutThePlugin(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridge})
	end := n.follow()
	for name, break_ := range map[string]func(){
		"it is gone": func() { must(t, os.Remove(filepath.Join(n.Plugins, Plugin))) },
		"it is old": func() {
			n.install(`cat >/dev/null; echo '{"code": 7, "msg": "unknown key \"claims\"", "details": "take it out"}'; exit 1`)
		},
	} {
		n.eventually("the list has it", func() bool { return n.read("10-pods.conflist") == bridgeChained })
		break_()
		n.eventually(name, func() bool { return n.read("10-pods.conflist") == bridge })
		n.install("cat >/dev/null")
	}
	n.eventually("it is there again", func() bool { return n.read("10-pods.conflist") == bridgeChained })
	end()
	for _, why := range []string{"no such file or directory; install the CNI plugin", "does not know claims", "added the plugin to the list of the node's network\" file=" + n.path("10-pods.conflist"), "took the plugin out of the list of the node's network\" file=" + n.path("10-pods.conflist")} {
		if !strings.Contains(n.log.String(), why) {
			t.Errorf("no word of %q in\n%s", why, n.log)
		}
	}
}

func TestAProgramIsAskedWhetherItKnowsClaims(t *testing.T) {
	const unknown = `{"code": 7, "msg": "unknown key \"claims\"", "details": "take it out"}`
	for name, tt := range map[string]struct {
		mode         os.FileMode
		script       string
		why, trouble string // parts
	}{
		"it can":                    {0o755, "#!/bin/sh\ncat >/dev/null", "", ""},
		"it cannot now":             {0o755, "#!/bin/sh\ncat >/dev/null; echo '" + `{"code": 50, "msg": "no state folder"}` + "'; exit 1", "", ""},
		"it says something else":    {0o755, "#!/bin/sh\ncat >/dev/null; echo oops; exit 1", "", ""},
		"it is of an older release": {0o755, "#!/bin/sh\ncat >/dev/null; echo '" + unknown + "'; exit 1", `does not know claims (unknown key "claims"; take it out); install that of this release`, ""},
		"it is no program":          {0o755, "nothing", "exec format error; install the CNI plugin", ""},
		"nobody may run it":         {0o644, "#!/bin/sh\n", "permission denied; install the CNI plugin", ""},
		"it is not there":           {0, "", "no such file or directory; install the CNI plugin", ""},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, Plugin)
		if tt.mode != 0 {
			must(t, os.WriteFile(path, []byte(tt.script+"\n"), 0o600))
			must(t, os.Chmod(path, tt.mode))
		}
		why, err := unfit(t.Context(), dir)
		if (why == nil) != (tt.why == "") || why != nil && (!strings.Contains(why.Error(), tt.why) || !strings.Contains(why.Error(), path)) || err != nil {
			t.Errorf("%s: %v, %v", name, why, err)
		}
	}
	ended, stop := context.WithCancel(t.Context())
	stop()
	if why, err := unfit(ended, t.TempDir()); why != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v, %v", why, err)
	}
}

// It sees what a runtime would ask, and nothing of our own environment.
func TestAProgramIsAskedAsARuntimeAsks(t *testing.T) {
	t.Setenv("HOME", "/root")
	n := newNode(t, nil)
	n.install(`{ cat; echo; echo "$CNI_COMMAND $CNI_PATH $HOME"; } > "$CNI_PATH/asked"`)
	if why, err := unfit(t.Context(), n.Plugins); why != nil || err != nil {
		t.Fatal(why, err)
	}
	b, err := os.ReadFile(filepath.Join(n.Plugins, "asked"))
	must(t, err)
	if want := `{"cniVersion": "1.1.0", "name": "claims", "type": "roce-host-device", "claims": true}` + "\nSTATUS " + n.Plugins + " \n"; string(b) != want {
		t.Errorf("%s\nwant %s", b, want)
	}
}

// That a program does not start now is no reason to do without it.
func TestWhileNobodyCanTellTheListStays(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeChained})
	busy, err := os.OpenFile(filepath.Join(n.Plugins, Plugin), os.O_WRONLY, 0)
	must(t, err)
	defer busy.Close()
	for _, path := range []string{"busy", "the end"} {
		ctx, stop := context.WithCancel(t.Context())
		if path == "the end" {
			stop()
			n.log.Reset()
		}
		n.keep(ctx, map[string]string{})
		stop()
		if got := n.read("10-pods.conflist"); got != bridgeChained {
			t.Errorf("%s: the list is\n%s", path, got)
		}
		if said := n.log.String(); strings.Contains(said, "text file busy") != (path == "busy") || (said == "") != (path == "the end") {
			t.Errorf("%s: logged %s", path, said)
		}
	}
}

func TestTheSameTroubleIsSaidOnce(t *testing.T) {
	n := newNode(t, nil)
	said := map[string]string{}
	for range 3 {
		n.keep(t.Context(), said)
	}
	if c := strings.Count(n.log.String(), "level=ERROR"); c != 1 || !strings.Contains(n.log.String(), "no network in") {
		t.Errorf("logged:\n%s", n.log)
	}
	n.write("10-pods.conflist", bridge)
	n.keep(t.Context(), said)
	must(t, os.Remove(n.path("10-pods.conflist")))
	n.keep(t.Context(), said)
	if c := strings.Count(n.log.String(), "level=ERROR"); c != 2 {
		t.Errorf("logged:\n%s", n.log)
	}
}

// What a runtime reads while files are replaced is always a whole file.
func TestAReaderSeesTheOldOrTheNewList(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridge})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_, _ = n.Put()
			_, _ = n.Remove()
		}
	}()
	defer func() { stop(); <-done }()
	for range 300 {
		if got := n.read("10-pods.conflist"); got != bridge && got != bridgeChained {
			t.Fatalf("a reader saw\n%s", got)
		}
	}
}

func FuzzAddAndRemove(f *testing.F) {
	f.Add([]byte(bridge))
	f.Add([]byte(`{"plugins":[{"type":"a"}],"plugins":[{"type":"b"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		root, err := parse(text)
		if err != nil {
			return
		}
		list := root.member("plugins")
		for _, plugin := range list.elements {
			if plugin.members == nil {
				return // libcni refuses it
			}
		}
		before := &file{"f", text, root}
		if len(list.elements) == 0 || before.has(list) {
			return
		}
		added := add(text, list, element)
		var was, is struct{ Plugins []json.RawMessage }
		if json.Unmarshal(text, &was) != nil {
			return
		}
		must(t, json.Unmarshal(added, &is))
		if len(is.Plugins) != len(was.Plugins)+1 {
			t.Fatalf("%d plugins, were %d:\n%s", len(is.Plugins), len(was.Plugins), added)
		}
		root, err = parse(added)
		must(t, err)
		list = root.member("plugins")
		if got := remove(added, list, len(list.elements)-1); string(got) != string(text) {
			t.Fatalf("%q became %q", text, got)
		}
	})
}
