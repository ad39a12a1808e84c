package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// served are the names of a file's resources that can be served.
func served(file string) string {
	c, err := parse("f", []byte(file))
	if err != nil {
		return "nothing"
	}
	var names []string
	for _, r := range c.Resources {
		names = append(names, strings.TrimPrefix(r.Name, "rdma/"))
	}
	return strings.Join(names, " ")
}

func TestABadEntryCostsItsResourceAtMost(t *testing.T) {
	const good = `{"resourceName": "good", "rdmaHcaMax": 8, "selectors": {"ifNames": ["ib0"]}}`
	for name, test := range map[string]struct{ entry, want string }{
		"an unknown key":             {`{"resourceName": "a", "rdmaHcaMax": 1, "devices": ["x"], "comment": 1}`, "good"},
		"an unknown key in exclude":  {`{"resourceName": "a", "rdmaHcaMax": 1, "selectors": {"isRoCE": true, "exclude": {"ifName": ["x"]}}}`, "good"},
		"a prefix of no domain":      {`{"resourceName": "a", "resourcePrefix": "example_prefix", "rdmaHcaMax": 1, "devices": ["x"]}`, "good"},
		"a negative number":          {`{"resourceName": "a", "rdmaHcaMax": -1, "devices": ["x"]}`, "good"},
		"selectors of nothing":       {`{"resourceName": "a", "rdmaHcaMax": 1}`, "good"},
		"a name that is there":       {`{"resourceName": "good", "rdmaHcaMax": 1, "devices": ["x"]}`, "good"},
		"no object":                  {`null`, "good"},
		"an entry that is no match":  {`{"resourceName": "a", "rdmaHcaMax": 1, "selectors": {"ifNames": ["ib1 ", "ib2"]}}`, "good a"},
		"no entry that is a match":   {`{"resourceName": "a", "rdmaHcaMax": 1, "selectors": {"vendors": ["Mellanox"]}}`, "good a"},
		"such an entry to exclude":   {`{"resourceName": "a", "rdmaHcaMax": 1, "selectors": {"isRoCE": true, "exclude": {"vendors": ["Mellanox"]}}}`, "good"},
		"a device that is no string": {`{"resourceName": "a", "rdmaHcaMax": 1, "devices": [1]}`, "good"},
	} {
		t.Run(name, func(t *testing.T) {
			file := fmt.Sprintf(`{"configList": [%s, %s]}`, good, test.entry)
			if got := served(file); got != test.want {
				t.Errorf("served: %s, want %s", got, test.want)
			}
			if mistakes([]byte(file)) == nil {
				t.Error("it is not a mistake")
			}
			if test.want == "good" {
				if got := served(fmt.Sprintf(`{"configList": [%s]}`, test.entry)); got != "nothing" && name != "a name that is there" {
					t.Errorf("alone: %s", got)
				}
			}
		})
	}
}

// A list without what is wrong in it would match more than was meant, and everything
// if it is empty.
func TestAnEntryThatMatchesNothingIsNotDropped(t *testing.T) {
	for selectors, want := range map[string]Selectors{
		`"vendors": ["15b3", "mellanox"]`:                           {Vendors: []string{"15b3", "mellanox"}},
		`"drivers": [""], "deviceIDs": [null]`:                      {Drivers: []string{""}, DeviceIDs: []string{""}},
		`"ifNames": [null, "ens1 "]`:                                {IfNames: []string{"", "ens1 "}},
		`"pciAddresses": ["0A:00.0", "0000:[:00.0"]`:                {PCIAddresses: []string{"0000:0a:00.0", "0000:[:00.0"}},
		`"linkTypes": ["Ethernet"]`:                                 {LinkTypes: []string{"Ethernet"}},
		`"exclude": {"drivers": ["x"]}, "deviceIDs": ["connectx7"]`: {DeviceIDs: []string{"connectx7"}}, // an exclusion before it changes nothing
	} {
		c, faults := taken(t, `{"configList": [{"resourceName": "a", "rdmaHcaMax": 1, "selectors": {`+selectors+`}}]}`)
		if got := c.Resources[0].Selectors; !reflect.DeepEqual(got, want) || len(c.Faults.LeftOut()) > 0 || faults == "" {
			t.Errorf("%s: %+v, %s", selectors, got, faults)
		}
	}
}

func TestAWrongIntervalCostsTheIntervalOnly(t *testing.T) {
	for _, interval := range []string{"-1", `"60"`, "0.5", "18446744074", "9223372037", "99999999999999999999"} {
		c, err := parse("f", []byte(strings.Replace(guide, "300", interval, 1)))
		if err != nil || c.PeriodicUpdateInterval != time.Minute || len(c.Faults.Mistakes()) != 1 {
			t.Errorf("%s: %+v, %v", interval, c, err)
		}
	}
}

func TestWhatTheOldPluginReadsOtherwiseIsNoted(t *testing.T) {
	for name, test := range map[string]struct {
		entry, note string
		units       int
	}{
		"a key above it":        {`{"resourceName": "a", "rdmaHcaMax": 2, "devices": ["x"]}], "PeriodicUpdateInterval": 60, "x": [`, `key "PeriodicUpdateInterval" in the configuration is read as`, 2},
		"keys in another case":  {`{"ResourceName": "a", "rdmahcamax": 2, "selectors": {"deviceIds": ["1017"]}}`, `key "deviceIds" in selectors is read as "deviceIDs"`, 2},
		"rdmaHcaMax 0":          {`{"resourceName": "a", "rdmaHcaMax": 0, "devices": ["x"]}`, `"rdmaHcaMax" is 0: the resource has no units`, 0},
		"rdmaHcaMax null":       {`{"resourceName": "a", "rdmaHcaMax": null, "devices": ["x"]}`, `"rdmaHcaMax" is missing: the resource has no units`, 0},
		"no rdmaHcaMax":         {`{"resourceName": "a", "devices": ["x"]}`, `"rdmaHcaMax" is missing: the resource has no units`, 0},
		"null values":           {`{"resourceName": "a", "resourcePrefix": null, "rdmaHcaMax": 2, "selectors": null, "devices": ["x"]}`, "", 2},
		"null in a list":        {`{"resourceName": "a", "rdmaHcaMax": 2, "devices": ["x", null]}`, `an entry of "devices" is null, and matches nothing`, 2},
		"the mode of long ago":  {`{"resourceName": "a", "mode": "hca", "rdmaHcaMax": 2, "devices": ["x"]}`, `"mode" "hca" comes from an older plugin`, 2},
		"and in capitals":       {`{"resourceName": "a", "mode": "HCA", "rdmaHcaMax": 2, "devices": ["x"]}`, `"mode" "HCA" comes from an older plugin and is read as "shared"`, 2},
		"null for the interval": {`{"resourceName": "a", "rdmaHcaMax": 2, "devices": ["x"]}], "periodicUpdateInterval": null, "x": [`, `unknown key "x"`, 2},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := parse("f", []byte(`{"configList": [`+test.entry+`]}`))
			if err != nil {
				t.Fatal(err)
			}
			if r := c.Resources[0]; r.Name != "rdma/a" || r.Units != test.units || c.PeriodicUpdateInterval != time.Minute {
				t.Errorf("got %+v", r)
			}
			if !slices.ContainsFunc(append(c.Faults, &Error{}), func(e *Error) bool { return strings.Contains(e.Text, test.note) }) {
				t.Errorf("noted: %v", c.Faults)
			}
		})
	}
}
