package policy_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/policy"
	"github.com/roce-k8s/roce-k8s/pkg/trusted"
	"github.com/roce-k8s/roce-k8s/test/fixtures/document"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func parse(t *testing.T, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse("policy.json", []byte(text))
	must(t, err)
	return p
}

// rail is a request that asks for nothing but a NIC.
func rail() policy.Request {
	return policy.Request{
		Namespace: "tenant-a",
		NIC:       policy.NIC{Names: []string{"ens12np0", "rail1"}, Address: "0000:08:00.0", Driver: "mlx5_core"},
		IPAM:      "whereabouts",
	}
}

func TestWithoutAFileTheDefaultsHold(t *testing.T) {
	p, err := policy.Load(filepath.Join(t.TempDir(), "none.json"))
	must(t, err)
	if p.StateDir != attachment.DefaultDir || p.DeviceInfoDir != "/var/run/k8s.cni.cncf.io/devinfo" {
		t.Errorf("folders %s, %s", p.StateDir, p.DeviceInfoDir)
	}
	must(t, p.Check(rail()))
	r := policy.Request{
		NIC: policy.NIC{Names: []string{"veth0"}, Virtual: true}, Force: true, Sysctls: []string{"net.ipv4.conf.IFNAME.arp_notify"},
		Table: 252, Priority: 32765, MTU: 65535,
	}
	must(t, p.Check(r))
	r.Table = 254
	want := `the node's policy does not allow table 254: the default of "tables" allows 1 to 4294967295, but never 253 to 255, the kernel's own; there is no /etc/cni/roce-host-device.json`
	if err := p.Check(r); err == nil || err.Error() != want {
		t.Errorf("%v\nwant\n%s", err, want)
	}
}

func TestTheFoldersAreThoseOfTheFile(t *testing.T) {
	if p := parse(t, `{"deviceInfoDir": "/run/info", "stateDir": "/srv/state"}`); p.StateDir != "/srv/state" || p.DeviceInfoDir != "/run/info" {
		t.Errorf("%s and %s", p.StateDir, p.DeviceInfoDir)
	}
	if p := parse(t, `{"deviceInfoDir": "/run/info"}`); p.StateDir != policy.DefaultStateDir || p.DeviceInfoDir != "/run/info" {
		t.Errorf("%s and %s", p.StateDir, p.DeviceInfoDir)
	}
}

