package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/netmanager"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// A scene is a node whose NICs are links of a network namespace that stands for the
// host's, the plugin, and an IPAM plugin that is a script. The commands run in this
// process; test/cni has them as a runtime runs them.
type scene struct {
	*node.Node
	*Plugin
	host *netdev.Namespace
}

// newScene makes one with a link for each HCA. Its tests run one after another: a
// command prints to the process's standard output.
func newScene(t *testing.T, hcas ...sysfs.HCA) *scene {
	t.Helper()
	s := &scene{Node: node.NewHere(t, hcas...), host: node.NewHost(t)}
	s.Plugin = &Plugin{
		Node: s.RDMA(), Proc: filepath.Join(s.Dir, "proc"), PolicyFile: filepath.Join(s.Dir, "policy.json"), Log: s.Node.Log(),
		Managers: netmanager.Roots{Run: filepath.Join(s.Dir, "run"), Etc: filepath.Join(s.Dir, "etc"), Lib: filepath.Join(s.Dir, "lib"), Sys: s.Sys()},
	}
	s.policy("")
	for _, h := range hcas {
		if h.Netdev != "" {
			node.AddNIC(t, s.host, h.Netdev)
			s.sh("ip link set " + h.Netdev + "w up; ip link set " + h.Netdev + " up mtu 9000")
		}
	}
	// The script writes down who asks it for what, and answers with a file, if the
	// test has written one.
	s.Write("bin/scripted", `#!/bin/bash
d=$(dirname "$0")
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME" >>$d/calls
cat >$d/config.$CNI_IFNAME
env | grep ^CNI_ | sort >$d/env.$CNI_COMMAND
[ ! -e $d/$CNI_COMMAND.runs ] || . $d/$CNI_COMMAND.runs
[ ! -e $d/host ] || { echo "$CNI_COMMAND"; nsenter --net=$(cat $d/host) ip -br link; } >>$d/seen
if [ -e $d/$CNI_COMMAND.fails ]; then cat $d/$CNI_COMMAND.fails; exit 1; fi
[ $CNI_COMMAND != ADD ] || cat $d/answer.$CNI_IFNAME 2>/dev/null || cat $d/answer
`)
	s.Must(os.Chmod(filepath.Join(s.Dir, "bin/scripted"), 0o700))
	s.Must(os.Symlink("scripted", filepath.Join(s.Dir, "bin/dhcp")))
	s.Write("bin/answer", `{"cniVersion": "1.1.0", "ips": [{"address": "172.31.1.2/24", "gateway": "172.31.1.1"}], "routes": [{"dst": "10.9.0.0/16"}]}`)
	t.Setenv("CNI_PATH", filepath.Join(s.Dir, "bin"))
	return s
}

// policy is the administrator's, beside where the node's folders are.
func (s *scene) policy(rules string) {
	s.Helper()
	if rules != "" {
		rules = ", " + rules
	}
	s.Write("policy.json", fmt.Sprintf(`{"stateDir": %q, "deviceInfoDir": %q%s}`, s.State(), filepath.Join(s.Dir, "devinfo"), rules))
}

// sh runs a script in the thread's namespace.
func (s *scene) sh(script string) string {
	s.Helper()
	out, err := exec.Command("bash", "-ec", script).CombinedOutput()
	if err != nil {
		s.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// asked is what the IPAM plugin was asked for, since the last time.
func (s *scene) asked() string {
	s.Helper()
	path := filepath.Join(s.Dir, "bin/calls")
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.Fatal(err)
	}
	_ = os.Remove(path)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	slices.Sort(lines)
	return strings.Join(lines, ", ")
}

// ipamFails has the IPAM plugin fail at a command with a reason, or do it again for
// "".
func (s *scene) ipamFails(command, reason string) {
	s.Helper()
	if reason == "" {
		s.Must(os.Remove(filepath.Join(s.Dir, "bin", command+".fails")))
		return
	}
	s.Write("bin/"+command+".fails", fmt.Sprintf(`{"cniVersion": "1.1.0", "code": 999, "msg": %q}`, reason))
}

// mountState has the state folder on a file system of its own, until the test ends.
func (s *scene) mountState(options string) {
	s.Helper()
	s.sh("mkdir -p " + s.State())
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "mode=755,"+options, "tmpfs", s.State()).CombinedOutput(); err != nil {
		s.Skipf("no mounts here: %s", out)
	}
	s.Cleanup(func() { s.Must(unix.Unmount(s.State(), unix.MNT_DETACH)) })
}

// record is one of the journal.
func (s *scene) record(container, ifName string) *attachment.Record {
	s.Helper()
	r, _, err := s.Journal.Read(attachment.ID{ContainerID: container, IfName: ifName})
	s.Must(err)
	if r == nil {
		s.Fatalf("no record of %s %s", container, ifName)
	}
	return r
}

// change changes a record of the journal.
func (s *scene) change(container, ifName string, change func(*attachment.Record)) {
	s.Helper()
	r := s.record(container, ifName)
	change(r)
	s.Must(s.Journal.Update(r))
}

// whenAwaited does something as soon as somebody waits for a lock of the state
// folder, and then gives it back. The result says if nobody does until done. files is
// the pattern for the lock's file.
func (s *scene) whenAwaited(lock *attachment.Lock, files string, done <-chan struct{}, do func() error) <-chan error {
	s.Helper()
	paths, err := filepath.Glob(filepath.Join(s.State(), "locks", files))
	if err != nil || len(paths) != 1 {
		s.Fatal(paths, err)
	}
	var file unix.Stat_t
	s.Must(unix.Stat(paths[0], &file))
	result := make(chan error, 1)
	go func() {
		defer lock.Unlock()
		for waits := fmt.Sprintf(":%d ", file.Ino); ; time.Sleep(time.Millisecond) {
			select {
			case <-done:
				result <- errors.New("nobody waits for the lock")
				return
			default:
			}
			locks, err := os.ReadFile("/proc/locks")
			if _, after, _ := strings.Cut(string(locks), "-> FLOCK"); err != nil || strings.Contains(after, waits) {
				result <- errors.Join(err, do())
				return
			}
		}
	}()
	return result
}

