package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/claim"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// A hooked is what the hook sees of a node: a pod's claim of two NICs, both of which
// its sandbox s1 has.
type hooked struct {
	*testing.T
	dir     string
	network string // the namespaces in the container's configuration
	state   map[string]any
}

func newHooked(t *testing.T) *hooked {
	t.Helper()
	h := &hooked{T: t, dir: t.TempDir(), network: `{"type": "mount"}, {"type": "network", "path": "/var/run/netns/a"}`}
	h.state = map[string]any{"id": "main", "bundle": h.dir, "annotations": map[string]string{"io.kubernetes.cri.sandbox-id": "s1"}}
	must(t, os.MkdirAll(h.dir+"/proc/sys/kernel/random", 0o755))
	must(t, os.WriteFile(h.dir+"/proc/sys/kernel/random/boot_id", []byte("now\n"), 0o600))
	must(t, os.WriteFile(h.policy(), []byte(`{"stateDir": "`+h.dir+`/state"}`), 0o600))
	c := claim.Claim{UID: "c1", Namespace: "training", Name: "rails", Pod: attachment.Pod{Namespace: "training", Name: "p", UID: "a"}}
	for rail, address := range []string{"0000:08:00.0", "0000:09:00.0"} {
		c.Devices = append(c.Devices, claim.Device{Request: "nics", Name: address, Bus: "pci", Address: address, Rail: rail})
		h.write("s1", address)
	}
	must(t, claim.Write(h.dir+"/state", c))
	other := c
	other.UID, other.Name, other.Pod = "c0", "another", attachment.Pod{Namespace: "training", Name: "o", UID: "0"}
	must(t, claim.Write(h.dir+"/state", other))
	return h
}

func (h *hooked) policy() string { return h.dir + "/policy.json" }

func (h *hooked) journal() *attachment.Journal {
	h.Helper()
	j, err := attachment.Open(h.dir+"/state", h.dir+"/proc")
	must(h.T, err)
	return j
}

func (h *hooked) write(sandbox, address string) {
	h.Helper()
	must(h.T, h.journal().Write(&attachment.Record{
		ContainerID: sandbox, IfName: "rail" + address[6:7], Call: "eth0", Step: attachment.Attached,
		NIC: attachment.NIC{Netdev: netdev.Identity{Index: 7}, Bus: "pci", Address: address}, Host: netdev.State{Name: "ens11np0"},
	}))
}

func (h *hooked) run(args ...string) string {
	h.Helper()
	must(h.T, os.WriteFile(filepath.Join(h.dir, "config.json"), []byte(`{"linux": {"namespaces": [`+h.network+`]}}`), 0o600))
	b, err := json.Marshal(h.state)
	must(h.T, err)
	if err := attached(args, strings.NewReader(string(b)), h.policy(), h.dir+"/proc"); err != nil {
		return err.Error()
	}
	return ""
}

func TestAContainerStartsIfItsSandboxHasAllNICsOfTheClaim(t *testing.T) {
	const lacks = `pod training/p has 1 of the 2 NICs of claim training/rails: 0000:09:00.0 is not in sandbox s1; is "claims" at the end of the node's CNI configuration?`
	lose := func(h *hooked) { must(h.T, h.journal().Remove(attachment.ID{ContainerID: "s1", IfName: "rail9"})) }
	sandboxOf := func(h *hooked, key, value string) { h.state["annotations"] = map[string]string{key: value} }
	for name, tt := range map[string]struct {
		change func(*hooked)
		want   string // a part; "" starts
	}{
		"it has them":      {func(*hooked) {}, ""},
		"CRI-O says which": {func(h *hooked) { sandboxOf(h, "io.kubernetes.cri-o.SandboxID", "s1") }, ""},
		"it lacks one":     {lose, lacks},
		"it lacks both": {func(h *hooked) {
			lose(h)
			must(h.T, h.journal().Remove(attachment.ID{ContainerID: "s1", IfName: "rail8"}))
		},
			"pod training/p has 0 of the 2 NICs of claim training/rails: 0000:08:00.0 is not in sandbox s1"},
		"its policy is wrong": {func(h *hooked) {
			must(h.T, os.WriteFile(h.policy(), []byte(`{"stateDir": "`+h.dir+`/state", "virtuall": 1}`), 0o600))
		}, ""},
		"another sandbox has it":  {func(h *hooked) { lose(h); h.write("s2", "0000:09:00.0") }, lacks},
		"it has the host's":       {func(h *hooked) { lose(h); h.network = `{"type": "mount"}` }, ""},
		"nobody says which it is": {func(h *hooked) { sandboxOf(h, "more", "s1") }, `container "main" has no annotation that names its sandbox; containerd and CRI-O set one`},
		"the claim is gone":       {func(h *hooked) { must(h.T, claim.Remove(h.dir+"/state", "c1")) }, "claim c1 is not prepared on this node"},
		"its file is broken": {func(h *hooked) {
			must(h.T, os.Truncate(h.dir+"/state/claims/a.c1.json", 10))
		}, "a.c1.json: unexpected end of JSON input\nclaim c1 is not prepared on this node"},
		"its folder is anybody's": {func(h *hooked) { must(h.T, os.Chmod(h.dir+"/state/claims", 0o777)) }, "is writable by users other than root"},
		"the journal is none": {func(h *hooked) {
			must(h.T, os.RemoveAll(h.dir+"/proc"))
		}, "boot_id"},
		"its configuration is broken": {func(h *hooked) { h.network = "{" }, `read the configuration of container "main": invalid character`},
		"its configuration is gone":   {func(h *hooked) { h.state["bundle"] = h.dir + "/none" }, `read the configuration of container "main": open ` + "DIR/none/config.json"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHooked(t)
			tt.change(h)
			got, want := h.run("c1"), strings.ReplaceAll(tt.want, "DIR", h.dir)
			if want == "" && got != "" || !strings.Contains(got, want) {
				t.Errorf("%s\nwant %s", got, want)
			}
		})
	}
}

func TestTheHookSaysWhatItWants(t *testing.T) {
	h := newHooked(t)
	for _, args := range [][]string{nil, {"c1", "c2"}} {
		if got := h.run(args...); got != "usage: roce-host-device attached CLAIM-UID, as a hook of an OCI runtime" {
			t.Errorf("%v: %s", args, got)
		}
	}
	for text, want := range map[string]string{
		"":                                "read the container's state: EOF",
		strings.Repeat(" ", 2<<20) + "{}": "read the container's state: EOF", // nobody reads on for ever
	} {
		if err := attached([]string{"c1"}, strings.NewReader(text), h.policy(), h.dir+"/proc"); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