func TestARequestIsAllowedOrDeniedByARuleOfTheFile(t *testing.T) {
	for _, tt := range []struct {
		policy string
		change func(r *policy.Request)
		want   string // of the message; "" is allowed
	}{
		{`{}`, func(r *policy.Request) {}, ""},

		// NICs: one of the entries, and all that it says.
		{`{"nics": [{"names": ["ens*"]}]}`, func(r *policy.Request) {}, ""},
		{`{"nics": [{"names": ["ens9*"]}, {"names": ["rail?"]}]}`, func(r *policy.Request) {}, ""}, // the alternative name
		{`{"nics": [{"pciAddresses": ["08:00.*"]}]}`, func(r *policy.Request) {}, ""},
		{`{"nics": [{"pciAddresses": ["0000:0A:00.0"]}]}`, func(r *policy.Request) { r.NIC.Address = "0000:0a:00.0" }, ""},
		{`{"nics": [{"drivers": ["bnxt_en", "mlx5_core"]}]}`, func(r *policy.Request) {}, ""},
		{`{"nics": [{"names": ["ens*"], "pciAddresses": ["09:*"]}]}`, func(r *policy.Request) {}, `"nics" allows names ens* with PCI addresses 0000:09:*; see`},
		{`{"nics": [{"names": ["eth*"], "pciAddresses": ["08:*"], "drivers": ["mlx5_core"]}]}`, func(r *policy.Request) {}, `"nics" allows names eth* with PCI addresses 0000:08:* with drivers mlx5_core; see`},
		{`{"nics": [{"names": ["ens12np0"], "drivers": ["bnxt_en"]}]}`, func(r *policy.Request) {},
			`does not allow NIC "ens12np0" (0000:08:00.0, mlx5_core): "nics" allows names ens12np0 with drivers bnxt_en; see policy.json`},
		{`{"nics": [{"names": ["ens9*", "a", "b", "c", "d", "e", "f", "g"]}, {"pciAddresses": ["09:*"]}]}`, func(r *policy.Request) {},
			`"nics" allows names ens9*, a, b, c, d, e and 2 more; or PCI addresses 0000:09:*; see`},
		{`{"nics": [{"drivers": ["mlx5_*"]}]}`, func(r *policy.Request) {}, `"nics" allows drivers mlx5_*`}, // no pattern
		{`{"nics": [{"pciAddresses": ["MLX5_core.sf.2"]}]}`, func(r *policy.Request) { r.NIC.Address = "mlx5_core.sf.2" }, ""},
		{`{"nics": []}`, func(r *policy.Request) {}, `"nics" allows no NIC`},
		{`{"nics": [{"pciAddresses": ["*"]}]}`, func(r *policy.Request) { r.NIC.Address = "" }, `does not allow NIC "ens12np0" (mlx5_core)`},
		{`{"nics": [{"names": ["*"]}]}`, func(r *policy.Request) { r.NIC.Names = nil }, `does not allow NIC`},

		{`{"virtual": false}`, func(r *policy.Request) {}, ""},
		{`{"virtual": false}`, func(r *policy.Request) { r.NIC.Virtual = true }, `does not allow the virtual link "ens12np0" (0000:08:00.0, mlx5_core): "virtual" allows hardware only`},
		{`{"force": false}`, func(r *policy.Request) {}, ""},
		{`{"force": false}`, func(r *policy.Request) { r.Force = true }, `does not allow "force": "force" allows no NIC that the host needs`},

		{`{"ipam": ["host-local", "whereabouts"]}`, func(r *policy.Request) {}, ""},
		{`{"ipam": ["host-local", "static"]}`, func(r *policy.Request) {}, `does not allow IPAM plugin "whereabouts": "ipam" allows "host-local", "static"`},
		{`{"ipam": ["whereabouts"]}`, func(r *policy.Request) { r.IPAM = "" }, `does not allow a network without an IPAM plugin: "ipam" allows "whereabouts"`},
		{`{"ipam": ["static"]}`, func(r *policy.Request) { r.IPAM = strings.Repeat("x", 64) }, `IPAM plugin "` + strings.Repeat("x", 64) + `": `},
		{`{"ipam": ["static"]}`, func(r *policy.Request) { r.IPAM = strings.Repeat("x", 65) }, `IPAM plugin "` + strings.Repeat("x", 64) + `"…: `},
		{`{"ipam": [""]}`, func(r *policy.Request) { r.IPAM = "" }, ""},
		{`{"ipam": []}`, func(r *policy.Request) { r.IPAM = "" }, `"ipam" allows none`},

		{`{"sysctls": []}`, func(r *policy.Request) {}, ""},
		{`{"sysctls": []}`, func(r *policy.Request) { r.Sysctls = []string{"net.ipv4.conf.IFNAME.forwarding"} }, `sysctl "net.ipv4.conf.IFNAME.forwarding": "sysctls" allows none`},
		{`{"sysctls": ["net.ipv4.conf.IFNAME.arp_*", "net/ipv6/conf/IFNAME/*"]}`, func(r *policy.Request) {
			r.Sysctls = []string{"net/ipv4/conf/IFNAME/arp_notify", "net.ipv6.conf.IFNAME.disable_ipv6"}
		}, ""},
		{`{"sysctls": ["net.*.conf.*.arp_*"]}`, func(r *policy.Request) {
			r.Sysctls = []string{"net.ipv4.conf.IFNAME.arp_notify", "net.ipv4.conf.IFNAME.rp_filter"}
		}, `sysctl "net.ipv4.conf.IFNAME.rp_filter": "sysctls" allows net.*.conf.*.arp_*`},
		{`{"sysctls": ["net.*.conf.*.arp_*"]}`, func(r *policy.Request) { r.Sysctls = []string{"net.ipv4.conf.IFNAME.x.arp_notify"} }, "does not allow sysctl"},

		{`{"tables": {"max": 1000}}`, func(r *policy.Request) { r.Table = 1000 }, ""},
		{`{"tables": {"max": 1000}}`, func(r *policy.Request) { r.Table = 1001 }, `does not allow table 1001: "tables" allows 1 to 1000; see`},
		{`{"tables": {"max": 1000}}`, func(r *policy.Request) { r.Table = 255 }, `"tables" allows 1 to 1000, but never 253 to 255, the kernel's own`},
		{`{"tables": {"min": 100}}`, func(r *policy.Request) { r.Table = 99 }, `"tables" allows 100 to 4294967295`},
		{`{"tables": {"min": 100}}`, func(r *policy.Request) { r.Table = -1 }, `does not allow table -1`},
		{`{"tables": {"min": 100}}`, func(r *policy.Request) { r.Table = 0 }, ""},
		{`{}`, func(r *policy.Request) { r.Priority = 32766 }, `does not allow priority 32766: the default of "priorities" allows 1 to 32765; see policy.json`},
		{`{"priorities": {"min": 1, "max": 40000}}`, func(r *policy.Request) { r.Priority = 32767 }, ""},
		{`{"mtu": {"max": 4200}}`, func(r *policy.Request) { r.MTU = 9000 }, `does not allow MTU 9000: "mtu" allows 68 to 4200`},
		{`{"mtu": {"max": 4200}}`, func(r *policy.Request) { r.MTU = 4200 }, ""},
		{`{"mtu": {"min": 68, "max": 65535}, "tables": {"min": 1, "max": 4294967295}, "priorities": {"min": 1, "max": 4294967295}}`, func(r *policy.Request) {}, ""},
		{`{"mtu": {"min": 1500, "max": 1500}}`, func(r *policy.Request) { r.MTU = 1500 }, ""},
		{`{"priorities": {"min": 5}}`, func(r *policy.Request) { r.Priority = 32766 }, `does not allow priority 32766: "priorities" allows 5 to 32765`},
	} {
		r := rail()
		tt.change(&r)
		err := parse(t, tt.policy).Check(r)
		var denied *policy.Denied
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.policy, err)
		case tt.want != "" && (!errors.As(err, &denied) || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v\nwant %s", tt.policy, err, tt.want)
		}
	}
}

