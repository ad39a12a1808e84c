package config

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestANameIsAStringWithoutSpaceAroundIt(t *testing.T) {
	for literal, want := range map[string]string{
		`"a"`: "", `" a"`: `"resourceName" is empty or has spaces around it: " a"`, `"a "`: `is empty or has spaces around it: "a "`, `""`: `is empty or has spaces around it: ""`,
		`7`: `"resourceName" must be a string, not a number`, `["a"]`: `must be a string, not a list`, `{}`: `must be a string, not an object`, `true`: `must be a string, not true or false`,
	} {
		err := mistakes([]byte(`{"configList": [{"resourceName": ` + literal + `, "rdmaHcaMax": 1, "devices": ["x"]}]}`))
		if (err == nil) != (want == "") || err != nil && (!strings.HasPrefix(err.Error(), "f:1:34: ") || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %s", literal, err, want)
		}
	}
	// In YAML a word needs no quotes, and may look like a number.
	c, err := parse("f", []byte("configList: [{resourceName: 7, rdmaHcaMax: 1, devices: [x]}]"))
	if err != nil || len(c.Resources) != 1 || c.Resources[0].Name != "rdma/7" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestNotesCostNothingAndMistakesSomething(t *testing.T) {
	all := Errors{{Text: "note", Cost: Nothing}, {Text: "value", Cost: Ignored}, {Text: "resource", Cost: LeftOut}}
	texts := func(e Errors) string {
		var t []string
		for _, one := range e {
			t = append(t, one.Text)
		}
		return strings.Join(t, " ")
	}
	for what, got := range map[string]string{"note": texts(all.Notes()), "value resource": texts(all.Mistakes()), "resource": texts(all.LeftOut())} {
		if got != what {
			t.Errorf("%q, want %q", got, what)
		}
	}
	if texts(all) != "note value resource" {
		t.Errorf("changed: %q", texts(all))
	}
	for want, e := range map[string]Errors{"no errors": nil, "f:1:2: x": {{"f", Position{1, 2}, "x", Nothing}}} {
		if e.Error() != want {
			t.Errorf("%q, want %q", e.Error(), want)
		}
	}
}

// What is said of a resource as a whole is known last, and stands where it begins.
func TestMistakesAreInTheOrderOfTheFileWheneverTheyAreFound(t *testing.T) {
	err := mistakes([]byte(`{"configList": [{"resourceName": "a", "mode": "perDevice", "rdmaHcaMax": 8}]}`))
	var all Errors
	if !errors.As(err, &all) || len(all) != 2 || !strings.HasPrefix(all[0].Error(), "f:1:17: nothing selects a device") || !strings.Contains(all[1].Error(), `"rdmaHcaMax" is for "mode": "shared"`) {
		t.Errorf("%v", err)
	}
}

func TestAnIDAndAPrefixAreTakenAsFarAsTheyGo(t *testing.T) {
	label := strings.Repeat("a", 60)
	for resource, want := range map[string]string{
		`"selectors": {"vendors": ["15b3", "15B3", "0x15b3", "0X15B3"]}`: "", `"selectors": {"deviceIDs": ["1021"]}`: "",
		`"selectors": {"vendors": ["15bg"]}`: `"vendors" has "15bg"; a PCI ID has four hexadecimal digits`, `"selectors": {"vendors": ["15b"]}`: `"vendors" has "15b"`, `"selectors": {"vendors": ["15b30"]}`: `"vendors" has "15b30"`,
		`"devices": ["x"], "resourcePrefix": "` + strings.Repeat(label+".", 4) + `"`:                           "it must be a DNS name",
		`"devices": ["x"], "resourcePrefix": "` + strings.Repeat(label+".", 3) + strings.Repeat("b", 61) + `"`: "", // 244 characters
		`"devices": ["x"], "resourcePrefix": "` + strings.Repeat(label+".", 3) + strings.Repeat("b", 62) + `"`: `"resourcePrefix" is too long; use at most 244 characters`,
		`"devices": ["x"], "resourcePrefix": "` + strings.Repeat("a", 63) + `"`:                                "",
		`"devices": ["x"], "resourcePrefix": "` + strings.Repeat("a", 64) + `"`:                                "it must be a DNS name",
		`"devices": ["x"], "resourcePrefix": "requests.example.com"`:                                           "which Kubernetes reserves",
		`"devices": ["x"], "resourcePrefix": "a.kubernetes.io"`:                                                "which Kubernetes reserves",
		`"devices": ["x"], "resourcePrefix": "notkubernetes.io"`:                                               "",
	} {
		err := mistakes([]byte(`{"configList": [{"resourceName": "a", "rdmaHcaMax": 1, ` + resource + `}]}`))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", resource, err, want)
		}
	}
}

