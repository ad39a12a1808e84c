package attachment

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// A NIC that is somewhere else than where ADD brought it may have got there as the
// pod's, or have been given to somebody else since.
func TestANICIsBroughtBackOnlyFromWhereItsOwnPodCanHaveLeftIt(t *testing.T) {
	const pods, others, nobodys = 10, 20, 30
	for name, tt := range map[string]struct {
		in    *netdev.Namespace
		step  Step
		other string // boot of another attachment in there, "" for none
		want  bool
		old   bool // the kernel has no cookies
		away  int  // its ifindex in the pod
	}{
		"the pod's namespace":                       {in: &netdev.Namespace{ID: pods, Cookie: 1, Path: "/run/netns/pod"}, step: Attached, want: true},
		"it by its process":                         {in: &netdev.Namespace{ID: pods, Cookie: 1, Path: "/proc/7/ns/net"}, step: Prepared, want: true},
		"it by a runtime's other name":              {in: &netdev.Namespace{ID: pods, Cookie: 1, Path: "/run/docker/netns/1", Sandbox: true}, step: Attached, want: true},
		"another of its inode number":               {in: &netdev.Namespace{ID: pods, Cookie: 2, Path: "/run/netns/pod", Sandbox: true}, step: Attached},
		"one of a runtime that has taken its place": {in: &netdev.Namespace{ID: pods, Path: "/run/netns/cni-1", Sandbox: true}, step: Attached, old: true},
		"its own of a runtime without cookies":      {in: &netdev.Namespace{ID: pods, Path: "/run/netns/pod", Sandbox: true}, step: Attached, old: true, want: true},
		"its own of a runtime":                      {in: &netdev.Namespace{ID: pods, Cookie: 1, Path: "/run/netns/pod", Sandbox: true}, step: Attached, want: true},
		"another pod's":                             {in: &netdev.Namespace{ID: others, Path: "/run/netns/cni-1", Sandbox: true}, step: Attached},
		"one that the pod may have made":            {in: &netdev.Namespace{ID: nobodys, Path: "/proc/7/ns/net"}, step: Attached, want: true},
		"one before the pod had the NIC":            {in: &netdev.Namespace{ID: nobodys, Path: "/proc/7/ns/net"}, step: Prepared},
		"one while its ADD is at work":              {in: &netdev.Namespace{ID: nobodys, Path: "/proc/7/ns/net"}, step: Prepared, away: 7, want: true},
		"one after the pod has moved it on at once": {in: &netdev.Namespace{ID: nobodys, Path: "/proc/7/ns/net"}, step: Prepared, away: netdev.AwayUnknown, want: true},
		"another attachment's":                      {in: &netdev.Namespace{ID: others, Path: "/proc/7/ns/net"}, step: Attached, other: "now\n"},
		"one that was another's before the reboot":  {in: &netdev.Namespace{ID: others, Path: "/proc/7/ns/net"}, step: Attached, other: "before\n", want: true},
		"none of those that another attachment has": {in: &netdev.Namespace{ID: nobodys, Path: "/proc/7/ns/net"}, step: Attached, other: "now\n", want: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if tt.other != "" {
				other := attached("c2")
				other.Netns = Namespace{Path: "/run/netns/other", ID: others}
				if err := journalOfBoot(t, dir, tt.other).Write(other); err != nil {
					t.Fatal(err)
				}
			}
			r := attached("c1")
			r.Step, r.Netns = tt.step, Namespace{Path: "/run/netns/pod", ID: pods, Cookie: 1}
			r.NIC.Netdev.AwayIndex = tt.away
			if tt.old {
				r.Netns.Cookie = 0
			}
			w := Returner{Journal: journalOfBoot(t, dir, "now\n")}
			if may, err := w.mayBeIn(r, tt.in); may != tt.want || err != nil {
				t.Errorf("%v, %v", may, err)
			}
		})
	}
}

// A note of another boot is nobody's; one that is being written is not one yet.
func TestNotesAreOfThisBootAndWhole(t *testing.T) {
	dir := t.TempDir()
	before, now := journalOfBoot(t, dir, "before\n"), journalOfBoot(t, dir, "now\n")
	old, current := attached("c1"), attached("c2")
	old.NIC.Netdev.Lower, current.NIC.Netdev.Lower = 8, 9 // two NICs
	for _, err := range []error{before.Write(old), before.Owe(old), now.Write(current), now.Owe(current)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	notes := filepath.Join(dir, owedDir)
	for file, content := range map[string]string{"x.json": "{", "y.json.new": "{"} {
		if err := os.WriteFile(filepath.Join(notes, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		owed, err := now.Owed()
		if err != nil || len(owed) != 1 || owed[0].ContainerID != "c2" {
			t.Errorf("%v, %v", owed, err)
		}
	}
	left, err := os.ReadDir(notes)
	if err != nil || len(left) != 2 { // the current one, and the one that is being written
		t.Errorf("%v, %v", left, err)
	}
}

func attached(container string) *Record {
	return &Record{ContainerID: container, IfName: "net1", Step: Attached, NIC: NIC{Netdev: netdev.Identity{Index: 7}}, Host: netdev.State{Name: "ens12np0"}}
}

func journalOfBoot(t *testing.T, dir, boot string) *Journal {
	t.Helper()
	proc := t.TempDir()
	file := filepath.Join(proc, "sys/kernel/random/boot_id")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(boot), 0o644); err != nil {
		t.Fatal(err)
	}
	j, err := Open(dir, proc)
	if err != nil {
		t.Fatal(err)
	}
	return j
}