func TestANamespaceNarrowsWhatHoldsForAll(t *testing.T) {
	const all = `"nics": [{"names": ["ens*"]}], "mtu": {"max": 4200}, "namespaces": `
	for _, tt := range []struct {
		namespaces, namespace string
		want                  string // "" is allowed
	}{
		{`{}`, "tenant-a", ""},
		{`{"tenant-b": {"nics": []}}`, "tenant-a", ""}, // not listed: the rules for all
		{`{"tenant-a": {"nics": []}}`, "tenant-a", `"nics" of namespace "tenant-a" allows no NIC`},
		{`{"tenant-a": {}, "*": {"nics": []}}`, "tenant-a", ""},
		{`{"tenant-a": {}, "*": {"nics": []}}`, "tenant-c", `"nics" of namespace "*" allows no NIC`},
		{`{"tenant-a": {}, "*": {"nics": []}}`, "", `"nics" of namespace "*" allows no NIC`},
		{`{"tenant-*": {"nics": []}, "?": {"nics": []}}`, "", ""}, // an unknown namespace is "*"'s alone

		// The exact name comes before patterns, patterns before "*", and of
		// several patterns each must allow it.
		{`{"*": {"nics": []}, "tenant-*": {"nics": []}, "tenant-a": {"mtu": {"min": 1500}}}`, "tenant-a", ""},
		{`{"*": {"nics": []}, "tenant-*": {}, "*-a": {}}`, "tenant-a", ""},
		{`{"tenant-*": {}, "*-a": {"nics": []}}`, "tenant-a", `"nics" of namespace "*-a"`},
		{`{"*-a": {"nics": []}, "tenant-*": {}}`, "tenant-a", `"nics" of namespace "*-a"`},

		// What applies to all applies to it, too.
		{`{"tenant-a": {"nics": [{"names": ["*"]}]}}`, "tenant-a", ""},
		{`{"tenant-a": {"mtu": {"max": 1500}}}`, "tenant-a", `does not allow MTU 4000: "mtu" of namespace "tenant-a" allows 68 to 1500`},

		// Names that no namespace can have, should a runtime pass one.
		{`{"tenant-*": {}, "*": {"nics": []}}`, "tenant-a/../x", `of namespace "*"`},
		{`{"[a-z]*": {}, "*": {"nics": []}}`, "Tenant", `of namespace "*"`},
	} {
		p := parse(t, "{"+all+tt.namespaces+"}")
		r := rail()
		r.Namespace, r.MTU = tt.namespace, 4000
		err := p.Check(r)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s for %q: %v\nwant %s", tt.namespaces, tt.namespace, err, tt.want)
		}
		r.NIC.Names = []string{"eth0"}
		if err := p.Check(r); err == nil || !strings.Contains(err.Error(), `: "nics" allows names ens*`) {
			t.Errorf("%s for %q, a NIC that is nobody's: %v", tt.namespaces, tt.namespace, err)
		}
	}
}

