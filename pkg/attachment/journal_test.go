package attachment_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

func open(t *testing.T, dir, boot string) *attachment.Journal {
	t.Helper()
	j, err := attachment.Open(dir, procOf(t, boot))
	must(t, err)
	return j
}

// procOf makes a proc of a boot.
func procOf(t *testing.T, boot string) string {
	t.Helper()
	proc := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(proc, "sys/kernel/random"), 0o755))
	must(t, os.WriteFile(filepath.Join(proc, "sys/kernel/random/boot_id"), []byte(boot+"\n"), 0o644))
	return proc
}

func record(container string) *attachment.Record {
	return &attachment.Record{
		ContainerID: container, IfName: "net1", Step: attachment.Prepared, Pod: attachment.Pod{Namespace: "default", Name: "pod-1"},
		NIC: attachment.NIC{Netdev: netdev.Identity{Index: 7}}, Host: netdev.State{Name: "ens12np0", MTU: 9000},
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	j := open(t, t.TempDir(), "boot-1")
	r := record("c1")
	must(t, j.Write(r))
	r.Step = attachment.Attached
	must(t, j.Update(r))
	have, _, _ := j.Read(attachment.ID{ContainerID: "c1", IfName: "net1"})
	if have.Step != attachment.Attached || have.Host.Name != "ens12np0" || have.Pod.String() != "default/pod-1" || !j.Current(have) {
		t.Errorf("%+v", have)
	}
	files, err := os.ReadDir(j.RecordsDir())
	must(t, err)
	info, err := files[0].Info()
	must(t, err)
	if len(files) != 1 || info.Mode().Perm() != 0o600 {
		t.Errorf("%v with mode %v", files, info.Mode())
	}
	must(t, j.Remove(attachment.ID{ContainerID: "c1", IfName: "net1"}))
	must(t, j.Remove(attachment.ID{ContainerID: "c1", IfName: "net1"}))
	if have, bad, _ := j.Read(attachment.ID{ContainerID: "c1", IfName: "net1"}); have != nil || bad != nil {
		t.Errorf("%v, %v", have, bad)
	}
}

func TestWhoReadsARecordReadsItWhole(t *testing.T) {
	j := open(t, t.TempDir(), "boot-1")
	r := record("c1")
	must(t, j.Write(r))
	path := filepath.Join(j.RecordsDir(), "c1@net1.json")
	before, err := os.ReadFile(path)
	must(t, err)
	reader, err := os.Open(path)
	must(t, err)
	defer reader.Close()
	r.Network = "another"
	must(t, j.Update(r)) // in between
	if have, err := io.ReadAll(reader); err != nil || string(have) != string(before) {
		t.Errorf("%v:\n%s", err, have)
	}
}

func TestARecordThatCouldNotBeReadAgainIsNotWritten(t *testing.T) {
	j := open(t, t.TempDir(), "boot-1")
	id := attachment.ID{ContainerID: "c1", IfName: "net1"}
	r := record("c1")
	r.Config = json.RawMessage(strings.Repeat("[", 9000) + strings.Repeat("]", 9000)) // with a line for each, more than a record may have
	must(t, j.Write(r))
	if have, bad, _ := j.Read(id); have == nil || bad != nil {
		t.Errorf("a deep configuration: %v, %v", have, bad)
	}
	must(t, j.Remove(id))
	r.Config = json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)
	if err := j.Write(r); err == nil || !strings.Contains(err.Error(), "is the network configuration that long?") {
		t.Errorf("a long one: %v", err)
	}
}

// A DEL whose IPAM plugin fails keeps the record of a NIC that the reboot brought
// back: what it says of the host is no more of this boot than before.
func TestAnUpdateLeavesARecordInItsBoot(t *testing.T) {
	dir := t.TempDir()
	must(t, open(t, dir, "boot-1").Write(record("c1")))
	j := open(t, dir, "boot-2")
	r, _, err := j.Read(record("c1").ID())
	must(t, err)
	r.Step = attachment.Returned
	must(t, j.Update(r))
	r, _, err = j.Read(r.ID())
	must(t, err)
	if j.Current(r) || r.Step != attachment.Returned {
		t.Errorf("it is %q, of %s", r.Step, r.BootID)
	}
}

