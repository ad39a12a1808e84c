package selftest

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	journal "github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

// fakePlugin is a script in the plugin's place; what it is asked is in the files
// environment and config beside it.
func fakePlugin(t *testing.T, script string) plugin {
	t.Helper()
	p := plugin{t.TempDir()}
	script = "#!/bin/sh\ncd " + p.dir + "\nenv > environment\ncat > config\necho $CNI_COMMAND $CNI_CONTAINERID >> calls\n" + script
	if err := os.WriteFile(filepath.Join(p.dir, pluginName), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p plugin) file(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestThePluginIsCalledAsARuntimeCallsIt(t *testing.T) {
	p := fakePlugin(t, "echo '{\"a\": 1}'\necho remark >&2\necho $$ $(cut -d' ' -f5 /proc/$$/stat) > group\n")
	out, err := p.call("ADD", attachment{"c1", "net1", "/proc/1/fd/3"}, config{CNIVersion: "1.0.0", Name: network, Type: pluginName, Device: "ens11np0"})
	if err != nil || string(out) != "{\"a\": 1}\n" {
		t.Errorf("%s, %v", out, err)
	}
	lines := strings.Split(p.file(t, "environment"), "\n")
	for _, want := range []string{
		"CNI_COMMAND=ADD", "CNI_CONTAINERID=c1", "CNI_IFNAME=net1", "CNI_NETNS=/proc/1/fd/3", "CNI_PATH=" + p.dir, "PATH=" + os.Getenv("PATH"),
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=kube-system;K8S_POD_NAME=roce-selftest",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no %s in %q", want, lines)
		}
	}
	if got := p.file(t, "config"); got != `{"cniVersion":"1.0.0","name":"roce-selftest","type":"roce-host-device","device":"ens11np0"}` {
		t.Error(got)
	}
	if process, group, _ := strings.Cut(strings.TrimSpace(p.file(t, "group")), " "); process != group {
		t.Errorf("process %s is in group %s: a terminal's ^C ends it", process, group)
	}
	if p.has("static") || !p.has(pluginName) {
		t.Error("a plugin is there that is not, or the other way round")
	}
}

func TestWhyThePluginFailsIsItsAnswerOrElseWhatItSaidLast(t *testing.T) {
	for script, want := range map[string]string{
		`echo '{"code": 112, "msg": "it is a port of br0", "details": "more"}'; exit 1`: "code 112: it is a port of br0; more",
		`echo '{"code": 11, "msg": "busy"}'; exit 1`:                                    "code 11: busy",
		"echo '{}'; echo killed >&2; exit 2":                                            "roce-host-device DEL: exit status 2: killed",
		"exit 3":                                                                        "roce-host-device DEL: exit status 3: ",
	} {
		if _, err := fakePlugin(t, script).call("DEL", attachment{}, nil); err == nil || err.Error() != want {
			t.Errorf("%s: %v", script, err)
		}
	}
}

func TestTheNewestVersionIsTheLastThatThePluginNames(t *testing.T) {
	for answer, want := range map[string]string{`{"supportedVersions": ["0.4.0", "1.0.0", "1.1.0"]}`: "1.1.0", "{}": "", "no": ""} {
		version, err := fakePlugin(t, "echo '"+answer+"'").version()
		if version != want || (err != nil) != (want == "") || err != nil && !strings.Contains(err.Error(), "its answer to VERSION is \""+answer) {
			t.Errorf("%s: %q, %v", answer, version, err)
		}
	}
}

func TestANICIsPassedOverIfThePluginSaysThatItIsNotFree(t *testing.T) {
	for code, want := range map[uint]bool{11: true, 7: true, 101: true, 103: true, 112: true, 0: false, 4: false, 100: false, 999: false} {
		if slices.Contains(passedOver(), code) != want {
			t.Errorf("code %d: %v", code, !want)
		}
	}
}