func TestAMessageStaysShortAndOnOneLineWhateverIsAskedFor(t *testing.T) {
	p := parse(t, `{"nics": [{"names": ["ens1"]}], "ipam": ["static"], "sysctls": [], "namespaces": {"b": {"nics": []}}}`)
	q := parse(t, `{"ipam": ["static"]}`)
	s := parse(t, `{"sysctls": []}`)
	long := strings.Repeat("x\n", 100_000)
	for _, err := range []error{
		p.Check(policy.Request{Namespace: long, NIC: policy.NIC{Names: []string{long}}}),
		q.Check(policy.Request{IPAM: long}),
		s.Check(policy.Request{Sysctls: []string{long}}),
	} {
		if err == nil || len(err.Error()) > 400 || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.500v", err)
		}
	}
}

func TestAllMistakesAreFoundWithTheirPlaceAndWhatToDo(t *testing.T) {
	for text, want := range map[string][]string{
		"":                        {"1:1: the file is empty; write {} for the defaults"},
		" \n":                     {"1:1: the file is empty"},
		"[]":                      {"1:1: the policy must be an object, not a list"},
		"null":                    {"1:1: the policy must be an object, not null"},
		"{\n  \"force\": fals\n}": {"2:16: malformed JSON here or just before: invalid character"},
		"{\n  \"nics\": [":        {"2:11: malformed JSON here or just before: unexpected end of JSON input"},
		"{} {}":                   {"1:4: malformed JSON here or just before: invalid character '{' after top-level value"},
		"{\n\t\"nisc\": [],\n\t\"stateDri\": \"\",\n\t\"x\": 1}": {
			`2:2: unknown key "nisc" in the policy: did you mean "nics"?`,
			`3:2: unknown key "stateDri" in the policy: did you mean "stateDir"?`,
			`4:2: unknown key "x" in the policy: use one of deviceInfoDir, force, ipam, mtu, namespaces, nics, priorities, stateDir, sysctls, tables, virtual`,
		},
		"{\"ä\": 1,\n \"force\": true, \"force\": false}": {
			`1:2: unknown key "ä"`, `2:17: key "force" appears twice in the policy; keep one`,
		},
		`{"nics": {"names": []}}`:          {`1:10: "nics" must be a list, not an object; leave it out to allow all, write [] to allow none`},
		`{"nics": null}`:                   {`1:10: "nics" must be a list, not null`},
		`{"nics": ["ens1"]}`:               {`1:11: an entry of "nics" must be an object, not a string`},
		`{"nics": [{}]}`:                   {`1:11: an entry of "nics" is empty; write {"names": ["*"]} for every NIC`},
		`{"nics": [{"names": []}]}`:        {`1:21: "names" is empty; leave it out, or write "nics": [] to allow none`},
		`{"nics": [{"name": ["a"]}]}`:      {`1:12: unknown key "name" in an entry of "nics": did you mean "names"?`},
		`{"nics": [{"names": ["[a", 7]}]}`: {`1:22: "names" has "[a"; which is not a shell pattern; use *, ? and [a-z]`, `1:28: an entry of "names" must be a string, not a number`},
		`{"nics": [{"drivers": ["", "a b"]}]}`: {
			`1:24: "drivers" has ""; use a name`, `1:28: "drivers" has "a b"; use a name, without spaces and slashes`,
		},
		`{"nics": [{"pciAddresses": ["../x"]}]}`:                {`1:29: "pciAddresses" has "../x"; use a name, without spaces and slashes`},
		`{"virtual": "no", "force": null}`:                      {`1:13: "virtual" must be true or false, not a string`, `1:28: "force" must be true or false, not null`},
		`{"ipam": ["../evil"]}`:                                 {`1:11: "ipam" has "../evil"; use a name`},
		`{"sysctls": ["net.ipv4.conf.eth0.arp_notify"]}`:        {`1:14: "sysctls" has "net.ipv4.conf.eth0.arp_notify"; which no network can set; write IFNAME for the interface`},
		`{"sysctls": ["kernel.*", "net.*"]}`:                    {`1:14: "sysctls" has "kernel.*"; use a pattern of five parts`, `1:26: "sysctls" has "net.*"`},
		`{"sysctls": ["kernel.a.b.IFNAME.c"]}`:                  {`which no network can set`},
		`{"tables": 100}`:                                       {`1:12: "tables" must be an object, not a number`},
		`{"tables": {"min": 0, "max": 4294967296}}`:             {`1:20: "min" of "tables" is 0; it must be between 1 and 4294967295`, `1:30: "max" of "tables" is 4294967296`},
		`{"tables": {"min": 300, "max": 252}}`:                  {`1:12: "tables" goes from 300 to 252, which is empty; set "min" and "max"`},
		`{"mtu": {"max": 1e3, "min": "68"}}`:                    {`1:17: "max" of "mtu" must be a whole number, not "1e3"`, `1:29: "min" of "mtu" must be a whole number, not a string`},
		`{"mtu": {"maximum": 9000}}`:                            {`1:10: unknown key "maximum" in "mtu": did you mean "max"?`},
		`{"stateDir": "var/lib"}`:                               {`1:14: "stateDir" is "var/lib"; use an absolute path without ".."`},
		`{"stateDir": "/var/../etc", "deviceInfoDir": "/run/"}`: {`1:14: "stateDir" is "/var/../etc"`, `1:46: "deviceInfoDir" is "/run/"`},
		`{"deviceInfoDir": ["/run"]}`:                           {`1:19: "deviceInfoDir" must be a string, not a list`},
		`{"namespaces": []}`:                                    {`1:16: "namespaces" must be an object, not a list`},
		`{"namespaces": {"Tenant": {}, "": {}, "a/b": {}}}`:     {`1:17: "Tenant" is neither a Kubernetes namespace nor a pattern`, `1:31: "" is neither`, `1:39: "a/b" is neither`},
		`{"namespaces": {"a": {}, "a": {}}}`:                    {`1:26: key "a" appears twice in "namespaces"; keep one`},
		`{"namespaces": {"a": {"stateDir": "/x", "nic": []}}}`:  {`1:23: unknown key "stateDir" in namespace "a": use one of force, ipam`, `1:41: unknown key "nic" in namespace "a": did you mean "nics"?`},
		// A namespace cannot widen, wherever it stands in the file.
		`{"namespaces": {"a": {"force": true, "virtual": true}}, "force": false}`:  {`1:32: "force" is true here and false for all; a namespace can only narrow`},
		`{"namespaces": {"a": {"mtu": {"max": 9000}}}, "mtu": {"max": 4200}}`:      {`1:30: "mtu" is 68 to 9000 here and 68 to 4200 for all; a namespace can only narrow`},
		`{"tables": {"max": 252}, "namespaces": {"a": {"tables": {"max": 1000}}}}`: {`"tables" is 1 to 1000 here and 1 to 252 for all`},
	} {
		_, err := policy.Parse("p.json", []byte(text))
		var all policy.Mistakes
		if !errors.As(err, &all) || len(all) != len(want) {
			t.Errorf("%s: %v\nwant %q", text, policy.Each(err), want)
			continue
		}
		for i, line := range strings.Split(policy.Each(err).Error(), "\n") {
			if !strings.HasPrefix(line, "p.json:") || !strings.Contains(line, want[i]) {
				t.Errorf("%s: %s\nwant %s", text, line, want[i])
			}
		}
		if strings.Contains(err.Error(), "\n") || len(all) > 1 && !strings.Contains(err.Error(), `more; "roce-host-device validate" lists them)`) {
			t.Errorf("%s: not one line, or not whole: %v", text, err)
		}
	}
}

