package cni_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
)

// What is to be done about the ADD's own error must not be hidden by the other.
func TestAFailedADDThatCannotBeUndoneSaysBoth(t *testing.T) {
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	ipam := r.scriptIPAM("scripted", map[string]string{"ADD": oneAddress, "DEL": `[ -e "$(dirname "$0")/up" ] || { ` + ipamError("the server is down") + `; }`})
	config := r.config(rails[0], map[string]any{"ipam": map[string]any{"type": "scripted"}, "sysctls": map[string]any{"net.ipv4.conf.IFNAME.no_such_key": "1"}})
	_, err := p.tryAdd("net1", config)
	failed := (*types.Error)(nil)
	if !errors.As(err, &failed) || failed.Code != 109 || !strings.Contains(failed.Msg, "no_such_key") ||
		!strings.Contains(failed.Details, "; undoing it failed, too: "+rails[0]+": free its address: ") || !strings.Contains(failed.Details, "the server is down") {
		t.Errorf("%+v", failed)
	}
	r.expectHost(before)
	if len(r.records()) != 1 {
		t.Errorf("records %v: nobody will free the address", r.records())
	}
	must(t, os.WriteFile(filepath.Join(ipam.dir, "up"), nil, 0o600))
	p.del("net1", config)
	r.expectClean()
}

func TestGCGoesOnAfterAnErrorAndReportsThemAll(t *testing.T) {
	r := newRig(t, 3)
	before, pods := hostState(t), []*pod{r.pod(), r.pod(), r.pod()}
	ipam := r.scriptIPAM("scripted", map[string]string{"ADD": oneAddress, "GC": ipamError("no garbage today"),
		"DEL": `[ -e "$(dirname "$0")/up" ] || { ` + ipamError("the server is down") + `; }`})
	var config map[string]any
	for i, p := range pods {
		config = r.config(rails[i], map[string]any{"name": "net", "ipam": map[string]any{"type": "scripted"}})
		p.add("net1", config)
	}
	config["cni.dev/valid-attachments"] = []any{map[string]any{"containerID": pods[2].id, "ifname": "net1"}}
	gc, err := json.Marshal(config)
	must(t, err)
	_, err = pods[0].direct("GC", "", gc)
	if code(err) != 108 || strings.Contains(err.Error(), rails[2]) {
		t.Errorf("code %d: %v", code(err), err)
	}
	for _, say := range []string{rails[0] + ": free its address: the server is down", rails[1] + ": free its address: the server is down", "have scripted collect its garbage: no garbage today"} {
		if err != nil && !strings.Contains(err.Error(), say) {
			t.Errorf("does not say %q: %v", say, err)
		}
	}
	pods[2].exec("ip", "link", "show", "net1")
	must(t, os.WriteFile(filepath.Join(ipam.dir, "up"), nil, 0o600))
	for _, p := range pods {
		p.del("net1", config)
	}
	r.expectHost(before)
	r.expectClean()
}
