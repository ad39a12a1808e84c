package cni

import (
	"strings"
	"testing"
)

func TestABadConfigurationIsExplainedInJSONsWords(t *testing.T) {
	for config, want := range map[string]string{
		`{"device":"x","ipam":"whereabouts"}`:               `"ipam" is a string; it must be an object`,
		`{"device":"x","sysctls":["a"]}`:                    `"sysctls" is a list; it must be an object`,
		`{"device":"x","mtu":"9000"}`:                       `"mtu" is a string; it must be a number`,
		`{"device":"x","mtu":1e99}`:                         `"mtu" is a number; it must be a whole number in range`,
		`{"device":7}`:                                      `"device" is a number; it must be a string`,
		`{"device":"x","force":1}`:                          `"force" is a number; it must be true or false`,
		`[]`:                                                `it is a list; it must be an object`,
		`{"device":"x","vlanTrunkConfiguration":true}`:      `unknown key "vlanTrunkConfiguration"; take it out`,
		`{"device":"x","sourceRouting":{"table":254}}`:      `"sourceRouting" has table 254, which the kernel reserves`,
		`{"device":"x","sourceRouting":{"table":255}}`:      `"sourceRouting" has table 255, which the kernel reserves`,
		`{"device":"x","sourceRouting":{"priority":32767}}`: `use one below 32766`,
		`{"device":"x","rdmaMod":"shared"}`:                 `unknown key "rdmaMod"; did you mean "rdmaMode"?`,
	} {
		_, err := parseConfig([]byte(config))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant: %s", config, err, want)
		}
	}
}
