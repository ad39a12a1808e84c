package cni

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netmanager"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestADELWhoseAddressCannotBeFreedGivesTheNICBackAndIsMadeAgain(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	p, next := s.pod("c1"), s.pod("c2")
	config := network(h.Netdev, "")
	p.add("net1", config)
	s.ipamFails("DEL", "no answer")
	err := p.del("net1", config)
	if want := "108 " + h.Netdev + ": free its address: no answer; see the IPAM plugin's own documentation and log"; told(err) != want {
		t.Errorf("%s\nwant %s", told(err), want)
	}
	if s.onHost() != h.Netdev || s.records() != "c1 net1 returned" {
		t.Errorf("on the host %s; records: %s", s.onHost(), s.records())
	}
	s.asked()
	s.ipamFails("DEL", "")
	s.Must(p.del("net1", config))
	if asked, records := s.asked(), s.records(); asked != "DEL c1 net1" || records != "" {
		t.Errorf("asked for %s; records: %s", asked, records)
	}

	// The NIC's next ADD frees the address of a DEL that never comes.
	p.add("net1", config)
	s.ipamFails("DEL", "no answer")
	if err := p.del("net1", config); err == nil {
		t.Error("freed")
	}
	s.asked()
	s.ipamFails("DEL", "")
	next.add("net1", config)
	if asked, records := s.asked(), s.records(); asked != "ADD c2 net1, DEL c1 net1" || records != "c2 net1 attached" {
		t.Errorf("asked for %s; records: %s", asked, records)
	}
}

func TestDHCPIsAskedWhileTheNICIsInThePodAndOthersFreeWhenItIsBack(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	s.Write("bin/host", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(s.host.NS)))
	p := s.pod("c1")
	for ipam, want := range map[string]string{"scripted": "DEL on the host", "dhcp": "ADD away, DEL away"} {
		config := strings.Replace(network(h.Netdev, ""), "scripted", ipam, 1)
		p.add("net1", config)
		s.Must(p.del("net1", config))
		b, err := os.ReadFile(filepath.Join(s.Dir, "bin/seen"))
		s.Must(err)
		s.Must(os.Remove(filepath.Join(s.Dir, "bin/seen")))
		var seen []string
		for _, command := range []string{"ADD", "DEL"} {
			_, links, _ := strings.Cut(string(b), command+"\n")
			links, _, _ = strings.Cut(links, "DEL\n")
			switch {
			case ipam != ipamInPod && command == "ADD": // while the NIC moves
			case strings.Contains(links, h.Netdev+"@"):
				seen = append(seen, command+" on the host")
			default:
				seen = append(seen, command+" away")
			}
		}
		if got := strings.Join(seen, ", "); got != want {
			t.Errorf("%s: %s, want %s; it saw\n%s", ipam, got, want, b)
		}
	}
}

