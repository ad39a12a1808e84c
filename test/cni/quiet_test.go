package cni_test

import (
	"bytes"
	"encoding/json"
	"testing"
)

// Whatever is logged ends up in a runtime's log, where a warning has to mean
// something.
func TestWhatGoesWellSaysNothing(t *testing.T) {
	if inLab() {
		t.Skip("software RDMA devices come and go there, and that is told")
	}
	r := newRig(t, 1)
	run(t, "ip", "link", "property", "del", "dev", rails[0], "altname", "alt-"+rails[0]) // kernels before 6.6 leave it behind
	before, p := hostState(t), r.pod()
	config := r.config(rails[0], map[string]any{"mtu": 4200, "sourceRouting": true})
	var result json.RawMessage
	for _, command := range []string{"STATUS", "ADD", "CHECK", "STATUS", "DEL", "DEL", "GC"} {
		config["prevResult"], config["cni.dev/valid-attachments"] = result, nil
		if result == nil || command == "STATUS" || command == "GC" {
			delete(config, "prevResult")
		}
		stdin, err := json.Marshal(config)
		must(t, err)
		cmd := p.command("roce-host-device", command, "net1", stdin)
		var said bytes.Buffer
		cmd.Stderr = &said
		out, err := cmd.Output()
		if err != nil || said.Len() > 0 || len(out) > 0 != (command == "ADD") {
			t.Errorf("%s: %v, %q, and on standard error %q", command, err, out, &said)
		}
		if command == "ADD" {
			result = out
		}
	}
	r.expectHost(before)
	r.expectClean()
}
