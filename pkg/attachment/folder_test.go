package attachment_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netmanager"
)

// files are the names in a folder of the state folder.
func files(t *testing.T, dir ...string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir...))
	must(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// While an update rolls out, programs of two versions wait for each other.
func TestALockIsTheFileOfEveryVersion(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, "boot-1")
	for _, take := range []func() (*attachment.Lock, error){
		func() (*attachment.Lock, error) {
			return j.LockContainer(t.Context(), "c1", "x")
		},
		func() (*attachment.Lock, error) {
			return j.LockContainer(t.Context(), "c2", "x")
		},
		func() (*attachment.Lock, error) { return j.LockNIC(t.Context(), "pci/0000:08:00.0", "ens12np0", "x") },
		func() (*attachment.Lock, error) { return j.LockRDMAMoves(t.Context(), "x") },
	} {
		lock, err := take()
		must(t, err)
		lock.Unlock()
	}
	want := []string{"container-25", "container-32", "nic-pci_0000.08.00.0", "rdma-moves"}
	if got := files(t, dir, "locks"); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for _, name := range want {
		if info, err := os.Stat(filepath.Join(dir, "locks", name)); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestWhoWaitsForAContainerLearnsWhichAndThatSomebodyHasIt(t *testing.T) {
	j := open(t, t.TempDir(), "boot-1")
	lock, err := j.LockContainer(t.Context(), "c1", "")
	must(t, err)
	defer lock.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	const want = "the network of container c1 is being changed by another process"
	if _, err := j.LockContainer(ctx, "c1", ""); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestThoseWhoWaitForALockHaveItOneAfterTheOther(t *testing.T) {
	j := open(t, t.TempDir(), "boot-1")
	first, err := j.LockRDMAMoves(t.Context(), "x")
	must(t, err)
	var holders atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			lock, err := j.LockRDMAMoves(t.Context(), "x")
			if err != nil {
				t.Error(err)
				return
			}
			defer lock.Unlock()
			if n := holders.Add(1); n != 1 {
				t.Errorf("%d have the lock", n)
			}
			time.Sleep(time.Millisecond)
			holders.Add(-1)
		})
	}
	time.Sleep(20 * time.Millisecond)
	if n := holders.Load(); n != 0 {
		t.Errorf("%d have a lock that is taken", n)
	}
	first.Unlock()
	wg.Wait()
}

func TestALockIsNoLinkToAnothersFile(t *testing.T) {
	dir := t.TempDir()
	j, victim := open(t, dir, "boot-1"), filepath.Join(t.TempDir(), "victim")
	must(t, os.Mkdir(filepath.Join(dir, "locks"), 0o755))
	must(t, os.Symlink(victim, filepath.Join(dir, "locks", "rdma-moves")))
	if _, err := j.LockRDMAMoves(t.Context(), "x"); !errors.Is(err, unix.ELOOP) || !strings.HasPrefix(err.Error(), "lock the node's RDMA devices: ") {
		t.Errorf("%v", err)
	}
	if _, err := os.Lstat(victim); err == nil {
		t.Error("there is a file behind the link")
	}
}

func TestWhoHasGivenUpWaitingForALockKeepsNobodyOut(t *testing.T) {
	j := open(t, t.TempDir(), "boot-1")
	first, err := j.LockRDMAMoves(t.Context(), "x")
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := j.LockRDMAMoves(ctx, "x"); err == nil {
		t.Error("two have the lock")
	}
	first.Unlock()
	second, err := j.LockRDMAMoves(t.Context(), "x")
	must(t, err)
	second.Unlock()
}

func TestALookAtWhatIsOwedRemovesAllThatIsNotAndMerelyLookingNothing(t *testing.T) {
	dir := t.TempDir()
	must(t, open(t, dir, "boot-1").Owe(record("c1")))
	j := open(t, dir, "boot-2")
	now := record("c2")
	now.NIC.Netdev.Index = 8
	must(t, j.Owe(now))
	for _, name := range []string{"a.json", "b.json", "c.json.new"} {
		must(t, os.WriteFile(filepath.Join(dir, "owed", name), []byte("{"), 0o600))
	}
	before := files(t, dir, "owed")
	for _, look := range []struct {
		what string
		at   func() ([]*attachment.Record, error)
		left int
	}{{"merely", j.Owing, len(before)}, {"for good", j.Owed, 2}} {
		owed, err := look.at()
		if err != nil || len(owed) != 1 || owed[0].ContainerID != "c2" {
			t.Errorf("%s: %v, %v", look.what, owed, err)
		}
		if left := files(t, dir, "owed"); len(left) != look.left {
			t.Errorf("%s: %q of %q", look.what, left, before)
		}
	}
}