func TestARecordOfAnotherBootIsNotCurrent(t *testing.T) {
	dir := t.TempDir()
	must(t, open(t, dir, "boot-1").Write(record("c1")))
	j := open(t, dir, "boot-2")
	r, _, _ := j.Read(attachment.ID{ContainerID: "c1", IfName: "net1"})
	if j.Current(r) {
		t.Error("the record counts as this boot's")
	}
}

func TestBadFilesDoNotHideTheOthers(t *testing.T) {
	j := open(t, t.TempDir(), "boot-1")
	must(t, j.Write(record("c1")))
	must(t, j.Write(record("c9")))
	for name, text := range map[string]string{
		"cut@net1.json": `{"version": 1, "bo`, "foreign@net1.json": `{"name": "cni0"}`, "new@net1.json": `{"version": 2, "containerID": "c3"}`,
		"empty@net1.json": "", "c1@net1.json.new": "half", "README": "hello",
	} {
		must(t, os.WriteFile(filepath.Join(j.RecordsDir(), name), []byte(text), 0o600))
	}
	// A record in all but its version.
	must(t, j.Write(record("c7")))
	path := filepath.Join(j.RecordsDir(), "c7@net1.json")
	text, err := os.ReadFile(path)
	must(t, err)
	must(t, j.Remove(attachment.ID{ContainerID: "c7", IfName: "net1"}))
	must(t, os.WriteFile(path, []byte(strings.Replace(string(text), `"version": 1`, `"version": 2`, 1)), 0o600))
	// What is no file at all, and one that users other than root could have
	// written.
	must(t, os.Mkdir(filepath.Join(j.RecordsDir(), "folder@net1.json"), 0o755))
	must(t, unix.Mkfifo(filepath.Join(j.RecordsDir(), "fifo@net1.json"), 0o600))
	must(t, os.Symlink("c1@net1.json", filepath.Join(j.RecordsDir(), "link@net1.json")))
	writable := filepath.Join(j.RecordsDir(), "open@net1.json")
	must(t, os.WriteFile(writable, []byte(`{}`), 0o600))
	must(t, os.Chmod(writable, 0o666))
	records, bad, err := j.List()
	must(t, err)
	if len(records) != 2 || len(bad) != 9 {
		t.Fatalf("%d records, bad files %v", len(records), bad)
	}
	for _, b := range bad {
		must(t, j.SetAside(b))
		if !strings.HasSuffix(b.Path, ".json.bad") {
			t.Errorf("set aside as %s", b.Path)
		}
	}
	if _, bad, err := j.List(); len(bad) != 0 || err != nil {
		t.Errorf("still bad: %v, %v", bad, err)
	}
}

// Whatever lies where a record is to be written: to open a FIFO would be to wait
// for a reader, and a folder is not removed while there is something in it.
func TestWhatIsInARecordsPlaceKeepsItFromNothing(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"a FIFO":   func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a link":   func(path string) error { return os.Symlink("nowhere", path) },
		"a folder": func(path string) error { return os.MkdirAll(filepath.Join(path, "something"), 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			j, r := open(t, dir, "boot-1"), record("c1")
			for range 2 { // what was moved aside before is not in the way
				must(t, j.Write(r))
				for _, folder := range []string{"attachments", "copies"} {
					must(t, put(filepath.Join(dir, folder, "c1@net1.json.new")))
				}
				r.Step = attachment.Attached
				must(t, j.Update(r))
				if have, bad, err := j.Read(r.ID()); have == nil || have.Step != attachment.Attached || bad != nil || err != nil {
					t.Errorf("%+v, %v, %v", have, bad, err)
				}
				must(t, put(filepath.Join(dir, "copies", "c1@net1.json.new")))
				must(t, j.Remove(r.ID()))
				if records, bad, err := j.List(); len(records) != 0 || bad != nil || err != nil {
					t.Errorf("%v, %v, %v", records, bad, err)
				}
			}
		})
	}
}

func TestAnAttachmentWithoutAPossibleFileIsNone(t *testing.T) {
	j := open(t, t.TempDir(), "boot-1")
	r := record(strings.Repeat("c", 300))
	if err := j.Write(r); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("%v", err)
	}
	if have, bad, err := j.Read(r.ID()); have != nil || bad != nil || err != nil {
		t.Errorf("%v, %v, %v", have, bad, err)
	}
	must(t, j.Remove(r.ID()))
}

