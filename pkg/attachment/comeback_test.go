package attachment_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/netmanager"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

// A journey is a NIC that was moved from the host into a pod.
type journey struct {
	*testing.T
	host, pod *netdev.Namespace
	journal   *attachment.Journal
	record    *attachment.Record
	appeared  []string
	log       bytes.Buffer
}

// depart makes one. What the host has of the NIC is an address and a route.
func depart(t *testing.T) *journey {
	t.Helper()
	j := newJourney(t)
	j.leave("ens12np0")
	return j
}

// newJourney is before the NIC leaves.
func newJourney(t *testing.T) *journey {
	t.Helper()
	j := &journey{T: t, host: node.NewHost(t), journal: open(t, t.TempDir(), "boot-1"), record: record("c1")}
	node.AddNIC(t, j.host, "ens12np0")
	j.sh("ip link set ens12np0w up; ip link set ens12np0 up mtu 9000; ip addr add 192.0.2.1/24 dev ens12np0; ip route add 198.51.100.0/24 via 192.0.2.9")
	j.pod, _ = node.NewPod(t)
	return j
}

// leave writes down that a link is to go into the pod, and moves it.
func (j *journey) leave(name string) {
	j.Helper()
	nic, err := j.host.LinkNamed(name)
	must(j, err)
	r := j.record
	r.Step, r.NIC.Netdev = attachment.Attached, netdev.IdentityOf(nic)
	r.Netns = attachment.Namespace{Path: j.pod.Path, ID: j.pod.ID, Cookie: j.pod.Cookie}
	r.Host, err = j.host.State(j.Context(), nic)
	must(j, err)
	must(j, j.journal.Write(r))
	must(j, j.host.Apply(nic.Attrs().Index, netdev.Change{Namespace: j.pod, Name: "net1"}))
}