func TestAPolicyWithAMistakeAllowsNothingButKeepsItsFolders(t *testing.T) {
	p, err := policy.Parse("p.json", []byte(`{"stateDir": "/srv/state", "nisc": [], "deviceInfoDir": 7}`))
	if err == nil || p == nil {
		t.Fatalf("%v, %v", p, err)
	}
	if p.StateDir != "/srv/state" || p.DeviceInfoDir != policy.DefaultDeviceInfoDir {
		t.Errorf("folders %s, %s", p.StateDir, p.DeviceInfoDir)
	}
	var denied *policy.Denied
	if got := p.Check(rail()); got == nil || errors.As(got, &denied) || got.Error() != err.Error() {
		t.Errorf("check: %v", got)
	}
}

func TestTheNodesFileMustBeRootsAlone(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("giving files away needs root")
	}
	const text = `{"stateDir": "/srv/state", "force": false}`
	path := filepath.Join(t.TempDir(), "policy.json")
	must(t, os.WriteFile(path, []byte(text), 0o644))
	p, err := policy.Load(path)
	must(t, err)
	if p.StateDir != "/srv/state" {
		t.Errorf("folder %s", p.StateDir)
	}
	for name, spoil := range map[string]func(path string){
		"another user's":     func(path string) { must(t, os.Chown(path, 1000, 1000)) },
		"writable by others": func(path string) { must(t, os.Chmod(path, 0o666)) },
		"a link": func(path string) {
			must(t, os.Rename(path, path+".real"))
			must(t, os.Symlink(path+".real", path))
		},
		"a folder": func(path string) {
			must(t, os.Remove(path))
			must(t, os.Mkdir(path, 0o755))
		},
		"too long": func(path string) { must(t, os.WriteFile(path, make([]byte, 1<<20+1), 0o644)) },
	} {
		path := filepath.Join(t.TempDir(), "policy.json")
		must(t, os.WriteFile(path, []byte(text), 0o644))
		spoil(path)
		p, err := policy.Load(path)
		var bad *trusted.Error
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		// What somebody else may have written must not say where state is.
		if p.StateDir != policy.DefaultStateDir || p.Check(rail()) == nil {
			t.Errorf("%s: the file counts: %s", name, p.StateDir)
		}
	}
}