func TestARecordThatIsLostOrDamagedIsKnownFromItsCopy(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"lost":             os.Remove,
		"cut short":        func(path string) error { return os.Truncate(path, 20) },
		"another's record": func(path string) error { return os.Rename(filepath.Join(filepath.Dir(path), "c2@net1.json"), path) },
		"another NIC's":    func(path string) error { return os.Rename(filepath.Join(filepath.Dir(path), "c1@net2.json"), path) },
		"all are lost":     func(path string) error { return os.RemoveAll(filepath.Dir(path)) },
	} {
		t.Run(name, func(t *testing.T) {
			j := open(t, t.TempDir(), "boot-1")
			must(t, j.Write(record("c2")))
			r, second := record("c1"), record("c1")
			second.IfName = "net2"
			must(t, j.Write(second))
			must(t, j.Write(r))
			r.Step = attachment.Attached
			must(t, j.Update(r))
			must(t, harm(filepath.Join(j.RecordsDir(), "c1@net1.json")))
			have, bad, err := j.Read(r.ID())
			if have == nil || have.Step != attachment.Attached || err != nil {
				t.Errorf("read %+v, %v", have, err)
			}
			if told := len(bad) == 1 && bad[0].Path == filepath.Join(j.RecordsDir(), "c1@net1.json"); told == strings.Contains(name, "lost") {
				t.Errorf("bad files: %v", bad)
			}
			records, _, err := j.List()
			must(t, err)
			if len(records) == 0 || records[0].ContainerID != "c1" {
				t.Errorf("listed %v", records)
			}
			must(t, j.Remove(r.ID()))
			if have, _, _ := j.Read(r.ID()); have != nil {
				t.Errorf("removed, and there is %+v", have)
			}
		})
	}
}

func TestANameIsOwedUntilItIsSettledOrTheNodeBoots(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, "boot-1")
	must(t, j.Owe(record("c1")))
	owed, err := j.Owed()
	if err != nil || len(owed) != 1 || owed[0].Host.Name != "ens12np0" {
		t.Fatalf("%v, %v", owed, err)
	}
	must(t, j.Settle(owed[0]))
	if owed, err := j.Owed(); len(owed) != 0 || err != nil {
		t.Errorf("settled: %v, %v", owed, err)
	}
	must(t, j.Owe(record("c1")))
	for range 2 {
		if owed, err := open(t, dir, "boot-2").Owed(); len(owed) != 0 || err != nil {
			t.Errorf("after a boot: %v, %v", owed, err)
		}
	}
}

func TestTwoPortsOfOneFunctionAreOwedEachItsOwn(t *testing.T) {
	j := open(t, t.TempDir(), "boot-1")
	for _, mac := range []string{"94:6d:ae:00:00:01", "94:6d:ae:00:00:02"} {
		r := record("c1")
		r.NIC.Netdev = netdev.Identity{Index: 7, ParentBus: "pci", Parent: "0000:08:00.0", PermanentMAC: mac}
		must(t, j.Owe(r))
	}
	owed, err := j.Owed()
	must(t, err)
	if len(owed) != 2 {
		t.Fatalf("%v", owed)
	}
	must(t, j.Settle(owed[0]))
	if left, err := j.Owed(); err != nil || len(left) != 1 || left[0].NIC.Netdev != owed[1].NIC.Netdev {
		t.Errorf("%v, %v", left, err)
	}
}

func TestAStateFolderThatOthersCanWriteIsRefused(t *testing.T) {
	for _, folder := range []string{"", "attachments", "copies"} {
		dir := t.TempDir()
		must(t, os.MkdirAll(filepath.Join(dir, folder), 0o755))
		must(t, os.Chmod(filepath.Join(dir, folder), 0o777))
		proc := procOf(t, "boot-1")
		if _, err := attachment.Open(dir, proc); err == nil || !strings.Contains(err.Error(), "is writable by users other than root") {
			t.Errorf("%q: %v", folder, err)
		}
	}
}

