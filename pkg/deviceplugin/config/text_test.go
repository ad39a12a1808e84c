package config

import (
	"errors"
	"strings"
	"testing"
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
		`"selectors": {"vendors": ["15b3", "15B3", "0x15b3"]}`: "", `"selectors": {"deviceIDs": ["1021"]}`: "",
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
