package cni_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A server of addresses may be away for days: that costs nobody a NIC.
func TestANICWhoseAddressCannotBeFreedIsTheNextPodsAllTheSame(t *testing.T) {
	r := newRig(t, 1)
	before, p, next := hostState(t), r.pod(), r.pod()
	ipam := r.scriptIPAM("scripted", map[string]string{"ADD": oneAddress, "DEL": `[ -e "$(dirname "$0")/up" ] || { ` + ipamError("the server is down") + `; }`})
	config := r.config(rails[0], map[string]any{"ipam": map[string]any{"type": "scripted"}})
	p.add("net1", config)
	stillOwed := func() {
		t.Helper()
		if err := p.tryDel("net1", config); code(err) != 108 || !strings.Contains(err.Error(), rails[0]+": free its address: ") || !strings.Contains(err.Error(), "the server is down") {
			t.Errorf("code %d: %v", code(err), err)
		}
		if b, err := os.ReadFile(filepath.Join(r.stateDir, "attachments", p.id+"@net1.json")); err != nil || !strings.Contains(string(b), `"returned"`) {
			t.Errorf("the record says nothing of the NIC's return: %s, %v", b, err)
		}
	}
	stillOwed()
	r.expectHost(before)
	next.add("net1", config)
	stillOwed()
	next.exec("ip", "link", "show", "net1")
	must(t, os.WriteFile(filepath.Join(ipam.dir, "up"), nil, 0o600))
	p.del("net1", config)
	next.exec("ip", "link", "show", "net1")
	next.del("net1", config)
	r.expectHost(before)
	r.expectClean()
}

func TestWhateverComesWhileTheJournalIsNoFolderSaysSoAndChangesNothing(t *testing.T) {
	r := newRig(t, 2)
	p, second := r.pod(), r.pod()
	p.add("net1", r.config(rails[0]))
	folder := filepath.Join(r.stateDir, "attachments")
	must(t, os.Rename(folder, folder+".away"))
	must(t, os.WriteFile(folder, nil, 0o600))
	before := hostState(t)
	gc := r.config(rails[0])
	gc["cni.dev/valid-attachments"] = nil
	for _, tt := range []struct {
		command, nic string
		of           *pod
		config       map[string]any
	}{
		{"ADD", rails[1], second, r.config(rails[1])},
		{"ADD", rails[0], second, r.config(rails[0])},
		{"ADD", rails[0], p, r.config(rails[0])},
		{"DEL", rails[0], p, r.config(rails[0])},
		{"GC", rails[0], p, gc},
		{"STATUS", rails[0], p, r.config(rails[0])}, // it is in a pod, as far as anybody can tell
		{"STATUS", rails[1], p, r.config(rails[1])},
	} {
		b, err := json.Marshal(tt.config)
		must(t, err)
		if _, err := tt.of.direct(tt.command, "net1", b); code(err) != 107 || !strings.Contains(err.Error(), "attachments is not a folder; remove it") {
			t.Errorf("%s with %s: code %d: %v", tt.command, tt.nic, code(err), err)
		}
	}
	r.expectHost(before)
	p.exec("ip", "link", "show", "net1")
	must(t, os.Remove(folder))
	must(t, os.Rename(folder+".away", folder))
	p.del("net1", r.config(rails[0]))
	r.expectClean()
}