func TestARecordThatWasNeverWrittenIsCleared(t *testing.T) {
	j := open(t, t.TempDir(), "boot-1")
	must(t, j.Write(record("c1")))
	for _, name := range []string{"c1@net1.json.new", "c2@net1.json.new"} {
		must(t, os.WriteFile(filepath.Join(j.RecordsDir(), name), []byte("half"), 0o600))
	}
	ids, err := j.Unwritten()
	must(t, err)
	if len(ids) != 1 || ids[0].ContainerID != "c2" || ids[0].IfName != "net1" {
		t.Fatalf("unwritten: %v", ids)
	}
	must(t, j.Clear(attachment.ID{ContainerID: "c2", IfName: "net1"}))
	must(t, j.Clear(attachment.ID{ContainerID: "c1", IfName: "net1"})) // written by now
	if records, bad, err := j.List(); len(records) != 1 || len(bad) != 0 || err != nil {
		t.Errorf("%v, %v, %v", records, bad, err)
	}
	must(t, j.Remove(attachment.ID{ContainerID: "c1", IfName: "net1"}))
	if files, err := os.ReadDir(j.RecordsDir()); len(files) != 0 || err != nil {
		t.Errorf("left over: %v, %v", files, err)
	}
}

func TestTheNICsOfOneCallAreFoundByItsContainer(t *testing.T) {
	j := open(t, t.TempDir(), "boot-1")
	for ifName, call := range map[string]string{"net1": "", "net1-2": "net1", "rail1": "eth0"} {
		r := record("c1")
		r.IfName, r.Call = ifName, call
		must(t, j.Write(r))
	}
	must(t, j.Write(record("c10")))
	records, bad, err := j.OfContainer("c1")
	must(t, err)
	calls := map[string]string{}
	for _, r := range records {
		calls[r.IfName] = r.CallID().ContainerID + "@" + r.CallID().IfName
	}
	if want := (map[string]string{"net1": "c1@net1", "net1-2": "c1@net1", "rail1": "c1@eth0"}); !maps.Equal(calls, want) || len(records) != len(want) || len(bad) > 0 {
		t.Errorf("%v of %d, want %v; %v", calls, len(records), want, bad)
	}
}

func TestARecordThatCannotBeWrittenLeavesTheOldOne(t *testing.T) {
	j := open(t, t.TempDir(), "boot-1")
	r := record("c1")
	must(t, j.Write(r))
	for what, spoil := range map[string]func(r *attachment.Record){
		"container": func(r *attachment.Record) { r.ContainerID = "" }, "interface": func(r *attachment.Record) { r.IfName = "" },
		"name of the NIC": func(r *attachment.Record) { r.Host.Name = "" }, "NIC": func(r *attachment.Record) { r.NIC.Netdev.Index = 0 },
	} {
		broken := record("c1")
		if spoil(broken); j.Write(broken) == nil || j.Update(broken) == nil || j.Owe(broken) == nil {
			t.Errorf("a record without a %s was written", what)
		}
	}
	have, bad, _ := j.Read(attachment.ID{ContainerID: "c1", IfName: "net1"})
	if bad != nil || have.Host.Name != "ens12np0" {
		t.Errorf("%v, %v", have, bad)
	}
}

func TestAWaiterLearnsWhoHoldsTheNIC(t *testing.T) {
	j := open(t, t.TempDir(), "boot-1")
	earlier, err := j.LockNIC(context.Background(), "0000:08:00.0", "ens12np0", "pod default/pod-with-a-longer-name")
	must(t, err)
	earlier.Unlock()
	first, err := j.LockNIC(context.Background(), "0000:08:00.0", "ens12np0", "pod default/pod-1")
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	gone, leave := context.WithCancel(context.Background())
	leave()
	for _, ctx := range []context.Context{ctx, gone} {
		_, err = j.LockNIC(ctx, "0000:08:00.0", "ens12np0", "pod default/pod-2")
		var held *attachment.HeldError
		if !errors.As(err, &held) || err.Error() != "NIC ens12np0 is being changed by pod default/pod-1" {
			t.Errorf("error %v", err)
		}
	}
	first.Unlock()
	second, err := j.LockNIC(context.Background(), "0000:08:00.0", "ens12np0", "pod default/pod-2")
	must(t, err)
	second.Unlock()
}

