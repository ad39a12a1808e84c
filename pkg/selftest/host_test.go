package selftest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	journal "github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// moves is a fake plugin that moves links as the real one does, as far as somebody
// who looks at them sees.
const moves = `
read -r config < config
nic=${config##*'"device":"'} nic=${nic%%'"'*} address=
case $config in *'"address":"'*) address=${config##*'"address":"'} address=${address%%'"'*} ;; esac
case $CNI_COMMAND in
VERSION) echo '{"supportedVersions": ["0.4.0", "1.0.0"]}' ;;
ADD)
	ip link set "$nic" name "$CNI_IFNAME" netns "$CNI_NETNS" || exit 1
	nsenter --net="$CNI_NETNS" ip link set "$CNI_IFNAME" up
	[ -z "$address" ] || nsenter --net="$CNI_NETNS" ip address add "$address" dev "$CNI_IFNAME"
	echo '{"cniVersion":"1.0.0"}' ;;
CHECK) [ -z "${config##*'"rdma":"none"'*'"prevResult":{"cniVersion":"1.0.0"}'*}" ] ;;
DEL)
	nsenter --net="$CNI_NETNS" ip link show "$CNI_IFNAME" >&2 || exit 0
	nsenter --net="$CNI_NETNS" ip link set "$CNI_IFNAME" down name "$nic" netns /proc/$$/ns/net ;;
esac
`