func TestWhatIsOwedIsNotNothingIfItCannotBeListed(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, "boot-1")
	must(t, os.WriteFile(filepath.Join(dir, "owed"), nil, 0o600))
	for _, list := range []func() ([]*attachment.Record, error){j.Owed, j.Owing} {
		if _, err := list(); err == nil || !strings.Contains(err.Error(), "list what is owed to NICs") {
			t.Errorf("%v", err)
		}
	}
	if err := j.Owe(record("c1")); err == nil || !strings.Contains(err.Error(), "note what is owed to the NIC") {
		t.Errorf("%v", err)
	}
}

func TestAHolderIsNamedByItsPodIfThatIsKnown(t *testing.T) {
	r := record("c1")
	for pod, want := range map[attachment.Pod]string{
		{Namespace: "default", Name: "pod-1"}: "pod default/pod-1 (container c1, interface net1)",
		{}:                                    "container c1, interface net1",
	} {
		if r.Pod = pod; r.Holder() != want {
			t.Errorf("%q, want %q", r.Holder(), want)
		}
	}
}

func TestAManagerHasTwentySecondsFromANICsReturn(t *testing.T) {
	back := time.Now().Add(-time.Second)
	for manager, want := range map[netmanager.Manager]time.Time{
		netmanager.None: {}, netmanager.NetworkManager: back.Add(20 * time.Second), netmanager.Ifupdown: back.Add(20 * time.Second),
	} {
		r := attachment.Record{Manager: manager, Back: back}
		if due := r.Due(); !due.Equal(want) {
			t.Errorf("%q: %v, want %v", manager, due, want)
		}
	}
}

func TestARecordIsAFileAndItsCopyForRootAlone(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, "boot-1")
	r := record("c1")
	must(t, j.Write(r))
	same := func() {
		t.Helper()
		var contents []string
		for _, folder := range []string{"attachments", "copies"} {
			path := filepath.Join(dir, folder, "c1@net1.json")
			b, err := os.ReadFile(path)
			must(t, err)
			info, err := os.Stat(path)
			must(t, err)
			if info.Mode() != 0o600 {
				t.Errorf("%s: %v", path, info.Mode())
			}
			contents = append(contents, string(b))
		}
		if contents[0] != contents[1] || !strings.Contains(contents[0], `"step": "`+string(r.Step)+`"`) {
			t.Errorf("%s and %s", contents[0], contents[1])
		}
	}
	same()
	r.Step = attachment.Attached
	must(t, j.Update(r))
	same()
	must(t, j.Write(record("c0")))
	must(t, j.Write(record("c2")))
	for _, tt := range []struct {
		but  []attachment.ID
		want string
	}{{nil, "c0 c1 c2"}, {[]attachment.ID{r.ID()}, "c0 c2"}, {[]attachment.ID{{ContainerID: "c1", IfName: "net2"}}, "c0 c1 c2"}} {
		records, bad, err := j.List(tt.but...)
		must(t, err)
		var of []string
		for _, r := range records {
			of = append(of, r.ContainerID)
		}
		if strings.Join(of, " ") != tt.want || len(bad) > 0 {
			t.Errorf("without %v: %q, %v", tt.but, of, bad)
		}
	}
	for _, folder := range []string{"attachments", "copies"} { // as a crash leaves it
		must(t, os.WriteFile(filepath.Join(dir, folder, "c1@net1.json.new"), nil, 0o600))
		must(t, os.WriteFile(filepath.Join(dir, folder, "c9@net1.json.bad"), nil, 0o600))
	}
	aside, err := j.Aside()
	if err != nil || len(aside) != 2 {
		t.Errorf("set aside: %q, %v", aside, err)
	}
	must(t, j.Remove(r.ID()))
	for _, folder := range []string{"attachments", "copies"} {
		if left := files(t, dir, folder); !slices.Equal(left, []string{"c0@net1.json", "c2@net1.json", "c9@net1.json.bad"}) {
			t.Errorf("%s: %q", folder, left)
		}
	}
}

func TestARefusalRemovesThoseOfEarlierBootsOnly(t *testing.T) {
	dir := t.TempDir()
	pod := func(uid string) attachment.Pod { return attachment.Pod{Namespace: "default", Name: "pod", UID: uid} }
	before := open(t, dir, "boot-1")
	must(t, before.Refuse(pod("aa"), "then"))
	must(t, before.Refuse(pod("ab"), "then"))
	now := open(t, dir, "boot-2")
	must(t, now.Refuse(pod("ac"), "first"))
	must(t, now.Refuse(pod("ad"), "second\nline"))
	if left := files(t, dir, "refused"); !slices.Equal(left, []string{"ac", "ad"}) {
		t.Errorf("%q", left)
	}
	for uid, want := range map[string]string{"aa": "", "ac": "first", "ad": "second\nline", "": ""} {
		if reason, err := now.Refused(pod(uid)); reason != want || err != nil {
			t.Errorf("%q: %q, %v", uid, reason, err)
		}
	}
}

