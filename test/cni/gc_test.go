package cni_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGCReleasesAllThatIsNotValidAndNothingElse(t *testing.T) {
	r := newRig(t, 5)
	before, p := hostState(t), r.pod()
	configs := map[string]map[string]any{}
	for i, ifName := range []string{"net1", "net2", "net3", "net4", "net5"} {
		configs[ifName] = r.config(rails[i], map[string]any{"name": "roce-net1", "ipam": nil})
		p.add(ifName, configs[ifName])
	}
	valid := []any{
		map[string]any{"containerID": p.id, "ifname": "net2"},
		map[string]any{"containerID": p.id, "ifname": "net4"},
		map[string]any{"containerID": p.id + "x", "ifname": "net1"}, // another container's
	}
	r.gc(r.config(rails[0], map[string]any{"name": "roce-net1", "ipam": nil, "cni.dev/valid-attachments": valid}))
	for ifName, kept := range map[string]bool{"net1": false, "net2": true, "net3": false, "net4": true, "net5": false} {
		if is := strings.Contains(p.exec("ip", "-o", "link"), " "+ifName+map[bool]string{false: "@", true: ":"}[inLab()]); is != kept {
			t.Errorf("%s is in the pod: %v", ifName, is)
		}
	}
	p.del("net2", configs["net2"])
	p.del("net4", configs["net4"])
	r.expectHost(before)
	r.expectClean()
}

// A crash in the middle of the first write leaves such files, and nothing else
// would ever remove them.
func TestGCRemovesWhatWasNeverWrittenToTheEnd(t *testing.T) {
	r := newRig(t, 1)
	p, config := r.pod(), r.config(rails[0])
	p.add("net1", config)
	record := r.records()[0]
	for _, path := range []string{
		filepath.Join(filepath.Dir(record), "c1@net1.json.new"), filepath.Join(filepath.Dir(record), "c2@net1.json.new"),
		filepath.Join(r.stateDir, "copies", "c3@net1.json.new"), record + ".new", // of an update
	} {
		must(t, os.WriteFile(path, []byte("{"), 0o600))
	}
	r.gc(r.config(rails[0], map[string]any{"cni.dev/valid-attachments": []any{map[string]any{"containerID": p.id, "ifname": "net1"}}}))
	left, err := filepath.Glob(filepath.Join(r.stateDir, "*", "c*@net1.json.new"))
	must(t, err)
	if len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	must(t, p.check("net1", config))
	p.del("net1", config)
	r.expectClean()
}

func TestCHECKNeedsTheResultOfTheADD(t *testing.T) {
	r := newRig(t, 1)
	p, config := r.pod(), r.config(rails[0])
	result := p.add("net1", config)
	check := func(previous any) error {
		c := r.config(rails[0])
		if previous != nil {
			c["prevResult"] = previous
		}
		b, err := json.Marshal(c)
		must(t, err)
		_, err = p.direct("CHECK", "net1", b)
		return err
	}
	must(t, check(result))
	if err := check(nil); code(err) != 7 || !strings.Contains(err.Error(), "CHECK without prevResult") {
		t.Errorf("code %d: %v", code(err), err)
	}
	result.Interfaces[0].Name = "net7"
	if err := check(result); code(err) != 111 || !strings.Contains(err.Error(), "prevResult has no interface net1 in "+p.netns) {
		t.Errorf("code %d: %v", code(err), err)
	}
	p.del("net1", config)
}
