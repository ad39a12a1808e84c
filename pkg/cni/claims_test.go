package cni

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestTheKeysOfAClaimAreCheckedAsAnADDDoes(t *testing.T) {
	for keys, want := range map[string]string{
		`{}`: "", `{"mtu": 9000, "sourceRouting": true, "ifName": "roce", "ipam": {"type": "whereabouts"}}`: "",
		`{"mtuu": 9000}`:         `unknown key "mtuu"`,
		`{"mtu": "9000"}`:        `"mtu" is a string`,
		`{"device": "ens12np0"}`: `"device" is set`,
		`{"ifName": "a/b"}`:      "cannot be its name in the pod",
		`{"keepAddresses": true, "ipam": {"type": "static"}}`: `"keepAddresses" is set, and "ipam"`,
		`[]`: "cannot unmarshal", `null`: "no object",
	} {
		err := CheckNetwork(json.RawMessage(keys))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", keys, err, want)
		}
	}
}