func TestNICsAreThoseThatAreNamedEachOnce(t *testing.T) {
	host, err := netdev.CurrentNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	for want, names := range map[string][]string{
		"lo":                       {"lo"},
		"lo was named twice":       {"lo", "lo"},
		`no NIC "none99"`:          {"lo", "none99"},
		"no NIC on this node has ": nil,
	} {
		s := &test{Options: Options{Node: rdma.Node{Sys: t.TempDir()}, NICs: names}, host: host}
		nics, err := s.nics(t.Context())
		if want == "lo" && (err != nil || len(nics) != 1 || nics[0].name != "lo" || nics[0].device != nil) || want != "lo" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%q: %+v, %v", names, nics, err)
		}
	}
}

// recordOf is what the journal has of an attachment whose pod has ended.
func recordOf(container, network string) *journal.Record {
	return &journal.Record{
		ContainerID: container, IfName: ifName, Network: network, Step: journal.Attached, Config: json.RawMessage(`{"name":"roce-selftest"}`), Netns: journal.Namespace{Path: "/none"},
		NIC: journal.NIC{Netdev: netdev.Identity{Index: 7}, Bus: "pci", Address: "0000:08:00.0"}, Host: netdev.State{Name: "ens11np0"},
	}
}

// A DEL that fails once is tried again.
func TestWhatAKilledTestLeftIsUndoneAndNothingElse(t *testing.T) {
	n := node.New(t)
	n.Must(errors.Join(n.Journal.Write(recordOf("old", network)), n.Journal.Write(recordOf("pod", "roce-net1"))))
	var text strings.Builder
	s := &test{Options: Options{StateDir: n.State(), Proc: filepath.Join(n.Dir, "proc")}, report: &report{w: &text}}
	s.plugin = fakePlugin(t, "[ -e failed ] || { touch failed; exit 1; }\nrm "+n.State()+"/*/\"$CNI_CONTAINERID@$CNI_IFNAME\"*\n")
	n.Must(s.endEarlier())
	if got := s.plugin.file(t, "calls"); got != "DEL old\nDEL old\n" {
		t.Errorf("%q", got)
	}
	if got := s.plugin.file(t, "config"); got != `{"name":"roce-selftest"}` {
		t.Errorf("%q", got)
	}
	if s.failed > 0 || !strings.HasPrefix(text.String(), "ok       undo an earlier test of ens11np0") {
		t.Error(text.String())
	}

	s.plugin = fakePlugin(t, "")
	if err := s.del(attachment{container: "pod", ifName: ifName}, nil); err == nil || err.Error() != "the journal still has the attachment" {
		t.Errorf("a DEL that leaves the record: %v", err)
	}
	alive := recordOf("other", network)
	here, err := netdev.CurrentNamespace()
	n.Must(err)
	defer here.Close()
	alive.Netns = journal.Namespace{Path: "/proc/thread-self/ns/net", ID: here.ID, Cookie: here.Cookie}
	n.Must(n.Journal.Write(alive))
	if err := s.endEarlier(); err == nil || err.Error() != "another selftest has ens11np0: wait for its end" {
		t.Errorf("a test that still runs: %v", err)
	}
}

func TestWhatTheNodeIsNotMadeForIsSkipped(t *testing.T) {
	var text strings.Builder
	s := &test{report: &report{w: &text}, plugin: fakePlugin(t, "")}
	s.traffic(t.Context(), []*pod{{}})
	if err := s.together(t.Context(), nil); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"it takes a second free NIC, on the same network\n", "there is no IPAM plugin static in " + s.plugin.dir + "\n"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
	if s.skipped != 2 || s.failed > 0 {
		t.Errorf("%d skipped, %d failed", s.skipped, s.failed)
	}
}

// fullDisk takes nothing.
type fullDisk struct{}

var errFull = errors.New("no space left")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestAReportThatCannotBeWrittenIsAnError(t *testing.T) {
	for _, failed := range []int{0, 1} {
		r := &report{w: fullDisk{}, failed: failed}
		if r.line("a line"); !errors.Is(r.verdict(), errFull) {
			t.Errorf("%d failed: %v", failed, r.verdict())
		}
	}
	if r := (&report{w: fullDisk{}}); !errors.Is(r.verdict(), errFull) {
		t.Errorf("the last line: %v", r.verdict())
	}
}
