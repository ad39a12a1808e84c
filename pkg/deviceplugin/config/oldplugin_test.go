package config

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// The verdicts in testdata/old-plugin.json are those of the code of
// k8s-rdma-shared-dev-plugin itself, on the configurations of its own tests and
// on more. To have them again:
//
//	cd test/peers/shared-device-plugin
//	go run ./oracle ../../../pkg/deviceplugin/config/testdata/old-plugin.json
func TestWhatTheOldPluginTakesIsServed(t *testing.T) {
	text, err := os.ReadFile("testdata/old-plugin.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ Name, File, Refused string }
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	// One of two resources is left out: it cannot be served, or a typo would go
	// unnoticed.
	leftOut := map[string]string{
		"the example of its README":       `"resourcePrefix" is "example_prefix"`, // no kubelet takes the name
		"more units than a message holds": `"rdmaHcaMax" is 1000000`,
		"a comment":                       `unknown key "_comment"`,
		"a key twice":                     `key "rdmaHcaMax" appears twice`,
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			got, err := parse("f", []byte(c.File))
			if c.Refused != "" {
				return // nobody has what it refuses
			}
			if err != nil {
				t.Fatalf("nothing is served: %v", err)
			}
			left := got.Faults.LeftOut()
			want, expected := leftOut[c.Name]
			switch {
			case !expected && len(left) > 0:
				t.Errorf("left out: %v", left)
			case expected && (len(left) != 1 || !strings.Contains(left[0].Text, want)):
				t.Errorf("left out: %v, want %s", left, want)
			}
			if resources := strings.Count(strings.ToLower(c.File), `"resourcename"`); len(got.Resources) != resources-len(left) {
				t.Errorf("%d of %d resources are served", len(got.Resources), resources)
			}
		})
	}
}
