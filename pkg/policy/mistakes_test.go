package policy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/policy"
)

// All that is said of a file, word for word: what is not in the list must not be
// said either.
func TestAMistakeIsNamedOnceInTheOrderOfTheFile(t *testing.T) {
	for text, want := range map[string]string{
		`[{"nics": 1}]`:                            `1:1: the policy must be an object, not a list`,
		`{"nics": [["a"]]}`:                        `1:11: an entry of "nics" must be an object, not a list`,
		`{"stateDir": true}`:                       `1:14: "stateDir" must be a string, not true or false`,
		`{"deviceInfoDir": false}`:                 `1:19: "deviceInfoDir" must be a string, not true or false`,
		`{"ä": 1, "zzzzzzzz": 2}`:                  `1:2: unknown key "ä" in the policy: use one of deviceInfoDir, force, ipam, mtu, namespaces, nics, priorities, stateDir, sysctls, tables, virtual` + "\n" + `1:10: unknown key "zzzzzzzz" in the policy: use one of deviceInfoDir, force, ipam, mtu, namespaces, nics, priorities, stateDir, sysctls, tables, virtual`,
		`{"stateDir": "/"}`:                        `1:14: "stateDir" is "/"; use an absolute path without "..", double slashes or a trailing slash`,
		`{"stateDir": "/a\u0000b"}`:                `1:14: "stateDir" is "/a\x00b"; use an absolute path without "..", double slashes or a trailing slash`,
		"{\n  \"nics\": [\n\n\n":                   `2:12: malformed JSON here or just before: unexpected end of JSON input`,
		`{"sysctls": ["net.ipv4.conf.*."]}`:        `1:14: "sysctls" has "net.ipv4.conf.*."; use a pattern of five parts, such as "net.ipv4.conf.IFNAME.arp_*"; each * stands for one part or less`,
		`{"sysctls": ["net.ipv4.conf.IFNAME.[a"]}`: `1:14: "sysctls" has "net.ipv4.conf.IFNAME.[a"; use a pattern of five parts, such as "net.ipv4.conf.IFNAME.arp_*"; each * stands for one part or less`,
		`{"nics": [{"drivers": "x"}]}`:             `1:23: "drivers" must be a list, not a string; leave it out to allow all, write [] to allow none`,
		`{"nics": [{"drivers": [1]}]}`:             `1:24: an entry of "drivers" must be a string, not a number`,
		`{"nics": [{"drivers": []}]}`:              `1:23: "drivers" is empty; leave it out, or write "nics": [] to allow none`,
		`{"namespaces": {"A": {"mtu": 1}}}`:        `1:17: "A" is neither a Kubernetes namespace nor a pattern such as "team-*"; use lower case letters, digits, "-", and *, ?, [a-z]`,
		// The namespaces are read last, wherever they stand.
		"{\"namespaces\": {\"a\": {\"x\": 1}},\n \"force\": 7}":                                           `1:23: unknown key "x" in namespace "a": use one of force, ipam, mtu, nics, priorities, sysctls, tables, virtual` + "\n" + `2:11: "force" must be true or false, not a number`,
		`{"namespaces": {"a": {"x": 1}}, "force": 7}`:                                                     `1:23: unknown key "x" in namespace "a": use one of force, ipam, mtu, nics, priorities, sysctls, tables, virtual` + "\n" + `1:42: "force" must be true or false, not a number`,
		`{"mtu": {"max": 1500}, "namespaces": {"a": {"mtu": {"min": 4000, "max": "9000"}}}}`:              `1:73: "max" of "mtu" must be a whole number, not a string`, // not also empty
		`{"mtu": {"min": 5}, "tables": {"max": 4294967295}, "priorities": {"min": 0, "max": 4294967295}}`: `1:17: "min" of "mtu" is 5; it must be between 68 and 65535` + "\n" + `1:74: "min" of "priorities" is 0; it must be between 1 and 4294967295`,
	} {
		_, err := policy.Parse("p.json", []byte(text))
		if got := strings.ReplaceAll(policy.Each(err).Error(), "p.json:", ""); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", text, got, want)
		}
	}
}

func TestOneLineSaysHowManyMoreMistakesThereAre(t *testing.T) {
	const first = `p.json:1:11: "force" must be true or false, not a number`
	for text, want := range map[string]string{
		`{"force": 1}`:                                               first,
		`{"force": 1, "virtual": 2}`:                                 first + ` (and 1 more; "roce-host-device validate" lists them)`,
		`{"force": 1, "virtual": 2, "nics": null}`:                   first + ` (and 2 more; "roce-host-device validate" lists them)`,
		`{"force": 1, "ipam": [` + strings.Repeat("1,", 150) + `1]}`: first + ` (and 99 more; "roce-host-device validate" lists them)`, // it is the wrong file
	} {
		if _, err := policy.Parse("p.json", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestWhatIsDeniedToAllMayBeDeniedToANamespaceOnceMore(t *testing.T) {
	p := parse(t, `{"force": false, "virtual": false, "mtu": {"max": 1500}, "namespaces": {"a": {"force": false, "virtual": false, "mtu": {"max": 1500}}}}`)
	must(t, p.Check(policy.Request{Namespace: "a"}))
}

func TestAMessageShowsSixEntriesOfAListAndCountsTheRest(t *testing.T) {
	for text, want := range map[string]string{
		`{"ipam": ["a", "b", "c", "d", "e", "f"]}`:                                                `"ipam" allows "a", "b", "c", "d", "e", "f"; see policy.json`,
		`{"ipam": ["a", "b", "c", "d", "e", "f", "g"]}`:                                           `"ipam" allows "a", "b", "c", "d", "e", "f" and 1 more; see policy.json`,
		`{"ipam": ["whereabouts"], "sysctls": ["net.ipv4.conf.IFNAME.a", "net.ipv6.*.IFNAME.b"]}`: `"sysctls" allows net.ipv4.conf.IFNAME.a, net.ipv6.*.IFNAME.b; see policy.json`,
	} {
		r := rail()
		r.Sysctls = []string{"net.ipv4.conf.IFNAME.c"}
		err := parse(t, text).Check(r)
		if denied := (*policy.Denied)(nil); !errors.As(err, &denied) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