func TestAFileThatIsYetToBeInstalledMayBeAnybodysAndALink(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/data", []byte(`{"nics": 1, "ipam": 2}`), 0o666))
	must(t, os.Symlink("data", dir+"/policy.json")) // as the kubelet mounts a ConfigMap
	err := policy.Validate(dir + "/policy.json")
	if err == nil || strings.Count(err.Error(), "\n") != 1 || strings.Count(err.Error(), dir+"/policy.json:1:") != 2 {
		t.Errorf("%v", err)
	}
	must(t, os.WriteFile(dir+"/data", []byte(`{}`), 0o666))
	must(t, policy.Validate(dir+"/policy.json"))
	if err := policy.Validate(dir + "/none"); err == nil {
		t.Error("a file that is not there is valid")
	}
}

func TestTheExampleKeepsTwoTenantsApart(t *testing.T) {
	b, err := os.ReadFile("../../deployments/examples/policy-two-tenants.yaml")
	must(t, err)
	var configMap struct{ Data map[string]string }
	must(t, yaml.Unmarshal(b, &configMap))
	p := parse(t, configMap.Data["policy.json"])
	for _, tt := range []struct {
		namespace, address string
		change             func(r *policy.Request)
		want               string // "" is allowed
	}{
		{"tenant-a", "0000:08:00.0", func(r *policy.Request) {}, ""},
		{"tenant-b", "0000:8b:00.0", func(r *policy.Request) {}, ""},
		{"tenant-a", "0000:8b:00.0", func(r *policy.Request) {}, `"nics" of namespace "tenant-a"`},
		{"tenant-b", "0000:08:00.0", func(r *policy.Request) {}, `"nics" of namespace "tenant-b"`},
		{"default", "0000:08:00.0", func(r *policy.Request) {}, `"nics" of namespace "*"`},
		{"", "0000:08:00.0", func(r *policy.Request) {}, `"nics" of namespace "*"`},
		{"tenant-a", "", func(r *policy.Request) { r.NIC.Virtual = true }, `"virtual" allows`},
		{"tenant-a", "0000:08:00.0", func(r *policy.Request) { r.Force = true }, `"force" allows`},
		{"tenant-b", "0000:88:00.0", func(r *policy.Request) { r.MTU = 9000 }, `"mtu" of namespace "tenant-b"`},
		{"tenant-a", "0000:08:00.0", func(r *policy.Request) { r.MTU = 9000 }, ""},
	} {
		r := rail()
		r.Namespace, r.NIC.Address = tt.namespace, tt.address
		tt.change(&r)
		err := p.Check(r)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s, %s: %v, want %s", tt.namespace, tt.address, err, tt.want)
		}
	}
}