func TestADELWithoutARecordFreesTheAddressAndTouchesNoNIC(t *testing.T) {
	h := sysfs.MLX5(0)
	for name, tt := range map[string]struct {
		before func(s *scene)
		config string
		want   string
		asked  string
	}{
		"once more":                      {config: network(h.Netdev, ""), asked: "DEL c1 net1"},
		"without a NIC's name":           {config: network("", ""), asked: "DEL c1 net1"},
		"of a network that ADD refuses":  {config: network(h.Netdev, `, "mtu": 1, "unknown": 1`), asked: "DEL c1 net1"},
		"with a key of another type":     {config: network(h.Netdev, `, "mtu": "x"`), asked: "DEL c1 net1"},
		"of several NICs":                {config: network("", `, "devices": ["a", "b"]`), asked: "DEL c1 net1, DEL c1 net1-2"},
		"without an IPAM plugin":         {config: `{"cniVersion": "1.1.0", "name": "n"}`},
		"with one that is not there":     {config: strings.Replace(network(h.Netdev, ""), "scripted", "none-such", 1)},
		"with one that fails":            {before: func(s *scene) { s.ipamFails("DEL", "no answer") }, config: network(h.Netdev, ""), want: "108 free the address: no answer", asked: "DEL c1 net1"},
		"with one that cannot read that": {before: func(s *scene) { s.Write("bin/DEL.fails", `{"cniVersion": "1.1.0", "code": 7, "msg": "no range"}`) }, config: network(h.Netdev, ""), asked: "DEL c1 net1"},
		"with one that fails, of two":    {before: func(s *scene) { s.ipamFails("DEL", "no answer") }, config: network(h.Netdev, `, "devices": ["a", "b"]`), want: "108 free the address: no answer", asked: "DEL c1 net1, DEL c1 net1-2"},
		"with ranges that cannot be":     {before: func(s *scene) { s.ipamFails("DEL", "invalid range set 0: empty range set") }, config: network(h.Netdev, ""), asked: "DEL c1 net1"},
		"with a policy against it":       {before: func(s *scene) { s.policy(`"ipam": ["static"]`) }, config: network(h.Netdev, "")},
		"of a pattern":                   {config: network("", `, "devices": ["`+h.Netdev+`*"]`), asked: "DEL c1 net1, DEL c1 net1-2"},
		"of more than any pod has":       {config: network("", `, "devices": ["a`+strings.Join(strings.Split(strings.Repeat("x", mostNICs+1), ""), `", "`)+`"]`), asked: "DEL c1 net1"},
		"with a policy that is none":     {before: func(s *scene) { s.policy(`"virtuall": 1`) }, config: network(h.Netdev, ""), want: "110 net1: the node's policy may name another state folder, with the record of it: "},
		"with a state folder of anybody": {before: func(s *scene) { s.sh("mkdir -m 777 " + s.State()) }, config: network(h.Netdev, ""), want: "107 open the journal: the state folder: "},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, h)
			p := s.pod("c1")
			p.in("ip link add net1 type veth peer name net1w") // another plugin's
			if tt.before != nil {
				tt.before(s)
			}
			if err := p.del("net1", tt.config); !strings.HasPrefix(told(err), tt.want) || err != nil && tt.want == "" {
				t.Errorf("%s\nwant %s", told(err), tt.want)
			}
			if asked := s.asked(); asked != tt.asked {
				t.Errorf("asked for %s, want %s", asked, tt.asked)
			}
			if p.inPod("net1") == "" || s.onHost() != h.Netdev {
				t.Errorf("the pod has %q, the host %s", p.inPod("net1"), s.onHost())
			}
		})
	}
}

func TestAPolicyThatIsNoneKeepsADELOnlyFromAPodThatHasTheInterface(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	p := s.pod("c1")
	s.policy(`"virtuall": 1`)
	s.Must(p.del("net1", network(h.Netdev, ""))) // no such interface
	p.end()
	s.Must(p.del("net1", network(h.Netdev, ""))) // no such namespace
	p.netns = ""
	s.Must(p.del("net1", network(h.Netdev, "")))
	if asked := s.asked(); asked != "DEL c1 net1, DEL c1 net1, DEL c1 net1" {
		t.Errorf("asked for %s", asked)
	}
}

func TestADELFreesTheAddressOfAPodThatIsGone(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	p := s.pod("c1")
	p.add("net1", network(h.Netdev, ""))
	s.asked()
	p.end()
	s.Must(p.del("net1", "{")) // the record has what counts
	if asked, records := s.asked(), s.records(); asked != "DEL c1 net1" || records != "" {
		t.Errorf("asked for %s; records: %s", asked, records)
	}
}

func TestADELEndsItsOwnCallAlone(t *testing.T) {
	one, two, three := sysfs.MLX5(0), sysfs.MLX5(1), sysfs.MLX5(2)
	s := newScene(t, one, two, three)
	p, other := s.pod("c1"), s.pod("c2")
	p.add("net1", network(one.Netdev, ""))
	p.add("net2", network(two.Netdev, ""))
	other.add("net1", network(three.Netdev, ""))
	for _, id := range []string{"c1@net9", "c2@net9"} { // a crash left them
		s.Write("state/attachments/"+id+".json.new", "{")
	}
	s.Must(p.del("net1", network(two.Netdev, ""))) // whatever the network says by now
	if s.records() != "c1 net2 attached, c2 net1 attached" || s.onHost() != one.Netdev {
		t.Errorf("records: %s; on the host %s", s.records(), s.onHost())
	}
	if left := s.sh("cd " + s.State() + "/attachments; ls *.new"); left != "c2@net9.json.new\n" {
		t.Errorf("left over: %s", left)
	}
}

