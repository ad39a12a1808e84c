package attachment_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
)

// Whatever is in the folder, it is a record that can be written and read again
// as it is, or a bad file that is set aside.
func FuzzJournal(f *testing.F) {
	dir := f.TempDir()
	proc := filepath.Join(dir, "proc")
	must(f, os.MkdirAll(filepath.Join(proc, "sys/kernel/random"), 0o755))
	must(f, os.WriteFile(filepath.Join(proc, "sys/kernel/random/boot_id"), []byte("boot\n"), 0o600))
	j, err := attachment.Open(filepath.Join(dir, "state"), proc)
	must(f, err)
	must(f, j.Write(record("c1")))
	path := filepath.Join(j.RecordsDir(), "c1@net1.json")
	whole, err := os.ReadFile(path)
	must(f, err)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte(`{"version": 1}`))
	f.Add([]byte(`{"version":1,"containerID":"c1","ifName":"net1","host":{"name":"x","addresses":[{"prefix":"10.0.0.1/24"}]},"nic":{"netdev":{"index":1}}}`))
	f.Add([]byte(`{"version":1,"containerID":"c1","ifName":"net1","host":{"name":"x","addresses":[],"routes":[]},"nic":{"netdev":{"index":1}},"rules":[],"config":{ "a": "<" }}`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, content []byte) {
		must(t, os.WriteFile(path, content, 0o600))
		id := attachment.ID{ContainerID: "c1", IfName: "net1"}
		r, bad, _ := j.Read(id)
		if bad != nil {
			must(t, j.SetAside(bad[0]))
			must(t, os.Remove(bad[0].Path))
			if r == nil {
				t.Fatal("the copy does not serve")
			}
			return
		}
		must(t, j.Write(r))
		again, bad, _ := j.Read(id)
		if bad != nil {
			t.Fatal(bad[0])
		}
		// As JSON, where an empty list and none are the same, and white space
		// in the configuration does not count.
		want, err := json.Marshal(r)
		must(t, err)
		got, err := json.Marshal(again)
		must(t, err)
		if !bytes.Equal(got, want) {
			t.Fatalf("%s\nbecame %s", want, got)
		}
	})
}
