package attachment_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/test/fixtures/released"
)

// The folders journal-* of testdata/released/1.0 are what the CNI plugin wrote in the lab, in
// either RDMA mode: for a NIC with its RDMA device, a VLAN, a macvlan and a veth,
// for one that is back but whose address is not free, and for one whose name
// another link had when it came back.

// journalOf opens a copy of a released state folder, in the boot that it is of.
func journalOf(t *testing.T, state string) *attachment.Journal {
	t.Helper()
	var boot struct{ BootID string }
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS(state)))
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.json"))
	must(t, err)
	for _, file := range files {
		must(t, json.Unmarshal(released.Text(t, file), &boot))
	}
	return open(t, dir, boot.BootID)
}

func TestTheJournalsOfEveryReleaseAreReadWithAllThatTheySay(t *testing.T) {
	for _, state := range released.Files(t, "journal-*") {
		j := journalOf(t, state)
		records, bad, err := j.List()
		must(t, err)
		if len(bad) > 0 {
			t.Errorf("%s: %v", state, bad)
		}
		written, err := filepath.Glob(filepath.Join(state, "attachments", "*.json"))
		must(t, err)
		if len(records) != len(written) || len(records) == 0 {
			t.Errorf("%s: %d of %d records", state, len(records), len(written))
		}
		for _, r := range records {
			if !j.Current(r) {
				t.Errorf("%s: %s is of another boot", state, r.Holder())
			}
			file := filepath.Join(state, "attachments", r.ContainerID+"@"+r.IfName+".json")
			released.Keeps(t, file, released.Text(t, file), r)
		}
	}
}

func TestTheCopiesInTheJournalsOfEveryReleaseStandInForRecords(t *testing.T) {
	for _, state := range released.Files(t, "journal-*") {
		j := journalOf(t, state)
		must(t, os.RemoveAll(j.RecordsDir()))
		copies, err := filepath.Glob(filepath.Join(state, "copies", "*.json"))
		must(t, err)
		if len(copies) == 0 {
			t.Errorf("%s has no copies", state)
		}
		for _, file := range copies {
			container, ifname, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".json"), "@")
			r, bad, err := j.Read(attachment.ID{ContainerID: container, IfName: ifname})
			must(t, err)
			if r == nil || len(bad) > 0 {
				t.Errorf("%s: %v, %v", file, r, bad)
				continue
			}
			released.Keeps(t, file, released.Text(t, file), r)
		}
	}
}

func TestWhatTheJournalsOfEveryReleaseOweIsOwed(t *testing.T) {
	for _, state := range released.Files(t, "journal-*") {
		notes, err := filepath.Glob(filepath.Join(state, "owed", "*.json"))
		must(t, err)
		owed, err := journalOf(t, state).Owed()
		must(t, err)
		if len(owed) != len(notes) || len(owed) == 0 {
			t.Fatalf("%s: %d of %d notes", state, len(owed), len(notes))
		}
		for i, r := range owed { // both are in the order of names
			released.Keeps(t, notes[i], released.Text(t, notes[i]), r)
		}
	}
}