// A record without the configuration is one whose IPAM plugin failed at both; see
// freeFailed.
func TestADELAsksAgainAfterAnIPAMPluginThatCouldDoNothing(t *testing.T) {
	one, two := sysfs.MLX5(0), sysfs.MLX5(1)
	s := newScene(t, one, two)
	p := s.pod("c1")
	s.Write("bin/answer.net1-2", `{"cniVersion": "1.1.0", "ips": [{"address": "172.31.2.2/24"}]}`)
	config := severalNetwork("", one.Netdev, two.Netdev)
	p.add("net1", config)
	p.add("net1", config) // its answer did not reach the runtime
	for _, ifName := range []string{"net1", "net1-2"} {
		s.change("c1", ifName, func(r *attachment.Record) { r.Config = nil })
	}
	s.asked()
	s.Must(p.del("net1", config))
	if asked, records := s.asked(), s.records(); asked != "DEL c1 net1, DEL c1 net1-2" || records != "" {
		t.Errorf("asked for %s; records: %s", asked, records)
	}
}

func TestABadFileOfTheJournalIsSetAsideAndStopsNothing(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	s.Write("state/attachments/c9@net1.json", "{")
	p := s.pod("c1")
	p.add("net1", network(h.Netdev, ""))
	if aside, err := s.Journal.Aside(); len(aside) != 1 || err != nil {
		t.Errorf("%q, %v", aside, err)
	}
	if s.records() != "c1 net1 attached" {
		t.Errorf("records: %s", s.records())
	}
}

func TestGCEndsWhatTheRuntimeDoesNotKnowOfTheNetwork(t *testing.T) {
	hcas := []sysfs.HCA{sysfs.MLX5(0), sysfs.MLX5(1), sysfs.MLX5(2), sysfs.MLX5(3)}
	s := newScene(t, hcas...)
	gc := func(config string) error {
		s.Setenv("CNI_COMMAND", "GC")
		return s.Plugin.gc(&skel.CmdArgs{Path: filepath.Join(s.Dir, "bin"), StdinData: []byte(config)})
	}
	attachAll := func() {
		s.Must(os.RemoveAll(s.State()))
		s.pod("c1").add("net1", network(hcas[0].Netdev, ""))
		s.pod("c2").add("net1", network(hcas[1].Netdev, ""))
		s.pod("c3").add("net1", strings.Replace(network(hcas[2].Netdev, ""), `"roce"`, `"other"`, 1))
		s.Write("state/attachments/c4@net1.json.new", "{") // a crash left it
		s.asked()
	}
	attachAll()
	for config, want := range map[string]string{
		network("", ""): "7 network configuration: GC without cni.dev/valid-attachments; the runtime must say which attachments are valid; nothing was changed",
		"{":             "6 read the network configuration: ",
	} {
		if err := gc(config); !strings.HasPrefix(told(err), want) {
			t.Errorf("%s: %s", config, told(err))
		}
	}
	if s.records() != "c1 net1 attached, c2 net1 attached, c3 net1 attached" {
		t.Errorf("records: %s", s.records())
	}
	const valid = `, "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "net1"}, {"containerID": "c2", "ifname": "net2"}]`
	s.Must(gc(network("", valid)))
	if asked, records := s.asked(), s.records(); asked != "DEL c2 net1, GC" || records != "c1 net1 attached, c3 net1 attached" {
		t.Errorf("asked for %q; records: %s", asked, records)
	}
	if s.onHost() != hcas[1].Netdev+" "+hcas[3].Netdev {
		t.Errorf("on the host %s", s.onHost())
	}
	if left, err := filepath.Glob(s.State() + "/attachments/*.new"); len(left) > 0 || err != nil {
		t.Errorf("left over: %s, %v", left, err)
	}
	// It is told of what fails, and goes on; null is an empty list.
	s.ipamFails("DEL", "no answer")
	s.ipamFails("GC", "no idea")
	err := gc(network("", `, "cni.dev/valid-attachments": null`))
	for _, part := range []string{"108 ", hcas[0].Netdev + ": free its address: no answer", "have scripted collect its garbage: no idea"} {
		if !strings.Contains(told(err), part) {
			t.Errorf("%s, want %s", told(err), part)
		}
	}
	if s.records() != "c1 net1 returned, c3 net1 attached" {
		t.Errorf("records: %s", s.records())
	}
	s.ipamFails("DEL", "")
	s.ipamFails("GC", "unknown CNI_COMMAND: GC") // it is older
	s.Must(gc(network("", `, "cni.dev/valid-attachments": []`)))
	if s.records() != "c3 net1 attached" {
		t.Errorf("records: %s", s.records())
	}
	s.Must(gc(`{"cniVersion": "1.1.0", "name": "without", "cni.dev/valid-attachments": []}`))
}

