package main

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/commandline"
	"github.com/roce-k8s/roce-k8s/test/fixtures/document"
)

const page = "../../docs/device-plugin.md"

// flags are those of a command, with their defaults.
func (c *command) flagsOf(t *testing.T) map[string]string {
	t.Helper()
	var help bytes.Buffer
	if status := run(t.Context(), append(strings.Fields(c.name), "--help"), &help, &help); status != 0 {
		t.Fatalf("%s: status %d", c.name, status)
	}
	return commandline.Defaults(help.String())
}

func TestTheDocumentHasEveryFlagWithItsDefaultAndNoOther(t *testing.T) {
	all := map[string]string{}
	for _, c := range commands() {
		for name, is := range c.flagsOf(t) {
			if has, ok := all[name]; ok && has != is {
				t.Errorf("%s: --%s is %q, and %q elsewhere", c.name, name, is, has)
			}
			all[name] = is
		}
	}
	commandline.Compare(t, page, all)
}

func TestEachFlagChangesWhatItIsCalledAfter(t *testing.T) {
	effects := map[string]string{
		"--bundle=1":             "doctor.bundle=1",
		"--brief=1":              "doctor.brief=true",
		"--cdi-dir=1":            "CDIDir=1",
		"--cni-dir=1":            "pluginDir=1",
		"--config-file=1":        "ConfigFile=1",
		"--counters-socket=1":    "CountersSocket=1",
		"--counters=1":           "doctor.counters=1",
		"--dev-root=1":           "Node.Dev=1",
		"--fail-on=1":            "doctor.failOn=1",
		"--gateway=1":            "addressing.Gateway=1",
		"--host-root=1":          "doctor.hostRoot=1",
		"--ignore=1":             "doctor.ignore=1",
		"--ipam=1":               "addressing.IPAM=1",
		"--json=1":               "doctor.json=true",
		"--kubelet-config=1":     "doctor.kubeletConfig=1",
		"--kubelet-dir=1":        "KubeletDir=1",
		"--log-format=1":         "refused",
		"--log-level=1":          "refused",
		"--memlock-limit=1":      "memlock.Limit=1",
		"--memlock-socket=1":     "MemlockSocket=1",
		"--metrics-address=1":    "MetricsAddress=1",
		"--metrics-client-ca=1":  "MetricsAccess.ClientCA=1",
		"--metrics-tls-dir=1":    "MetricsAccess.TLSDir=1",
		"--metrics-token-file=1": "MetricsAccess.TokenFile=1",
		"--mtu=1":                "addressing.MTU=1",
		"--networks=1":           "doctor.networks=1",
		"--nfd-features=1":       "doctor.nfdFeatures=1",
		"--nri-socket=1":         "memlock.Socket=1",
		"--probe-socket=1":       "ProbeSocket=1",
		"--range=1":              "addressing.Range=1",
		"--rescue=0":             "Rescue=false",
		"--state-dir=1":          "StateDir=1",
		"--sysfs-root=1":         "Node.Sys=1",
		"--use-cdi=1":            "", // it is given already
		"--version=1":            "showVersion=true",
		"-o=1":                   "output=1",
	}
	for _, c := range commands() {
		flags, want := c.flagsOf(t), map[string]string{}
		var given []string // what others need
		if _, ok := flags["metrics-tls-dir"]; ok {
			given = []string{"--use-cdi", "--metrics-tls-dir=tls"}
		}
		for line, effect := range effects {
			name, _, _ := strings.Cut(strings.TrimLeft(line, "-"), "=")
			if _, ok := flags[name]; ok {
				want[line] = effect
			}
		}
		commandline.CompareEffects(t, flags, func(flag ...string) (any, error) {
			return c.parse(append(slices.Clone(given), flag...), io.Discard)
		}, want)
	}
}

func TestWithoutCDINoSpecIsWritten(t *testing.T) {
	c, args := find([]string{"--cdi-dir=/x"})
	line, err := c.parse(args, io.Discard)
	if err != nil || line.CDIDir != "" {
		t.Errorf("%q, %v", line.CDIDir, err)
	}
}

func TestTheDocumentHasEveryCommandAndNoOther(t *testing.T) {
	var all []string
	for _, c := range commands() {
		if c.name != "" && !strings.Contains(c.name, " ") {
			all = append(all, c.name)
		}
	}
	document.Compare(t, page, document.Commands(t, page, "rdma-device-plugin"), all)
}

func TestEachCommandTakesAsManyArgumentsAsItSays(t *testing.T) {
	const many = 100
	for name, most := range map[string]int{
		"": 0, "explain": 0, "validate": 1, "discover": 0, "discover merge": many, "status": 0, "doctor": many, "selftest": 2, "probe": 1, "forget": 1, "counters": 0, "memlock": 0, "rescue": 0,
	} {
		for count, ok := range map[int]bool{most: true, most + 1: most == many} {
			arguments := slices.Repeat([]string{"x"}, count)
			c, rest := find(append(strings.Fields(name), append([]string{"--log-level=info"}, arguments...)...))
			if line, err := c.parse(rest, io.Discard); c.name != name || (err == nil) != ok || ok && !slices.Equal(line.rest, arguments) || !ok && err.Error() != `unexpected argument "x"` {
				t.Errorf("%q with %d arguments: %v", name, count, err)
			}
		}
	}
	if len(commands()) != 13 {
		t.Errorf("there are %d commands", len(commands()))
	}
}

func TestEachCommandTakesItsOwnFlagsOnly(t *testing.T) {
	for _, args := range [][]string{
		{"--range=10.0.0.0/24"}, {"status", "--use-cdi"}, {"validate", "--metrics-address="}, {"discover", "merge", "--state-dir=/x"}, {"probe", "-o=json"},
	} {
		var stderr bytes.Buffer
		if status := run(context.Background(), args, &stderr, &stderr); status != exitUsage || !strings.Contains(stderr.String(), "flag provided but not defined") {
			t.Errorf("%v: status %d, %s", args, status, &stderr)
		}
	}
}