// taken is what a file says, with what is wrong with it.
func taken(t *testing.T, file string) (c *Config, faults string) {
	t.Helper()
	c, err := parse("f", []byte(file))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	var all []string
	for _, f := range c.Faults {
		all = append(all, f.Error())
	}
	return c, strings.Join(all, "\n")
}

func TestOfTwoTheFirstHolds(t *testing.T) {
	c, faults := taken(t, `{"periodicUpdateInterval": 5, "periodicUpdateInterval": 6, "configList": [
{"resourceName": "a", "rdmaHcaMax": 1, "devices": ["x"]},
{"resourceName": "a", "rdmaHcaMax": 2, "devices": ["y"]}, {"resourceName": "b", "rdmaHcaMax": 3, "devices": ["z"]}]}`)
	if c.PeriodicUpdateInterval != 5*time.Second || len(c.Resources) != 2 || c.Resources[0].Units != 1 || c.Resources[1].Units != 3 || len(c.Faults.LeftOut()) != 1 {
		t.Errorf("%+v", c)
	}
	if want := `f:1:31: key "periodicUpdateInterval" appears twice in the configuration; keep one
f:3:1: resource rdma/a is already defined on line 2; give one of them another name`; faults != want {
		t.Errorf("%s\nwant %s", faults, want)
	}
}

func TestNullIsTheSameAsNothing(t *testing.T) {
	const bare = `{resourceName: a, devices: [x]`
	want, _ := taken(t, "configList: ["+bare+"}]")
	for _, null := range []string{"null", "~", ""} {
		for _, key := range []string{"resourcePrefix", "mode", "rdmaHcaMax", "unitsPerDevice", "selectors", "charDevices", "env", "healthPolicy"} {
			got, _ := taken(t, "periodicUpdateInterval: "+null+"\nconfigList: ["+bare+", "+key+": "+null+"}]")
			r := got.Resources[0]
			if r.At = want.Resources[0].At; !reflect.DeepEqual(r, want.Resources[0]) || got.PeriodicUpdateInterval != want.PeriodicUpdateInterval {
				t.Errorf("%s: %s: %+v", key, null, got)
			}
		}
	}
}

func TestADeviceByItselfHasWhatTheFileNamesOrTheDefaultsOfItsMode(t *testing.T) {
	for _, tt := range []struct{ r, want Resource }{
		{Resource{Name: "a", Mode: Shared, Units: 8, CharDevices: defaultCharDevices(Shared), Env: true},
			Resource{Name: "a", Mode: PerDevice, Units: 1, CharDevices: []CharDevice{Uverbs, RDMACM}, Env: true}},
		{Resource{Mode: Shared, Units: 8, CharDevices: []CharDevice{Umad}, Named: true}, Resource{Mode: PerDevice, Units: 1, CharDevices: []CharDevice{Umad}, Named: true}},
	} {
		before := slices.Clone(tt.r.CharDevices)
		if got := tt.r.Single(); !reflect.DeepEqual(got, tt.want) || !slices.Equal(tt.r.CharDevices, before) {
			t.Errorf("%+v, want %+v", got, tt.want)
		}
	}
}

func TestAnExclusionHasTheKeysOfASelection(t *testing.T) {
	const keys = `"vendors": ["15b3"], "deviceIDs": ["1021"], "drivers": ["a"], "ifNames": ["b"], "linkTypes": ["ether"], "pciAddresses": ["0b:00.0"], "rdmaDevices": ["c"], "numaNodes": [0, -1], "isRoCE": false`
	c, faults := taken(t, `{"configList": [{"resourceName": "a", "rdmaHcaMax": 1, "selectors": {`+keys+`, "exclude": {`+keys+`}}}]}`)
	if r := c.Resources[0]; !reflect.DeepEqual(r.Selectors, r.Exclude) || !slices.Equal(r.Exclude.NUMANodes, []int{0, -1}) || faults != "" {
		t.Errorf("%+v, %s", r, faults)
	}
}

func TestTruthHasAnyCaseInYAML(t *testing.T) {
	for literal, want := range map[string]bool{"true": true, "True": true, "TRUE": true, "false": false, "False": false, "FALSE": false} {
		c, faults := taken(t, "configList: [{resourceName: a, rdmaHcaMax: 1, devices: [x], env: "+literal+"}]")
		if c.Resources[0].Env != want || faults != "" {
			t.Errorf("%s: %+v, %s", literal, c.Resources[0], faults)
		}
	}
}
