package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// guide is the ConfigMap's config.json in the operator's guide, indentation
// and all.
const guide = `{
        "periodicUpdateInterval": 300,
        "configList": [
        {
         "resourceName": "hca_gpu",
         "rdmaHcaMax": 8,
         "selectors": {
           "ifNames": ["ens12np0", "ens11np0", "ens13np0","ens14np0","ens16np0","ens15np0","ens17np0","ens18np0"]
          }
        }
       ]
}
`

func TestTheGuidesConfigurationIsReadUnchanged(t *testing.T) {
	c, err := parse("config.json", []byte(guide))
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{PeriodicUpdateInterval: 300 * time.Second, Resources: []Resource{{
		Name: "rdma/hca_gpu", At: Position{4, 9}, Mode: Shared, Units: 8, HealthPolicy: HealthPresent,
		CharDevices: []CharDevice{Uverbs, Umad, Issm, RDMACM},
		Selectors:   Selectors{IfNames: []string{"ens12np0", "ens11np0", "ens13np0", "ens14np0", "ens16np0", "ens15np0", "ens17np0", "ens18np0"}},
	}}}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestYAMLMeansTheSameAsJSON(t *testing.T) {
	c, err := parse("config.yaml", []byte(`
# one pool for everything
configList:
- resourceName: hca_gpu
  resourcePrefix: example.com
  rdmaHcaMax: 8
  selectors:
    vendors: ["15b3"]
    deviceIDs: [1021, 101e]   # without quotes these are numbers to YAML
    linkTypes: [Ether]
`))
	if err != nil {
		t.Fatal(err)
	}
	r := c.Resources[0]
	want := Selectors{Vendors: []string{"15b3"}, DeviceIDs: []string{"1021", "101e"}, LinkTypes: []string{"ether"}}
	if r.Name != "example.com/hca_gpu" || !reflect.DeepEqual(r.Selectors, want) {
		t.Errorf("got %+v", r)
	}
	if c.PeriodicUpdateInterval != time.Minute {
		t.Errorf("default interval %s, want 1m", c.PeriodicUpdateInterval)
	}
}

func TestEveryKeyIsRead(t *testing.T) {
	c, err := parse("f", []byte(`{"periodicUpdateInterval": 0, "configList": [{
		"resourceName": "rail", "resourcePrefix": "example.com", "mode": "PerDevice", "unitsPerDevice": 2,
		"charDevices": ["UVERBS"], "env": true, "healthPolicy": "link",
		"selectors": {
			"vendors": ["0x15B3"], "deviceIDs": ["1021"], "drivers": ["mlx5_core"], "ifNames": ["\u0065ns*np0"], "linkTypes": ["Ether"],
			"pciAddresses": ["0000:0A:00.0", "0b:00.*", "mlx5_core.sf.2"], "rdmaDevices": ["mlx5_[0-7]"], "numaNodes": [0, -1], "isRoCE": false,
			"exclude": {"ifNames": ["ens18np0"], "isRoCE": true}
		}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	yes, no := true, false
	want := &Config{Resources: []Resource{{
		Name: "example.com/rail", At: Position{1, 46}, Mode: PerDevice, Units: 2,
		CharDevices: []CharDevice{Uverbs}, Named: true, Env: true, HealthPolicy: HealthLink,
		Selectors: Selectors{
			Vendors: []string{"15b3"}, DeviceIDs: []string{"1021"}, Drivers: []string{"mlx5_core"}, IfNames: []string{"ens*np0"}, LinkTypes: []string{"ether"},
			PCIAddresses: []string{"0000:0a:00.0", "0000:0b:00.*", "mlx5_core.sf.2"}, RDMADevices: []string{"mlx5_[0-7]"}, NUMANodes: []int{0, -1}, IsRoCE: &no,
		},
		Exclude: Selectors{IfNames: []string{"ens18np0"}, IsRoCE: &yes},
	}}}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	for _, all := range []any{want.Resources[0], want.Resources[0].Selectors} {
		for f, value := range reflect.ValueOf(all).Fields() {
			if value.IsZero() {
				t.Errorf("set %s as well", f.Name)
			}
		}
	}
	c, err = parse("f", []byte(`{"configList": [{"resourceName": "rail", "mode": "perDevice", "devices": ["x"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if r := c.Resources[0]; r.Units != 1 || !reflect.DeepEqual(r.CharDevices, []CharDevice{Uverbs, RDMACM}) {
		t.Errorf("defaults of perDevice: %+v", r)
	}
}

func TestDevicesIsTheOldNameOfIfNames(t *testing.T) {
	c, err := parse("f", []byte(`{"periodicUpdateInterval": 0, "configList": [{"resourceName": "a", "rdmaHcaMax": 1, "selectors": {}, "devices": ["ib0", "ib1"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c.Resources[0].Selectors.IfNames, []string{"ib0", "ib1"}) || c.PeriodicUpdateInterval != 0 {
		t.Errorf("got %+v", c)
	}
}

func TestEveryMistakeHasItsPlaceAndARemedy(t *testing.T) {
	one := func(resource string) string { return `{"configList": [` + resource + `]}` }
	for name, test := range map[string]struct{ file, want string }{
		"an unknown key":                  {strings.Replace(guide, `"ifNames"`, `"ifName"`, 1), `f:8:12: unknown key "ifName" in selectors: did you mean "ifNames"?`},
		"an unknown key, far from any":    {one(`{"resourceName": "a", "rdmaHcaMax": 1, "devices": ["x"], "zzzzzzzzzz": 1}`), `f:1:74: unknown key "zzzzzzzzzz" in a resource: use one of `},
		"an unknown key at the top":       {`{"periodicUpdateIntervall": 1, "configlist": []}`, `f:1:2: unknown key "periodicUpdateIntervall" in the configuration: did you mean "periodicUpdateInterval"? (and 1 more`},
		"a key twice":                     {strings.Replace(guide, `"rdmaHcaMax": 8,`, `"rdmaHcaMax": 8, "rdmaHcaMax": 9,`, 1), `f:6:27: key "rdmaHcaMax" appears twice in a resource; keep one`},
		"the last brace forgotten":        {strings.TrimSuffix(guide, "}\n"), `f:11:9: malformed JSON: the file ends before the "}" that closes line 1, column 1; add it`},
		"a bracket forgotten":             {`{"configList": [`, `f:1:17: malformed JSON: the file ends before the "]" that closes line 1, column 16; add it`},
		"a comma too many":                {strings.Replace(guide, `"rdmaHcaMax": 8,`, `"rdmaHcaMax": 8,,`, 1), `f:6:26: malformed JSON: invalid character ','`},
		"a string without end":            {`{"configList`, `f:1:13: malformed JSON: the file ends `},
		"something after the end":         {guide + "}", `f:13:1: malformed JSON: invalid character '}' after top-level value`},
		"malformed YAML":                  {"configList:\n- a: b\n c: d\n", `f:`},
		"a tab in YAML":                   {"configList:\n\t- a\n", `f:2:1: malformed YAML: found character that cannot start any token`},
		"a YAML alias":                    {"configList:\n- &a {}\n- *a\n", `f:3:3: YAML anchors and aliases are not supported`},
		"a second YAML document":          {"configList: []\n---\na: 1\n", `f:2:1: a second YAML document; the configuration must be a single one`},
		"an empty file":                   {" \n", `f:1:1: the file is empty`},
		"a YAML file of comments":         {"# nothing\n", `f:1:1: the file is empty`},
		"a list that does not end":        {`[`, `f:1:2: malformed JSON: the file ends before the "]" that closes line 1, column 1; add it`},
		"something behind an umlaut":      {one(`{"resourceName": "a", "rdmaHcaMax": 1, "devices": ["é"], "z": 1}`), `f:1:74: unknown key "z" in a resource`},
		"another type":                    {`[]`, `f:1:1: the configuration must be an object, not a list`},
		"no configList":                   {`{}`, `f:1:1: "configList" is missing`},
		"an empty configList":             {`{"configList": []}`, `f:1:16: "configList" is empty; it needs at least one resource`},
		"a negative interval":             {`{"periodicUpdateInterval": -1, "configList": [{"resourceName": "a", "rdmaHcaMax": 1, "devices": ["x"]}]}`, `f:1:28: "periodicUpdateInterval" is -1 seconds; use 0 to turn it off`},
		"an interval that is no number":   {strings.Replace(guide, "300", `"300"`, 1), `f:2:35: "periodicUpdateInterval" must be a whole number, not a string`},
		"an interval with a fraction":     {strings.Replace(guide, "300", `0.5`, 1), `f:2:35: "periodicUpdateInterval" must be a whole number, not 0.5`},
		"a fraction in YAML":              {"periodicUpdateInterval: 0.5\nconfigList: [{resourceName: a, rdmaHcaMax: 1, devices: [x]}]", `f:1:25: "periodicUpdateInterval" must be a whole number, not 0.5`},
		"an unknown key in YAML":          {"configList:\n- {resourceName: a, rdmaHcaMax: 1, devices: [x], zz: 1}", `f:2:50: unknown key "zz" in a resource`},
		"no resource name":                {one(`{"rdmaHcaMax": 1, "devices": ["x"]}`), `f:1:17: "resourceName" is missing`},
		"a resource name with a slash":    {strings.Replace(guide, "hca_gpu", "rdma/hca_gpu", 1), `f:5:26: "resourceName" is "rdma/hca_gpu"; use at most 63 letters`},
		"a resource name too long":        {strings.Replace(guide, "hca_gpu", strings.Repeat("a", 64), 1), `f:5:26: "resourceName" is "aaa`},
		"a prefix that is no domain":      {one(`{"resourceName": "a", "resourcePrefix": "Rdma", "rdmaHcaMax": 1, "devices": ["x"]}`), `f:1:57: "resourcePrefix" is "Rdma"; it must be a DNS name`},
		"a prefix of Kubernetes":          {one(`{"resourceName": "a", "resourcePrefix": "kubernetes.io", "rdmaHcaMax": 1, "devices": ["x"]}`), `f:1:57: "resourcePrefix" is "kubernetes.io", which Kubernetes reserves`},
		"an interval that overflows":      {strings.Replace(guide, "300", `18446744074`, 1), `f:2:35: "periodicUpdateInterval" is 18446744074 seconds; use at most 31536000, a year`},
		"rdmaHcaMax of less than nothing": {strings.Replace(guide, `"rdmaHcaMax": 8`, `"rdmaHcaMax": -1`, 1), `f:6:24: "rdmaHcaMax" is -1; it must be between 0 and 100000`},
		"rdmaHcaMax beyond a message":     {strings.Replace(guide, `"rdmaHcaMax": 8`, `"rdmaHcaMax": 1000000`, 1), `f:6:24: "rdmaHcaMax" is 1000000; it must be between 0 and 100000`},
		"one name twice":                  {one(`{"resourceName": "a", "rdmaHcaMax": 1, "devices": ["x"]}, {"resourceName": "a", "resourcePrefix": "rdma", "rdmaHcaMax": 1, "devices": ["y"]}`), `f:1:75: resource rdma/a is already defined on line 1; give one of them another name`},
		"selectors and devices":           {one(`{"resourceName": "a", "rdmaHcaMax": 1, "devices": ["x"], "selectors": {"vendors": ["15b3"]}}`), `f:1:56: "selectors" and "devices" are both set`},
		"neither selectors nor devices":   {one(`{"resourceName": "a", "rdmaHcaMax": 1}`), `f:1:17: nothing selects a device; set "selectors"`},
		"selectors that select nothing":   {one(`{"resourceName": "a", "rdmaHcaMax": 1, "selectors": {"ifNames": []}}`), `f:1:17: nothing selects a device; set "selectors"`},
		"a name where a list belongs":     {one(`{"resourceName": "a", "rdmaHcaMax": 1, "selectors": {"ifNames": "ens1"}}`), `f:1:81: "ifNames" must be a list, not a string`},
		"a number where a string belongs": {one(`{"resourceName": "a", "rdmaHcaMax": 1, "selectors": {"deviceIDs": [1017]}}`), `f:1:84: an entry of "deviceIDs" must be a string, not a number`},
		"a name with a space":             {one(`{"resourceName": "a", "rdmaHcaMax": 1, "selectors": {"ifNames": ["ens1 "]}}`), `f:1:82: an entry of "ifNames" is empty or has spaces around it: "ens1 "`},
		"a vendor that is no PCI ID":      {one(`{"resourceName": "a", "rdmaHcaMax": 1, "selectors": {"vendors": ["mellanox"]}}`), `f:1:82: "vendors" has "mellanox"; a PCI ID has four hexadecimal digits`},
		"an unknown link type":            {one(`{"resourceName": "a", "rdmaHcaMax": 1, "selectors": {"linkTypes": ["ethernet"]}}`), `f:1:84: an entry of "linkTypes" is "ethernet": did you mean "ether"?`},
		"an unknown mode":                 {one(`{"resourceName": "a", "mode": "perdevices", "devices": ["x"]}`), `f:1:47: "mode" is "perdevices": did you mean "perDevice"?`},
		"rdmaHcaMax in mode perDevice":    {one(`{"resourceName": "a", "mode": "perDevice", "rdmaHcaMax": 8, "devices": ["x"]}`), `f:1:60: "rdmaHcaMax" is for "mode": "shared"`},
		"unitsPerDevice in mode shared":   {one(`{"resourceName": "a", "rdmaHcaMax": 8, "unitsPerDevice": 2, "devices": ["x"]}`), `f:1:56: "unitsPerDevice" is for "mode": "perDevice"`},
		"too many units of a device":      {one(`{"resourceName": "a", "mode": "perDevice", "unitsPerDevice": 500, "devices": ["x"]}`), `f:1:78: "unitsPerDevice" is 500; it must be between 1 and 200`},
		"an unknown character device":     {one(`{"resourceName": "a", "rdmaHcaMax": 8, "charDevices": ["uverb"], "devices": ["x"]}`), `f:1:72: an entry of "charDevices" is "uverb": did you mean "uverbs"?`},
		"no character devices":            {one(`{"resourceName": "a", "rdmaHcaMax": 8, "charDevices": [], "devices": ["x"]}`), `f:1:71: "charDevices" is empty; leave it out`},
		"an unknown health policy":        {one(`{"resourceName": "a", "rdmaHcaMax": 8, "healthPolicy": "strict", "devices": ["x"]}`), `f:1:72: "healthPolicy" is "strict": use one of present, link, ignore`},
		"env that is no boolean":          {one(`{"resourceName": "a", "rdmaHcaMax": 8, "env": "yes", "devices": ["x"]}`), `f:1:63: "env" must be true or false, not a string`},
		"a pattern that is none":          {one(`{"resourceName": "a", "rdmaHcaMax": 8, "selectors": {"rdmaDevices": ["mlx5_[0"]}}`), `f:1:86: "rdmaDevices" has "mlx5_[0", which is not a shell pattern`},
		"a NUMA node that is no number":   {one(`{"resourceName": "a", "rdmaHcaMax": 8, "selectors": {"numaNodes": ["0"]}}`), `f:1:84: an entry of "numaNodes" must be a whole number, not a string`},
		"an unknown key in exclude":       {one(`{"resourceName": "a", "rdmaHcaMax": 8, "selectors": {"isRoCE": true, "exclude": {"ifName": ["x"]}}}`), `f:1:98: unknown key "ifName" in "exclude": did you mean "ifNames"?`},
		"nothing but exclude":             {one(`{"resourceName": "a", "rdmaHcaMax": 8, "selectors": {"exclude": {"ifNames": ["x"]}}}`), `f:1:17: nothing selects a device`},
	} {
		t.Run(name, func(t *testing.T) {
			err := mistakes([]byte(test.file))
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
}

// mistakes are those in a file, whether it can be used or not; nil for none.
func mistakes(file []byte) error {
	c, err := parse("f", file)
	if err == nil && len(c.Faults.Mistakes()) > 0 {
		return c.Faults.Mistakes()
	}
	return err
}

func TestOneNameMayHaveTwoPrefixes(t *testing.T) {
	err := mistakes([]byte(`{"configList": [{"resourceName": "a", "rdmaHcaMax": 1, "devices": ["x"]}, {"resourceName": "a", "resourcePrefix": "b", "rdmaHcaMax": 1, "devices": ["y"]}]}`))
	if err != nil {
		t.Error(err)
	}
}

func TestAllMistakesAreFoundAtOnceInTheOrderOfTheFile(t *testing.T) {
	err := mistakes([]byte(`{"periodicUpdateInterval": -5,
"configList": [{"resourceName": "a!", "rdmaHcaMax": -1, "devices": ["x"]}]}`))
	var all Errors
	if !errors.As(err, &all) || len(all) != 3 {
		t.Fatalf("got %v", err)
	}
	for i := 1; i < len(all); i++ {
		if all[i-1].At.Line > all[i].At.Line {
			t.Errorf("%v stands before %v", all[i-1], all[i])
		}
	}
}

func TestAMissingFileSaysWhereItShouldBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	if _, _, err := Load(file); err == nil || !strings.Contains(err.Error(), file+": no such configuration file; mount the ConfigMap there") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(file, []byte(guide), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, text, err := Load(file); err != nil || text != guide || len(c.Resources) != 1 {
		t.Errorf("%+v, %q, %v", c, text, err)
	}
	if _, _, err := Load(filepath.Dir(file)); err == nil || !strings.HasPrefix(err.Error(), "read the configuration: ") {
		t.Errorf("a folder: %v", err)
	}
}

func FuzzParseNeverPanics(f *testing.F) {
	f.Add([]byte(guide))
	f.Add([]byte("configList:\n- {a: [b, *c]}\n"))
	f.Add([]byte(`{"a":}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := parse("f", data); (c == nil) == (err == nil) {
			t.Errorf("config %v, error %v", c, err)
		}
	})
}