// serve has the host listen on an address of its own.
func (s *scene) serve(address string) {
	s.Helper()
	l, err := (&net.ListenConfig{}).Listen(s.Ctx, "tcp", address+":0")
	s.Must(err)
	s.Cleanup(func() { _ = l.Close() })
}

// records are those of the journal, in words.
func (s *scene) records() string {
	s.Helper()
	records, bad, err := s.Journal.List()
	if err != nil || len(bad) > 0 {
		s.Fatal(bad, err)
	}
	var all []string
	for _, r := range records {
		all = append(all, fmt.Sprintf("%s %s %s", r.ContainerID, r.IfName, r.Step))
	}
	return strings.Join(all, ", ")
}

// onHost are the host's links that stand for NICs.
func (s *scene) onHost() string {
	s.Helper()
	links, err := s.host.Links(s.Ctx)
	s.Must(err)
	var names []string
	for _, link := range links {
		if a := link.Attrs(); a.Name != "lo" && !strings.HasSuffix(a.Name, "w") {
			names = append(names, a.Name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// A scenePod is a network namespace with a container ID.
type scenePod struct {
	*scene
	id, netns string
	ns        *netdev.Namespace
	end       func()
}

func (s *scene) pod(id string) *scenePod {
	s.Helper()
	ns, end := node.NewPod(s.T)
	return &scenePod{scene: s, id: id, netns: ns.Path, ns: ns, end: end}
}

// args are those of a call for the pod.
func (p *scenePod) args(ifName, config string) *skel.CmdArgs {
	return &skel.CmdArgs{
		ContainerID: p.id, Netns: p.netns, IfName: ifName, Path: filepath.Join(p.Dir, "bin"), StdinData: []byte(config),
		Args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + p.id + ";K8S_POD_UID=" + uidOf(p.id),
	}
}

// uidOf is a pod's UID, by its container.
func uidOf(id string) string { return fmt.Sprintf("00000000-0000-0000-0000-%012x", id) }

// network is one for a NIC by a key, with the script as its IPAM plugin. more is
// put behind it, with its comma.
func network(device, more string) string {
	return fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "roce", "type": "roce-host-device", "device": %q, "rdma": "none", "ipam": {"type": "scripted"}%s}`, device, more)
}

// tryAdd runs an ADD, and returns what it prints.
func (p *scenePod) tryAdd(ifName, config string) (*current.Result, error) {
	p.Helper()
	printed, err := p.printed("ADD", func() error { return p.Plugin.add(p.args(ifName, config)) })
	if err != nil {
		if printed != "" {
			p.Errorf("a failed ADD prints %s", printed)
		}
		return nil, err
	}
	result := &current.Result{}
	p.Must(json.Unmarshal([]byte(printed), result))
	return result, nil
}

func (p *scenePod) add(ifName, config string) *current.Result {
	p.Helper()
	result, err := p.tryAdd(ifName, config)
	p.Must(err)
	return result
}

func (p *scenePod) del(ifName, config string) error {
	p.Setenv("CNI_COMMAND", "DEL")
	return p.Plugin.del(p.args(ifName, config))
}

// check is a CHECK with the result of the ADD.
func (p *scenePod) check(ifName, config string, result *current.Result) error {
	p.Helper()
	b, err := json.Marshal(result)
	p.Must(err)
	p.Setenv("CNI_COMMAND", "CHECK")
	return p.Plugin.check(p.args(ifName, strings.TrimSuffix(config, "}")+`, "prevResult": `+string(b)+"}"))
}

// printed is what a command prints.
func (s *scene) printed(command string, run func() error) (string, error) {
	s.Helper()
	s.Setenv("CNI_COMMAND", command)
	file, err := os.CreateTemp(s.Dir, "stdout")
	s.Must(err)
	defer file.Close()
	before := os.Stdout
	os.Stdout = file
	failed := run()
	os.Stdout = before
	_, err = file.Seek(0, io.SeekStart)
	s.Must(err)
	b, err := io.ReadAll(file)
	s.Must(err)
	return string(b), failed
}

// inPod is what the pod's link of a name is like, "" for none.
func (p *scenePod) inPod(name string) string {
	p.Helper()
	link, err := p.ns.LinkNamed(name)
	p.Must(err)
	if link == nil {
		return ""
	}
	a := link.Attrs()
	state, err := p.ns.State(p.Ctx, link)
	p.Must(err)
	text := fmt.Sprintf("mtu %d up %v", a.MTU, a.Flags&net.FlagUp != 0)
	for _, address := range state.Addresses {
		text += " " + address.Prefix.String()
	}
	for _, r := range state.Routes {
		if r.Protocol != 2 { // the kernel's
			text += " to " + r.String()
		}
	}
	return text
}

// in runs a script in the pod.
func (p *scenePod) in(script string) string {
	p.Helper()
	var out string
	p.Must(p.ns.Do(func() error { out = p.sh(script); return nil }))
	return out
}

// told is an error's code and text.
func told(err error) string {
	if err == nil {
		return ""
	}
	var e *types.Error
	if !errors.As(err, &e) {
		return "no error of CNI: " + err.Error()
	}
	return fmt.Sprintf("%d %s; %s", e.Code, e.Msg, e.Details)
}