func TestWhoDoesNotWaitForALockIsToldWhoHasIt(t *testing.T) {
	j := open(t, t.TempDir(), "boot-1")
	first, err := j.TryContainer("c1", "an ADD")
	must(t, err)
	defer first.Unlock()
	if _, err := j.TryContainer("c1", "a DEL"); err == nil || err.Error() != "the network of container c1 is being changed by an ADD" {
		t.Errorf("%v", err)
	}
	nic, err := j.TryNIC("0000:08:00.0", "ens12np0", "")
	must(t, err)
	defer nic.Unlock()
	if _, err := j.TryNIC("0000:08:00.0", "ens12np0", "a DEL"); err == nil || err.Error() != "NIC ens12np0 is being changed by another process" {
		t.Errorf("%v", err)
	}
}

func TestAJournalNeedsToKnowTheBoot(t *testing.T) {
	if _, err := attachment.Open(t.TempDir(), t.TempDir()); err == nil || !strings.HasPrefix(err.Error(), "read the boot ID: ") {
		t.Errorf("%v", err)
	}
	if id := open(t, t.TempDir(), "boot-1").BootID(); id != "boot-1" {
		t.Errorf("boot %q", id)
	}
}

func TestABadFileIsNamedWithWhatIsWrongWithIt(t *testing.T) {
	j := open(t, t.TempDir(), "boot-1")
	must(t, j.Write(record("c1")))
	path := filepath.Join(j.RecordsDir(), "c1@net1.json")
	must(t, os.Rename(path, filepath.Join(j.RecordsDir(), "c2@net1.json")))
	_, bad, err := j.Read(attachment.ID{ContainerID: "c2", IfName: "net1"})
	must(t, err)
	want := "journal file " + filepath.Join(j.RecordsDir(), "c2@net1.json") + ": it belongs to container c1, interface net1"
	if len(bad) != 1 || bad[0].Error() != want || errors.Unwrap(bad[0]) == nil {
		t.Errorf("%v, want %s", bad, want)
	}
}

func TestAWriteThatFailsIsToldAndLeavesNoHalfOfARecord(t *testing.T) {
	for name, put := range map[string]func(dir string) error{
		"a folder where the record is to be": func(dir string) error { return os.MkdirAll(filepath.Join(dir, "attachments", "c1@net1.json"), 0o755) },
		"a folder where its copy is to be":   func(dir string) error { return os.MkdirAll(filepath.Join(dir, "copies", "c1@net1.json"), 0o755) },
		"a file where copies are to be":      func(dir string) error { return os.WriteFile(filepath.Join(dir, "copies"), nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			j := open(t, dir, "boot-1")
			must(t, put(dir))
			for what, write := range map[string]func(*attachment.Record) error{"write": j.Write, "update": j.Update} {
				if err := write(record("c1")); err == nil || !strings.HasPrefix(err.Error(), "write the journal: ") {
					t.Errorf("%s: %v", what, err)
				}
			}
			left, err := filepath.Glob(filepath.Join(dir, "*", "*.new"))
			if len(left) > 0 || err != nil {
				t.Errorf("left over: %q, %v", left, err)
			}
		})
	}
}

// A person is to look at all of it.
func TestAFolderThatIsSetAsideTakesNoOthersPlace(t *testing.T) {
	j := open(t, t.TempDir(), "boot-1")
	for _, want := range []string{"c1@net1.json.bad", "c1@net1.json.bad1"} {
		must(t, os.MkdirAll(filepath.Join(j.RecordsDir(), "c1@net1.json", "something"), 0o755))
		_, bad, err := j.Read(attachment.ID{ContainerID: "c1", IfName: "net1"})
		must(t, err)
		must(t, j.SetAside(bad[0]))
		if bad[0].Path != filepath.Join(j.RecordsDir(), want) {
			t.Errorf("set aside as %s, want %s", bad[0].Path, want)
		}
	}
	must(t, j.SetAside(&attachment.BadFile{Path: filepath.Join(j.RecordsDir(), "c1@net1.json")})) // somebody else has done so
	for _, folder := range files(t, j.RecordsDir()) {
		if inside := files(t, j.RecordsDir(), folder); !slices.Equal(inside, []string{"something"}) {
			t.Errorf("%s has %q", folder, inside)
		}
	}
}