func (j *journey) sh(script string) string {
	j.Helper()
	out, err := exec.Command("bash", "-ec", script).CombinedOutput()
	if err != nil {
		j.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

func (j *journey) way() attachment.Returner {
	return attachment.Returner{Journal: j.journal, Host: j.host, Who: "a test", Log: slog.New(slog.NewTextHandler(&j.log, nil)), Appear: func(name string) error {
		j.appeared = append(j.appeared, name)
		return nil
	}}
}

// onHost is the NIC as the host has it, "" if it has not.
func (j *journey) onHost() string {
	j.Helper()
	link, err := j.host.Link(j.Context(), j.record.NIC.Netdev, j.host)
	must(j, err)
	if link == nil {
		return ""
	}
	s, err := j.host.State(j.Context(), link)
	must(j, err)
	text := fmt.Sprintf("%s mtu %d up %v", s.Name, s.MTU, s.Up)
	for _, a := range s.Addresses {
		text += " " + a.Prefix.String()
	}
	for _, r := range s.Routes {
		text += " to " + r.String()
	}
	return text
}

// owed is what is owed to NICs, in words.
func (j *journey) owed() string {
	j.Helper()
	owed, err := j.journal.Owed()
	must(j, err)
	var all []string
	for _, r := range owed {
		text := r.Host.Name
		if r.Manager != "" {
			text += " by " + string(r.Manager)
		}
		for _, a := range r.Host.Addresses {
			text += " " + a.Prefix.String()
		}
		for _, route := range r.Host.Routes {
			text += " to " + route.String()
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

func TestANICComesBackAsTheHostHadItOrAsItsManagerWillMakeIt(t *testing.T) {
	const bare, whole = "ens12np0 mtu 9000 up true", "ens12np0 mtu 9000 up true 192.0.2.1/24 to 198.51.100.0/24 via 192.0.2.9"
	const config = " 192.0.2.1/24 to 198.51.100.0/24 via 192.0.2.9"
	home := func(j *journey) { node.Move(j.T, "net1", j.pod, j.host) } // as the kernel does, under the name in the pod
	for name, tt := range map[string]struct {
		before   func(j *journey)
		manager  netmanager.Manager
		readOnly bool // nobody may have a NIC appear
		want     string
		owed     string
		appeared string
		logged   string
	}{
		"nobody's":                              {want: whole},
		"by itself":                             {before: home, want: whole},
		"NetworkManager's":                      {manager: netmanager.NetworkManager, want: bare, owed: "ens12np0 by NetworkManager" + config},
		"NetworkManager's, by itself":           {before: home, manager: netmanager.NetworkManager, want: bare, owed: "ens12np0 by NetworkManager" + config},
		"ifupdown's":                            {manager: netmanager.Ifupdown, want: bare, owed: "ens12np0 by ifupdown" + config, appeared: "ens12np0"},
		"ifupdown's, by the device plugin":      {manager: netmanager.Ifupdown, readOnly: true, want: bare, owed: "ens12np0 by ifupdown" + config},
		"ifupdown's, by itself, and nobody may": {before: home, manager: netmanager.Ifupdown, readOnly: true, want: whole},
		"of another boot":                       {before: func(j *journey) { j.record.BootID = "boot-0" }, want: ""},
		"the name is taken": {before: func(j *journey) { j.sh("ip link add ens12np0 type veth peer name other") }, want: "dev",
			owed: "ens12np0", logged: "the NIC is back under a name that is not its own"},
		"the name of ifupdown's is taken": {before: func(j *journey) { j.sh("ip link add ens12np0 type veth peer name other") }, manager: netmanager.Ifupdown, want: "dev",
			owed: "ens12np0 by ifupdown" + config, logged: "the NIC is back under a name that is not its own"},
		"a route that the host does not take": {before: func(j *journey) {
			r := j.record.Host.Routes[0]
			r.Dst, r.Gateway = netip.MustParsePrefix("203.0.113.0/24"), netip.MustParseAddr("10.1.1.1")
			j.record.Host.Routes = append(j.record.Host.Routes, r)
		}, want: whole, owed: "ens12np0 to 203.0.113.0/24 via 10.1.1.1", logged: "the host does not take back all that the NIC had"},
		"destroyed with its pod": {before: func(j *journey) {
			must(j, j.pod.Do(func() error { j.sh("ip link del net1"); return nil }))
			j.record.Netns.ID++
		},
			want: "", logged: "the NIC was destroyed with its namespace"},
		"deleted by its pod": {before: func(j *journey) { must(j, j.pod.Do(func() error { j.sh("ip link del net1"); return nil })) },
			want: "", logged: "the NIC is gone, but its namespace is not"},
	} {
		t.Run(name, func(t *testing.T) {
			j := depart(t)
			j.record.Manager = tt.manager
			if tt.before != nil {
				tt.before(j)
			}
			w := j.way()
			if tt.readOnly {
				w.Appear = nil
			}
			begin := time.Now().Add(-time.Second)
			times := 2 // it can be repeated
			if tt.readOnly {
				times = 1 // then the NIC is on the host already
			}
			for range times {
				must(t, w.Return(t.Context(), j.record))
				if got := j.onHost(); got != tt.want && (tt.want != "dev" || got == "" || strings.HasPrefix(got, "ens12np0 ")) {
					t.Errorf("on the host: %s\nwant %s", got, tt.want)
				}
				if got := j.owed(); got != tt.owed {
					t.Errorf("owed: %s, want %s", got, tt.owed)
				}
			}
			if tt.want != "" && j.record.Back.Before(begin) {
				t.Errorf("it came back at %s", j.record.Back)
			}
			if got := strings.Join(j.appeared, " "); strings.TrimSuffix(got, " "+tt.appeared) != tt.appeared {
				t.Errorf("had %s appear, want %s", got, tt.appeared)
			}
			if !strings.Contains(j.log.String(), tt.logged) {
				t.Errorf("it says\n%s, want %s", &j.log, tt.logged)
			}
		})
	}
}

func TestRoutingRulesOfANICLeaveThePodWithIt(t *testing.T) {
	j := depart(t)
	rule := netdev.Rule{Source: netip.MustParseAddr("172.31.1.2"), Table: 107, Priority: 1000}
	must(t, j.pod.AddRules([]netdev.Rule{rule}))
	j.record.Rules = []netdev.Rule{rule}
	must(t, j.way().Return(t.Context(), j.record))
	if has, err := j.pod.HasRule(t.Context(), rule); has || err != nil {
		t.Errorf("the pod has it: %v, %v", has, err)
	}
}

func TestANICThatAnotherAttachmentHasStaysThere(t *testing.T) {
	j := depart(t)
	ns, _ := node.NewPod(t)
	process := exec.Command("sleep", "60") // for the search to find the namespace
	must(t, ns.Do(process.Start))
	defer func() { _, _ = process.Process.Kill(), process.Wait() }()
	node.Move(t, "net1", j.pod, ns)
	other := record("c2")
	other.Netns = attachment.Namespace{Path: ns.Path, ID: ns.ID, Cookie: ns.Cookie}
	must(t, j.journal.Write(other))
	must(t, j.way().Return(t.Context(), j.record))
	if link, err := ns.LinkNamed("net1"); link == nil || err != nil {
		t.Errorf("%v, %v", link, err)
	}
	if !strings.Contains(j.log.String(), "somebody else has the NIC now; leaving it there") || j.owed() != "" {
		t.Errorf("owed %s; it says\n%s", j.owed(), &j.log)
	}
	// Without that attachment it is where the pod has left it.
	must(t, j.journal.Remove(other.ID()))
	must(t, j.way().Return(t.Context(), j.record))
	if got := j.onHost(); !strings.HasPrefix(got, "ens12np0 mtu 9000 up true 192.0.2.1/24") {
		t.Errorf("on the host: %s", got)
	}
}

// Nobody can be waited for: without its namespace there would be no such link.
func TestAMacvlanIsSoughtWhereNothingButADescriptorKeepsANamespaceToo(t *testing.T) {
	j := newJourney(t)
	j.sh("ip link add mv0 link ens12np0 type macvlan")
	j.leave("mv0")
	hidden, _ := node.NewPod(t)
	node.Move(t, "net1", j.pod, hidden)
	must(t, j.way().Return(t.Context(), j.record))
	if got := j.onHost(); !strings.HasPrefix(got, "mv0 mtu 9000") {
		t.Errorf("on the host: %q; it says\n%s", got, &j.log)
	}
}

func TestAPodIsThereWhileItsOwnNamespaceIs(t *testing.T) {
	j := depart(t)
	another, _ := node.NewPod(t)
	plain := filepath.Join(t.TempDir(), "plain")
	must(t, os.WriteFile(plain, nil, 0o600))
	for name, tt := range map[string]struct {
		netns attachment.Namespace
		want  bool
	}{
		"its own":                {j.record.Netns, true},
		"its path is gone":       {attachment.Namespace{Path: "/nowhere", ID: j.pod.ID}, false},
		"its path is a file":     {attachment.Namespace{Path: plain, ID: j.pod.ID}, false},
		"a file is its folder":   {attachment.Namespace{Path: plain + "/netns", ID: j.pod.ID}, false},
		"another is at its path": {attachment.Namespace{Path: another.Path, ID: j.pod.ID, Cookie: j.pod.Cookie}, false},
	} {
		r := &attachment.Record{Netns: tt.netns}
		alive, err := attachment.PodAlive(r)
		pod, openErr := r.OpenPod()
		if alive != tt.want || (pod != nil) != tt.want || err != nil || openErr != nil {
			t.Errorf("%s: %v, %v, %v, %v", name, alive, pod, err, openErr)
		}
		if pod != nil {
			pod.Close()
		}
	}
	if _, err := attachment.PodAlive(&attachment.Record{Netns: attachment.Namespace{Path: "/" + strings.Repeat("x", 256)}}); err == nil {
		t.Error("what cannot be opened is taken for gone")
	}
}

// What a manager's NIC has by now is how the host wants it, if the manager has had
// twice its time.
func TestWhatAManagerHasNotRestoredIsRestoredOnce(t *testing.T) {
	const own, other = "192.0.2.1/24", "203.0.113.7/24"
	for name, tt := range map[string]struct {
		manager netmanager.Manager
		ago     time.Duration
		has     string
		want    string
		logged  bool
	}{
		"nothing is there":                       {netmanager.NetworkManager, 30 * time.Second, "", own, true},
		"another address is there":               {netmanager.NetworkManager, 30 * time.Second, other, own + " " + other, true},
		"it is there":                            {netmanager.NetworkManager, 30 * time.Second, own, own, false},
		"too early":                              {netmanager.NetworkManager, time.Second, "", "", false},
		"late, and nothing is there":             {netmanager.NetworkManager, time.Minute, "", own, true},
		"late, and another address is there":     {netmanager.NetworkManager, time.Minute, other, other, false},
		"no manager, late, and another is there": {netmanager.None, time.Minute, other, own + " " + other, false},
	} {
		t.Run(name, func(t *testing.T) {
			j := depart(t)
			j.record.Host.Routes = nil
			must(t, j.way().Return(t.Context(), j.record))
			j.sh("ip addr flush dev ens12np0")
			if tt.has != "" {
				j.sh("ip addr add " + tt.has + " dev ens12np0")
			}
			j.record.Manager, j.record.Back = tt.manager, time.Now().Add(-tt.ago)
			must(t, j.journal.Owe(j.record))
			owed, err := j.journal.Owed()
			must(t, err)
			attachment.SettleDue(t.Context(), owed, func(*attachment.Record) attachment.Returner { return j.way() })
			for _, address := range []string{own, other} {
				if has := strings.Contains(j.onHost(), address); has != strings.Contains(tt.want, address) {
					t.Errorf("on the host: %s, want %s", j.onHost(), tt.want)
				}
			}
			if left := j.owed(); (left == "") != (tt.ago > 20*time.Second) {
				t.Errorf("owed still: %s", left)
			}
			if logged := strings.Contains(j.log.String(), "did not restore everything"); logged != tt.logged {
				t.Errorf("it says\n%s", &j.log)
			}
		})
	}
}

func TestANameStaysOwedWhenTheRestIsSettled(t *testing.T) {
	j := depart(t)
	j.sh("ip link add ens12np0 type veth peer name other")
	j.record.Manager = netmanager.NetworkManager
	must(t, j.way().Return(t.Context(), j.record))
	owed, err := j.journal.Owed()
	must(t, err)
	owed[0].Back = time.Now().Add(-30 * time.Second)
	must(t, j.journal.Owe(owed[0]))
	settle := func() {
		attachment.SettleDue(t.Context(), owed, func(*attachment.Record) attachment.Returner { return j.way() })
	}
	settle()
	if got := j.onHost(); j.owed() != "ens12np0" || !strings.Contains(got, "192.0.2.1/24") {
		t.Errorf("owed: %s; on the host: %s", j.owed(), got)
	}
	j.sh("ip link del ens12np0")
	settle()
	if got := j.onHost(); j.owed() != "" || !strings.HasPrefix(got, "ens12np0 ") {
		t.Errorf("owed: %s; on the host: %s", j.owed(), got)
	}
}

func TestANoteThatIsSettledOrChangedMeanwhileCountsAsItIs(t *testing.T) {
	j := depart(t)
	must(t, j.way().Return(t.Context(), j.record))
	for name, tt := range map[string]struct {
		meanwhile func()
		want      string
	}{
		"nothing":       {func() {}, "ens12np0 "},
		"it is settled": {func() { must(t, j.journal.Settle(j.record)) }, "other "},
		"a manager has it again": {func() {
			later := *j.record
			later.Manager, later.Back = netmanager.NetworkManager, time.Now()
			must(t, j.journal.Owe(&later))
		}, "other "},
	} {
		if strings.HasPrefix(j.onHost(), "ens12np0 ") {
			j.sh("ip link set ens12np0 name other")
		}
		must(t, j.journal.Owe(j.record))
		owed, err := j.journal.Owed()
		must(t, err)
		tt.meanwhile()
		attachment.SettleDue(t.Context(), owed, func(*attachment.Record) attachment.Returner { return j.way() })
		if got := j.onHost(); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: on the host: %s", name, got)
		}
		if strings.Contains(j.log.String(), "cannot give the NIC everything") {
			t.Errorf("%s: it says\n%s", name, &j.log)
		}
	}
}

func TestFinishIsForANICOfThisBootThatIsOnTheHost(t *testing.T) {
	j := depart(t)
	j.record.Manager = netmanager.Ifupdown
	must(t, j.way().Finish(t.Context(), j.record)) // the pod has it
	must(t, j.way().Return(t.Context(), j.record))
	j.appeared = nil
	j.sh("ip addr add 192.0.2.1/24 dev ens12np0; ip addr add 203.0.113.7/24 dev ens12np0")
	must(t, j.journal.Settle(j.record))
	before := j.record.BootID
	j.record.BootID = "boot-0"
	must(t, j.way().Finish(t.Context(), j.record))
	j.record.BootID = before
	const sysctl = "/proc/sys/net/ipv6/conf/ens12np0/accept_ra"
	recorded := j.sh("cat " + sysctl)
	for _, manager := range []netmanager.Manager{netmanager.None, netmanager.NetworkManager} {
		j.record.Manager = manager
		j.sh("echo 2 >" + sysctl) // the device plugin cannot set one
		must(t, j.way().Finish(t.Context(), j.record))
		if got := j.sh("cat " + sysctl); got != recorded {
			t.Errorf("%q: accept_ra is %s", manager, got)
		}
	}
	if got := j.onHost(); j.appeared != nil || j.owed() != "" || !strings.Contains(got, "192.0.2.1/24") {
		t.Errorf("had %v appear; owed %s; on the host: %s", j.appeared, j.owed(), got)
	}
	// ifupdown must find none of its addresses.
	j.record.Manager, j.record.Back = netmanager.Ifupdown, time.Now().Add(-time.Hour)
	must(t, j.way().Finish(t.Context(), j.record))
	if got := j.onHost(); strings.Join(j.appeared, " ") != "ens12np0" || !strings.HasPrefix(j.owed(), "ens12np0 by ifupdown 192.0.2.1/24") || strings.Contains(got, "192.0.2.1/24") || !strings.Contains(got, "203.0.113.7/24") {
		t.Errorf("had %v appear; owed %s; on the host: %s", j.appeared, j.owed(), got)
	}
	if time.Since(j.record.Back) > time.Minute {
		t.Errorf("it is back since %s", j.record.Back)
	}
	w := j.way()
	w.Appear = func(string) error { return os.ErrPermission }
	if err := w.Finish(t.Context(), j.record); !errors.Is(err, os.ErrPermission) {
		t.Errorf("it cannot appear: %v", err)
	}
	must(t, w.Return(t.Context(), j.record))
	if !strings.Contains(j.log.String(), "ifupdown will not configure the NIC") {
		t.Errorf("it says\n%s", &j.log)
	}
}

// A container of somebody else's may have a macvlan of that ifindex on the NIC.
func TestAnIfindexIsNoProofWhenThePodsNamespaceHasEnded(t *testing.T) {
	j := newJourney(t)
	j.sh("ip link add mv0 link ens12np0 type macvlan")
	j.leave("mv0")
	away, err := j.pod.LinkNamed("net1")
	must(t, err)
	j.record.NIC.Netdev.AwayIndex = away.Attrs().Index
	must(t, j.pod.Do(func() error { j.sh("ip link del net1"); return nil }))
	j.record.Netns = attachment.Namespace{Path: "/nowhere", ID: 1, Cookie: 1}
	theirs, _ := node.NewPod(t)
	j.sh(fmt.Sprintf("ip link add theirs link ens12np0 index %d type macvlan", away.Attrs().Index))
	node.Move(t, "theirs", j.host, theirs)
	must(t, j.way().Return(t.Context(), j.record))
	if link, err := theirs.LinkNamed("theirs"); link == nil || err != nil {
		t.Errorf("it was taken: %v; it says\n%s", err, &j.log)
	}
}