func TestAnIPAMPluginThatDoesNotKnowACommandIsOlder(t *testing.T) {
	for text, want := range map[string]bool{
		"unknown CNI_COMMAND: GC": true, "config version does not allow GC": true, "incompatible CNI versions": true,
		"unknown CNI_COMMAND: STATUS": false, "config version does not allow STATUS": false, "no idea": false,
	} {
		if lacks := lacksCommand(errors.New(text), "GC"); lacks != want {
			t.Errorf("%s: %v", text, lacks)
		}
	}
}

func TestADELTakesNoNICThatAnotherAttachmentHas(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	p := s.pod("c1")
	p.add("net1", network(h.Netdev, ""))
	r, _, err := s.Journal.Read(attachment.ID{ContainerID: "c1", IfName: "net1"})
	s.Must(err)
	r.ContainerID = "c0"
	s.Must(s.Journal.Write(r))
	s.asked()
	other := *p
	other.id = "c0"
	s.Must(other.del("net1", network(h.Netdev, "")))
	if asked := s.asked(); asked != "DEL c0 net1" || p.inPod("net1") == "" || s.records() != "c1 net1 attached" {
		t.Errorf("asked for %s; the pod has %q; records: %s", asked, p.inPod("net1"), s.records())
	}
}

// The device plugin has brought it back, and could not have it appear.
func TestADELFinishesWhatTheDevicePluginCouldNot(t *testing.T) {
	h := sysfs.MLX5(0)
	for ifstate, want := range map[string]string{"": "add", h.Netdev + "=" + h.Netdev + "\n": ""} { // ifupdown has configured it already
		t.Run(ifstate, func(t *testing.T) {
			s := newScene(t, h)
			s.Write("run/network/ifstate", ifstate)
			p := s.pod("c1")
			p.add("net1", network(h.Netdev, ""))
			node.Move(t, "net1", p.ns, s.host)
			s.sh("ip link set net1 down; ip link set net1 name " + h.Netdev)
			s.change("c1", "net1", func(r *attachment.Record) { r.Step, r.Manager = attachment.Returned, netmanager.Ifupdown })
			s.Must(p.del("net1", network(h.Netdev, "")))
			if b, _ := os.ReadFile(filepath.Join(s.Sys(), "class/net", h.Netdev, "uevent")); string(b) != want {
				t.Errorf("the kernel is told %q, want %q", b, want)
			}
			if s.records() != "" {
				t.Errorf("records: %s", s.records())
			}
		})
	}
}

func TestADELWaitsForNoNICThatWasPulledOut(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	p := s.pod("c1")
	p.add("net1", network(h.Netdev, ""))
	s.change("c1", "net1", func(r *attachment.Record) { r.Netns.Path = "/" + strings.Repeat("x", 256) }) // nobody can look
	if want := "110 " + h.Netdev + ": give it back to the host: "; !strings.HasPrefix(told(p.del("net1", network(h.Netdev, ""))), want) {
		t.Errorf("%s, want %s", told(p.del("net1", network(h.Netdev, ""))), want)
	}
	s.Must(s.Unplug(h))
	s.Must(p.del("net1", network(h.Netdev, "")))
	if s.records() != "" || !strings.Contains(s.Logs.String(), "the NIC was pulled out of the node") {
		t.Errorf("records: %s; logged\n%s", s.records(), s.Logs)
	}
}

