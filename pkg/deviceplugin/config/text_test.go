package config

import (
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