// newTest is a test of a fake plugin on a host whose two NICs are cabled to each
// other.
func newTest(t *testing.T, script string) (*test, *strings.Builder) {
	t.Helper()
	host := node.NewHost(t)
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "ens11np0", MTU: 1500}, PeerName: "ens12np0"}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	n := node.NewHere(t)
	s := &test{
		Options: Options{Node: n.RDMA(), StateDir: n.State(), Proc: filepath.Join(n.Dir, "proc"), NICs: []string{"ens11np0", "ens12np0"}, Version: "v1"},
		plugin:  fakePlugin(t, script), host: host,
	}
	s.PluginDir = s.plugin.dir
	if err := os.WriteFile(filepath.Join(s.PluginDir, "static"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	s.report = &report{w: &text}
	return s, &text
}

// steps are a report's lines from its first NIC on, without times and columns.
func steps(text string) string {
	if _, after, ok := strings.Cut(text, "CNI 1.0.0\n"); ok {
		text = after
	}
	text = regexp.MustCompile(` +[0-9.]+(µs|ms|s)\b`).ReplaceAllString(text, "")
	text = regexp.MustCompile(` +`).ReplaceAllString(text, " ")
	return regexp.MustCompile(`driver veth [0-9.]+`).ReplaceAllString(text, "driver veth VERSION")
}

// alone are the lines of a NIC that is tested by itself, and as it should be.
func alone(name string) string {
	return strings.ReplaceAll(`
NIC    driver veth VERSION, no RDMA device
ok       NIC: ADD
ok       NIC: in the pod
ok       NIC: CHECK
ok       NIC: DEL
ok       NIC: on the host as it was
`, "NIC", name)
}

func TestASelftestOfTwoNICsIsReportedStepByStep(t *testing.T) {
	s, text := newTest(t, moves)
	node.AddNIC(t, s.host, "ens13np0")
	s.NICs = append(s.NICs, "ens13np0") // it takes two
	if err := Run(t.Context(), s.Options, text); err != nil {
		t.Error(err)
	}
	want := alone("ens11np0") + alone("ens12np0") + `
ok       ens11np0: ADD with an address
ok       ens11np0: in the pod
ok       ens11np0: CHECK
ok       ens12np0: ADD with an address
ok       ens12np0: in the pod
ok       ens12np0: CHECK
ok       packets from ens12np0 to ens11np0
skipped  RDMA from ens12np0 to ens11np0           a NIC has no RDMA device
ok       ens12np0: DEL
ok       ens12np0: on the host as it was
ok       ens11np0: DEL
ok       ens11np0: on the host as it was

PASSED: 21 steps, 1 skipped
`
	if got := steps(text.String()); got != steps(want) {
		t.Errorf("%s\nwant%s", text, want)
	}
	containers := map[string]bool{}
	for line := range strings.Lines(s.plugin.file(t, "calls")) {
		if container, ok := strings.CutPrefix(line, "ADD "); ok {
			containers[container] = true
		}
	}
	if len(containers) != 4 {
		t.Errorf("four pods are called %v", containers)
	}
	head, _, _ := strings.Cut(text.String(), "\n\n")
	for _, line := range []string{"selftest    v1, of " + time.Now().UTC().Format(time.DateOnly), "kernel      " + kernel(), "system      " + distribution(),
		"RDMA mode   " + mode(), "plugin      " + s.PluginDir + ", CNI 1.0.0"} {
		if !strings.Contains("\n"+head+"\n", "\n"+line+"\n") {
			t.Errorf("no %q in\n%s", line, head)
		}
	}
}

// A cancelWriter ends a test when its report gets to some words.
type cancelWriter struct {
	*strings.Builder
	at  string
	end func()
}

func (w cancelWriter) Write(b []byte) (int, error) {
	if strings.Contains(string(b), w.at) {
		w.end()
	}
	return w.Builder.Write(b)
}

func TestASelftestEndsWhereItHasTo(t *testing.T) {
	const refuse = `[ "$CNI_COMMAND $nic" != "ADD ens11np0" ] || { echo '{"code": 112, "msg": "the host needs it"}'; exit 1; }` + "\n"
	first, rest, _ := strings.Cut(moves, "case $CNI_COMMAND")
	with := func(lines string) string { return first + lines + "case $CNI_COMMAND" + rest }
	for name, tt := range map[string]struct {
		script string
		change func(*test)
		want   string
		err    string
	}{
		"a NIC is passed over": {with(refuse), func(s *test) { s.NICs = nil }, `passed over ens11np0: code 112: the host needs it
` + alone("ens12np0") + `
ok       ens12np0: ADD with an address
ok       ens12np0: in the pod
ok       ens12np0: CHECK
skipped  traffic                                  it takes a second free NIC, on the same network
ok       ens12np0: DEL
ok       ens12np0: on the host as it was

PASSED: 10 steps, 1 skipped
`, "<nil>"},
		"all are passed over": {with(strings.ReplaceAll(refuse, "ADD ens11np0", "ADD $nic")), func(s *test) { s.NICs = nil }, `passed over ens11np0: code 112: the host needs it
passed over ens12np0: code 112: the host needs it
`, "the plugin takes none of the node's NICs; the lines above say why"},
		"a NIC that was named is not free": {with(refuse), func(*test) {}, `
ens11np0    driver veth VERSION, no RDMA device
FAILED   ens11np0: ADD: code 112: the host needs it
ok       ens11np0: DEL
ok       ens11np0: on the host as it was

FAILED: 1 of 3 steps
`, ErrFailed.Error()},
		"a step fails": {with(`[ $CNI_COMMAND != CHECK ] || { echo '{"code": 4, "msg": "no"}'; exit 1; }` + "\n"), func(*test) {},
			strings.Replace(alone("ens11np0"), "ok       ens11np0: CHECK", "FAILED   ens11np0: CHECK: code 4: no", 1) + "\nFAILED: 1 of 5 steps\n", ErrFailed.Error()},
		"another NIC comes back": {with(`[ $CNI_COMMAND != DEL ] || nsenter --net="$CNI_NETNS" ip link set "$CNI_IFNAME" alias spare` + "\n"), func(*test) {},
			strings.Replace(alone("ens11np0"), "ok       ens11np0: on the host as it was", "FAILED   ens11np0: on the host as it was: alias is \"spare\", was nothing", 1) + "\nFAILED: 1 of 5 steps\n", ErrFailed.Error()},
		// The host's own part in its NIC being as it was comes later.
		"it is ended": {with(`[ $CNI_COMMAND != DEL ] || {
	nsenter --net="$CNI_NETNS" ip link set "$CNI_IFNAME" alias spare
	{ sleep 0.1; until ip link set "$nic" alias ""; do sleep 0.01; done; } > /dev/null 2>&1 &
}
`), func(s *test) {
			s.w, s.settling = cancelWriter{s.w.(*strings.Builder), "ens11np0: ADD", nil}, time.Minute
		},
			alone("ens11np0") + "FAILED   the test was ended: context canceled\n\nFAILED: 1 of 6 steps\n", ErrFailed.Error()},
		"there is no IPAM plugin": {moves, func(s *test) { _ = os.Remove(filepath.Join(s.PluginDir, "static")) },
			alone("ens11np0") + alone("ens12np0") + "\nskipped  with addresses                           there is no IPAM plugin static in DIR\n\nPASSED: 10 steps, 1 skipped\n", "<nil>"},
	} {
		t.Run(name, func(t *testing.T) {
			s, text := newTest(t, tt.script)
			s.settling = 300 * time.Millisecond
			ctx, end := context.WithCancel(t.Context())
			defer end()
			tt.change(s)
			if w, ok := s.w.(cancelWriter); ok {
				w.end = end
				s.w = w
			}
			err := s.all(ctx, []nic{{name: "ens11np0"}, {name: "ens12np0"}})
			if got := strings.ReplaceAll(steps(text.String()), s.PluginDir, "DIR"); got != steps(tt.want) || fmt.Sprint(err) != tt.err {
				t.Errorf("%v\n%s\nwant %s", err, got, tt.want)
			}
		})
	}
}

func TestASelftestStopsAtWhatAnEarlierOneLeftAndCannotBeUndone(t *testing.T) {
	s, text := newTest(t, `[ $CNI_COMMAND != DEL ] || { echo '{"code": 11, "msg": "busy"}'; exit 1; }`+moves)
	j, err := journal.Open(s.StateDir, s.Proc)
	if err == nil {
		err = j.Write(recordOf("old", network))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), s.Options, text); !errors.Is(err, ErrFailed) {
		t.Error(err)
	}
	const want = "FAILED   undo an earlier test of ens11np0: code 11: busy; the device plugin's rescue, or the next selftest, tries again\n\nFAILED: 1 of 1 steps\n"
	if got := steps(text.String()); got != steps(want) {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestANICIsInThePodWhenItIsUpThereAndTheHostHasNoneOfItsName(t *testing.T) {
	host := node.NewHost(t)
	s, p := &test{host: host}, &pod{nic: nic{name: "ens11np0"}}
	p.ns, _ = node.NewPod(t)
	for _, step := range []struct{ command, want string }{
		{"link add ens11np0 type veth peer name ens11np0w", "the pod has no net1 that is up"},
		{"link set ens11np0 name net1 netns " + p.ns.Path, "the pod has no net1 that is up"},
		{"-n pod link set net1 up", "<nil>"},
		{"link add ens11np0 type veth peer name ens11np0x", "the host has a ens11np0"},
	} {
		command, inPod := strings.CutPrefix(step.command, "-n pod ")
		do := func() error { return exec.Command("ip", strings.Fields(command)...).Run() }
		err := do
		if inPod {
			err = func() error { return p.ns.Do(do) }
		}
		if err := err(); err != nil {
			t.Fatalf("ip %s: %v", step.command, err)
		}
		if got := fmt.Sprint(s.netdevIn(p)); got != step.want {
			t.Errorf("after %s: %s, want %s", step.command, got, step.want)
		}
	}
}

// What DEL restores, and what only the kernel's files tell.
func TestALookSeesWhatWasChangedOfANIC(t *testing.T) {
	s, _ := newTest(t, "")
	sys := filepath.Join(s.Node.Sys, "class/net/ens11np0/gro_flush_timeout")
	files := map[string]string{sys: "20000"}
	for file, value := range map[string]string{"ipv4/conf/ens11np0/arp_announce": "2", "ipv6/conf/ens11np0/hop_limit": "65", "ipv4/neigh/ens11np0/gc_stale_time": "61", "ipv6/neigh/ens11np0/gc_stale_time": "62"} {
		files[filepath.Join("/proc/sys/net", file)] = value
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(sys), 0o755), os.WriteFile(sys, []byte("0\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	n := nic{name: "ens11np0"}
	look := func() view {
		v, err := s.look(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	before := look()
	if err := before.differences(look()); err != nil {
		t.Error(err)
	}
	for file, value := range files {
		if err := os.WriteFile(file, []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := before.differences(look())
	for file, value := range files {
		if err == nil || !strings.Contains(err.Error(), file+" is "+value+", was ") {
			t.Errorf("no %s in %v", file, err)
		}
	}
	n.name = "ens99np0"
	if err := before.differences(look()); err == nil || !strings.Contains(err.Error(), " is not on the host, was nothing") {
		t.Errorf("without the NIC: %v", err)
	}
}

func TestANICWithoutAnRDMADeviceIsTestedOnlyIfItIsNamed(t *testing.T) {
	s, _ := newTest(t, "")
	hca, away := sysfs.NIC(0), sysfs.NIC(1) // ens11np0 and ens12np0
	tree, err := sysfs.New(t.TempDir())
	if err := errors.Join(err, tree.Add(hca, away), netlink.LinkDel(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "ens12np0"}})); err != nil {
		t.Fatal(err)
	}
	node.AddNIC(t, s.host, hca.Netdev)
	s.Node = rdma.Node{Sys: tree.Sys(), Dev: tree.Dev()}
	if all, err := s.candidates(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("%+v, %v", all, err)
	}
}

// Their NICs are cabled to nothing.
func TestNICsThatHaveNoWayToEachOtherAreNoFailure(t *testing.T) {
	host := node.NewHost(t)
	side := func(name, address string) *pod {
		p := &pod{nic: nic{name: name}, address: netip.MustParseAddr(address)}
		p.ns, _ = node.NewPod(t)
		node.AddNIC(t, host, name)
		node.Move(t, name, host, p.ns)
		err := p.ns.Do(func() error {
			return exec.Command("sh", "-c", "ip link set "+name+" up && ip address add "+address+"/30 dev "+name).Run()
		})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	server, client := side("ens11np0", "198.18.0.1"), side("ens12np0", "198.18.0.2")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	skipped := skip("")
	if err := exchange(ctx, server, client); !errors.As(err, &skipped) || !strings.HasPrefix(err.Error(), "no packet came from ens12np0 to ens11np0 in ") {
		t.Errorf("%v", err)
	}
}

func TestRDMATrafficIsWhatBothSidesSay(t *testing.T) {
	node.NewHost(t) // which takes root
	dir := t.TempDir()
	for _, program := range []string{"sh", "mount", "cat"} {
		path, err := exec.LookPath(program)
		if err := errors.Join(err, os.Symlink(path, filepath.Join(dir, program))); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	meeting := filepath.Join(dir, "meeting")
	for name, tt := range map[string]struct {
		server, client string
		want           []string // of the error
	}{
		"both are well":              {"cat " + meeting, "echo > " + meeting, nil},
		"the client comes too early": {"cat " + meeting, "[ -e came ] || { > came; exit 1; }; echo > " + meeting, nil},
		"each has a reason":          {"echo no device; exit 3", "echo refused; exit 4", []string{"-c: exit status 4: refused", "-s: exit status 3: no device"}},
		"the server alone":           {"cat " + meeting + "; echo torn; exit 5", "echo > " + meeting, []string{"-s: exit status 5: torn"}},
	} {
		_, _ = os.Remove(meeting), os.Remove(filepath.Join(dir, "came"))
		script := "#!/bin/sh\ncd " + dir + "\ncase \"$*\" in\n*-s) " + tt.server + ";;\n*) " + tt.client + ";;\nesac\n"
		if err := errors.Join(unix.Mkfifo(meeting, 0o600), os.WriteFile(filepath.Join(dir, "rping"), []byte(script), 0o755)); err != nil {
			t.Fatal(err)
		}
		sides := make([]*pod, 2)
		for i := range sides {
			sides[i] = &pod{address: netip.MustParseAddr("198.18.0.1")}
			sides[i].ns, _ = node.NewPod(t)
		}
		err := pingpong(t.Context(), "/dev", sides[0], sides[1])
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", name, err, want)
			}
		}
		if len(tt.want) == 0 && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKernelAndSystemAreCalledAsTheyCallThemselves(t *testing.T) {
	for command, got := range map[string]string{"uname -srm": kernel(), ". /etc/os-release && echo \"$PRETTY_NAME\"": distribution()} {
		if out, err := exec.Command("sh", "-c", command).Output(); err != nil {
			t.Log(err)
		} else if want := strings.TrimSpace(string(out)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestOfWhatAProgramSaidTheLastLineIsTold(t *testing.T) {
	for text, want := range map[string]string{"": "", "one": "one", "one\ntwo\n": "two", " one\ntwo \n\n": "two"} {
		if got := lastLine(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}