func TestADELGivesTheNICBackWhileTheStateFolderCannotBeWrittenTo(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	s.mountState("size=1m")
	p := s.pod("c1")
	p.add("net1", network(h.Netdev, ""))
	s.sh("mount -o remount,ro " + s.State())
	err := p.del("net1", network(h.Netdev, ""))
	if want := "107 " + h.Netdev + ": close its record; the NIC is back on the host: "; !strings.HasPrefix(told(err), want) {
		t.Errorf("%s, want %s", told(err), want)
	}
	if s.onHost() != h.Netdev || s.records() != "c1 net1 attached" {
		t.Errorf("on the host %s; records: %s", s.onHost(), s.records())
	}
	s.sh("mount -o remount,rw " + s.State())
	s.Must(p.del("net1", network(h.Netdev, "")))
	if s.records() != "" {
		t.Errorf("records: %s", s.records())
	}
}

// It may have changed, or ended, while GC waited.
func TestGCEndsARecordAsItIsWhenItHasTheLock(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	p := s.pod("c1")
	p.add("net1", network(h.Netdev, ""))
	o, err := s.begin(p.args("", "{}"), &netConf{})
	s.Must(err)
	defer o.end()
	listed := s.record("c1", "net1")
	listed.Config = nil // it had no address then
	s.asked()
	s.Must(o.collect(listed))
	s.Must(o.collect(listed))
	if asked := s.asked(); asked != "DEL c1 net1" || s.records() != "" || s.onHost() != h.Netdev {
		t.Errorf("asked for %s; records: %s; on the host %s", asked, s.records(), s.onHost())
	}
}

func TestOnlyAnotherStateFolderThanTheNodesIsSaidToBeIgnored(t *testing.T) {
	s := newScene(t)
	for _, tt := range []struct {
		dir    string
		warned bool
	}{{"", false}, {s.State(), false}, {"/elsewhere", true}} {
		o, err := s.begin(s.pod("c1").args("net1", "{}"), &netConf{StateDir: tt.dir})
		s.Must(err)
		o.end()
		if warned := strings.Contains(s.Logs.String(), "is ignored: the node chooses it"); warned != tt.warned {
			t.Errorf("%q: %v; logged\n%s", tt.dir, warned, s.Logs)
		}
	}
}

// The disk may not give a file for a while, or a security module. That says nothing
// of what is in it.
func TestARecordThatCannotBeReadKeepsItsNICAndNoOther(t *testing.T) {
	one, two := sysfs.MLX5(0), sysfs.MLX5(1)
	s := newScene(t, one, two)
	first, second := s.pod("c1"), s.pod("c2")
	first.add("net1", network(one.Netdev, ""))
	second.add("net1", network(two.Netdev, ""))
	s.Must(s.Journal.Owe(s.record("c1", "net1")))
	var hidden []string
	for _, pattern := range []string{"attachments/c1@net1.json", "copies/c1@net1.json", "owed/*"} {
		found, err := filepath.Glob(filepath.Join(s.State(), pattern))
		s.Must(err)
		hidden = append(hidden, found...)
	}
	reveal := func() {
		for _, path := range hidden {
			_ = unix.Unmount(path, unix.MNT_DETACH)
		}
	}
	defer reveal()
	for _, path := range hidden { // to read it is EIO
		if err := unix.Mount(fmt.Sprintf("/proc/%d/mem", os.Getpid()), path, "", unix.MS_BIND, ""); err != nil {
			t.Skipf("no mounts here: %v", err)
		}
	}
	if err := first.del("net1", network(one.Netdev, "")); !strings.HasPrefix(told(err), "107 ") {
		t.Errorf("its DEL: %s", told(err))
	}
	s.Must(second.del("net1", network(two.Netdev, "")))
	if owed, err := s.Journal.Owed(); len(owed) > 0 || err != nil {
		t.Errorf("owed: %v, %v", owed, err)
	}
	if log := s.Logs.String(); !strings.Contains(log, "a journal file cannot be read at the moment") || strings.Contains(log, "set aside") {
		t.Errorf("it says\n%s", log)
	}
	s.Must(unix.Unmount(filepath.Join(s.State(), "copies/c1@net1.json"), unix.MNT_DETACH))
	s.record("c1", "net1") // the copy says it
	reveal()
	s.Must(first.del("net1", network(one.Netdev, "")))
	if want := one.Netdev + " " + two.Netdev; s.onHost() != want {
		t.Errorf("on the host: %s", s.onHost())
	}
}