func TestTheDocumentHasEveryKeyAndNoOther(t *testing.T) {
	const page = "../../docs/security.md"
	_, err := policy.Parse("p.json", []byte(`{"zzzzzzzz": 1}`))
	if err == nil {
		t.Fatal("an unknown key is taken")
	}
	_, valid, _ := strings.Cut(err.Error(), "use one of ")
	document.Compare(t, page, document.FirstWords(t, page, "| key | default | meaning |"), strings.Split(valid, ", "))
}

// Whatever the file has in it: no panic, one line, and a policy that allows
// nothing if there is a mistake.
func FuzzPolicy(f *testing.F) {
	f.Add([]byte(`{"nics": [{"names": ["ens*"]}], "namespaces": {"a": {"force": false}}, "mtu": {"min": 68}}`))
	f.Add([]byte(`{"tables": {"min": 100}, "sysctls": ["net.ipv4.conf.IFNAME.arp_*"], "ipam": [""]}`))
	f.Add([]byte("{\"a\": [1, {\"b\": \"\xff\"}], \"a\": null}"))
	f.Add([]byte(strings.Repeat("[", 20_000)))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := policy.Parse("p.json", text)
		if p == nil || err != nil && (strings.Contains(err.Error(), "\n") || p.Check(rail()) == nil) {
			t.Fatalf("%v, %v", p, err)
		}
	})
}

func TestAnIPAMPluginThatNoADDCanHaveRunIsDenied(t *testing.T) {
	const byNamespace = `{"ipam": ["static", "whereabouts"], "namespaces": {"a": {"ipam": ["static"]}, "*": {"ipam": ["whereabouts"]}}}`
	for _, tt := range []struct {
		policy, namespace, plugin string
		denied                    bool
	}{
		{`{}`, "a", "any", false},
		{byNamespace, "a", "static", false},
		{byNamespace, "a", "whereabouts", true},
		{byNamespace, "b", "static", true},
		{byNamespace, "", "static", false}, // of any namespace
		{byNamespace, "", "host-local", true},
	} {
		err := parse(t, tt.policy).CheckIPAM(tt.namespace, tt.plugin)
		var denied *policy.Denied
		if errors.As(err, &denied) != tt.denied || tt.denied && denied.File == "" {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	broken, err := policy.Parse("policy.json", []byte(`{"ipam": 1}`))
	if err == nil || broken.CheckIPAM("a", "any") != nil {
		t.Errorf("a policy that cannot be read: %v, %v", err, broken.CheckIPAM("a", "any"))
	}
}