// The NIC of an earlier ADD can still be given back.
func TestALockIsTakenOnAFileSystemThatHasBecomeReadOnly(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, "boot-1")
	runtime.LockOSThread() // for good: the mounts are those of the thread, which ends with the test
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); errors.Is(err, unix.EPERM) {
		t.Skip("needs root for mounts")
	} else if err != nil {
		t.Fatal(err)
	}
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	first, err := j.LockNIC(t.Context(), "0000:08:00.0", "ens12np0", "pod default/pod-1")
	must(t, err)
	first.Unlock()
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	second, err := j.LockNIC(t.Context(), "0000:08:00.0", "ens12np0", "pod default/pod-1")
	must(t, err)
	second.Unlock()
	if _, err := j.LockNIC(t.Context(), "0000:08:00.1", "ens13np0", "pod default/pod-1"); err == nil {
		t.Error("a file that was not there is locked")
	}
}

func TestWhoeverMovesRDMADevicesDoesSoAlone(t *testing.T) {
	j := open(t, t.TempDir(), "boot-1")
	first, err := j.LockRDMAMoves(context.Background(), "pod default/pod-1")
	must(t, err)
	defer first.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := j.LockRDMAMoves(ctx, "pod default/pod-2"); err == nil || !strings.Contains(err.Error(), "by pod default/pod-1") {
		t.Errorf("%v", err)
	}
}

func TestARefusalHoldsForThePodAndForThisBoot(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, "boot-1")
	pod, other := attachment.Pod{UID: "11111111-aaaa"}, attachment.Pod{UID: "22222222-bbbb"}
	must(t, j.Refuse(pod, "renumbered"))
	must(t, j.Refuse(attachment.Pod{UID: "../0a"}, "no UID"))
	must(t, j.Refuse(attachment.Pod{}, "no UID"))
	if _, err := os.Lstat(filepath.Join(dir, "0a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file beside the refusals: %v", err)
	}
	next := open(t, dir, "boot-2")
	for _, tt := range []struct {
		journal *attachment.Journal
		pod     attachment.Pod
		want    string
	}{{j, pod, "renumbered"}, {j, other, ""}, {j, attachment.Pod{}, ""}, {next, pod, ""}} {
		if reason, err := tt.journal.Refused(tt.pod); reason != tt.want || err != nil {
			t.Errorf("%v: %q, %v, want %q", tt.pod, reason, err, tt.want)
		}
	}
	must(t, next.Refuse(other, "renumbered"))
	if files, err := os.ReadDir(filepath.Join(dir, "refused")); len(files) != 1 || err != nil {
		t.Errorf("kept: %v, %v", files, err)
	}
}

func TestARecordThatCannotBeOpenedNowIsNeitherBadNorMissing(t *testing.T) {
	j := open(t, t.TempDir(), "boot-1")
	r := record("c1")
	must(t, j.Write(r))
	must(t, j.Owe(r))
	var before unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &before))
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: before.Max}))
	have, bad, err := j.Read(r.ID())
	_, _, listErr := j.List()
	_, owedErr := j.Owed()
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &before))
	for _, err := range []error{err, listErr, owedErr} {
		if !errors.Is(err, unix.EMFILE) {
			t.Errorf("%v", err)
		}
	}
	if have != nil || bad != nil {
		t.Errorf("%v, %v", have, bad)
	}
	if owed, err := j.Owed(); len(owed) != 1 || err != nil {
		t.Errorf("owed: %v, %v", owed, err)
	}
}

func TestWhatIsInThePlaceOfARefusalStopsNoPod(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, "boot-1")
	must(t, os.Mkdir(filepath.Join(dir, "refused"), 0o755))
	fifo, folder := attachment.Pod{UID: "11111111-aaaa"}, attachment.Pod{UID: "22222222-bbbb"}
	must(t, unix.Mkfifo(filepath.Join(dir, "refused", fifo.UID), 0o600))
	must(t, os.Mkdir(filepath.Join(dir, "refused", folder.UID), 0o755))
	for _, pod := range []attachment.Pod{fifo, folder} {
		if reason, err := j.Refused(pod); reason != "" || err != nil {
			t.Errorf("%q, %v", reason, err)
		}
	}
	must(t, j.Refuse(fifo, "renumbered"))
	if reason, err := j.Refused(fifo); reason != "renumbered" || err != nil {
		t.Errorf("%q, %v", reason, err)
	}
}
