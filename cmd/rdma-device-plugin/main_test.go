package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

func TestABadFlagOrConfigurationEndsWithTwoAndOneLine(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "config.json")
	if err := os.WriteFile(bad, []byte(`{"configlist": []}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"unknown flag":         {[]string{"--kubelet-folder=/x"}, "flag provided but not defined: -kubelet-folder"},
		"unknown command":      {[]string{"run"}, `unknown command "run": use explain, validate, discover, status, doctor, selftest, probe, forget, counters, memlock or rescue, or leave it out to run the device plugin`},
		"stray argument":       {[]string{"--log-level=info", "run"}, `unexpected argument "run"`},
		"validate, bad":        {[]string{"validate", bad}, bad + `:1:16: "configList" is empty`},
		"validate, two files":  {[]string{"validate", bad, bad}, "unexpected argument"},
		"probe of nothing":     {[]string{"probe", "--probe-socket=" + dir + "/none"}, "usage: probe --probe-socket=FILE PATH"},
		"forget nothing":       {[]string{"forget", "--probe-socket=" + dir + "/none"}, "usage: forget --probe-socket=FILE DEVICE"},
		"discover what":        {[]string{"discover", "-o=xml"}, `-o "xml": use configmap, networks, values, pod or json`},
		"discover, no range":   {[]string{"discover", "--range=10.0.0.1"}, "--range 10.0.0.1: use a subnet such as 192.168.0.0/24"},
		"merge of nothing":     {[]string{"discover", "merge"}, "usage: discover merge FILE…"},
		"merge of no node":     {[]string{"discover", "merge", bad}, bad + ": it is not what `discover -o json` printed"},
		"discover a file":      {[]string{"discover", bad}, "unexpected argument"},
		"status as what":       {[]string{"status", "-o=yaml"}, `-o "yaml": use json, or leave it out for a text`},
		"status as networks":   {[]string{"status", "-o=networks"}, `-o "networks": use json, or leave it out for a text`},
		"a bad memlock limit":  {[]string{"memlock", "--memlock-limit=8Mi"}, `memlock limit "8Mi": use unlimited or containerMemory`},
		"counters nowhere":     {[]string{"counters"}, "usage: counters --counters-socket=FILE"},
		"bad log level":        {[]string{"--log-level=loud"}, `log level "loud": use debug, info, warn or error`},
		"bad log format":       {[]string{"--log-format=xml"}, `log format "xml": use text or json`},
		"no configuration":     {[]string{"--config-file=" + dir + "/none"}, "no such configuration file"},
		"a bad configuration":  {[]string{"--config-file=" + bad}, bad + `:1:16: "configList" is empty; it needs at least one resource`},
		"a token in the clear": {[]string{"--metrics-token-file=" + dir + "/token"}, "--metrics-token-file need --metrics-tls-dir"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			status := run(context.Background(), test.args, &stdout, &stderr)
			if status != 2 || strings.Count(stderr.String(), "\n") != 1 || !strings.Contains(stderr.String(), test.want) || stdout.Len() > 0 {
				t.Errorf("status %d, stdout %q, stderr %q", status, &stdout, &stderr)
			}
		})
	}
}

func TestExplainAndValidateEndWithZeroIfAllIsWell(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte("configList: [{resourceName: a, rdmaHcaMax: 1, devices: [x]}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"validate", file},
		{"validate", "--config-file=" + file},
		{"explain", "--config-file=" + file, "--sysfs-root=" + dir, "--dev-root=" + dir, "--state-dir=" + dir},
	} {
		var stdout, stderr bytes.Buffer
		if status := run(context.Background(), args, &stdout, &stderr); status != 0 || stdout.Len() == 0 {
			t.Errorf("%v: status %d, stdout %q, stderr %q", args, status, &stdout, &stderr)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("explain left something: %v %v", entries, err)
	}
}

func TestVersionAndHelpEndWithZero(t *testing.T) {
	for _, arg := range []string{"--version", "--help"} {
		var stdout, stderr bytes.Buffer
		if status := run(context.Background(), []string{arg}, &stdout, &stderr); status != 0 || stdout.Len()+stderr.Len() == 0 {
			t.Errorf("%s: status %d, stdout %q, stderr %q", arg, status, &stdout, &stderr)
		}
		if version := "rdma-device-plugin " + buildVersion + "\n"; arg == "--version" && stdout.String() != version {
			t.Errorf("%q, want %q", &stdout, version)
		}
	}
}

func TestTheHelpOfACommandIsItsOwnAndThatOfTheProgramNamesAll(t *testing.T) {
	help := func(args ...string) string {
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), append(args, "--help"), &stdout, &stderr); status != 0 || stdout.Len() > 0 {
			t.Errorf("%q: status %d, %q", args, status, &stdout)
		}
		return stderr.String()
	}
	program := help()
	for _, c := range commands() {
		if c.name == "" {
			continue
		}
		own := "Usage: rdma-device-plugin " + c.name + " [flags]"
		if c.arguments != "" {
			own += " " + c.arguments
		}
		if got := help(strings.Fields(c.name)...); !strings.HasPrefix(got, own+"\n"+c.does+"\n") || !strings.Contains(got, "  -log-level") {
			t.Errorf("%s: %s", c.name, got)
		}
		if line := c.name + " " + c.arguments; !strings.Contains(program, "\n  "+strings.TrimSpace(line)+" ") {
			t.Errorf("no %q in\n%s", line, program)
		}
	}
	if !strings.HasPrefix(program, "Usage: rdma-device-plugin [flags], or rdma-device-plugin COMMAND [flags]\n  explain ") {
		t.Error(program)
	}
}

func TestACommandFindsTheInstanceThatIsServedBesideIt(t *testing.T) {
	dir := t.TempDir()
	served, file := filepath.Join(dir, "s"), filepath.Join(dir, "f")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", served)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		socket, probeSocket, metrics, want string
	}{
		"it is there":           {served, "", defaultMetrics, served},
		"nothing is there":      {dir + "/none", "", defaultMetrics, ""},
		"no socket is there":    {file, "", defaultMetrics, ""},
		"another one was named": {served, "/other", defaultMetrics, "/other"},
		"an address was named":  {served, "", "127.0.0.1:1", ""},
	} {
		line := commandLine{}
		line.ProbeSocket, line.MetricsAddress = test.probeSocket, test.metrics
		if line.findInstance(test.socket); line.ProbeSocket != test.want {
			t.Errorf("%s: %q, want %q", name, line.ProbeSocket, test.want)
		}
	}
}

func TestWhatDiscoverPrintsOfANodeCanBeMergedAndValidated(t *testing.T) {
	n, fake := node.NewHere(t), node.NewFakeGuideNode()
	n.Must(fake.Add(n.Tree))
	node.NewHost(t)
	for _, h := range fake.Rails { // what the host cannot see is left out
		if out, err := exec.Command("ip", "link", "add", h.Netdev, "type", "veth", "peer", "name", h.Netdev+"w").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	discover := func(args ...string) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		args = append([]string{"discover"}, args...)
		if status := run(t.Context(), args, &stdout, &stderr); status != 0 {
			t.Fatalf("%v: status %d, %s", args, status, &stderr)
		}
		return stdout.String()
	}
	on := []string{"--sysfs-root=" + n.Sys(), "--dev-root=" + n.Dev(), "--state-dir=" + n.State()}
	n.Write("a.json", discover(append([]string{"-o=json"}, on...)...))
	file := filepath.Join(n.Dir, "a.json")
	for _, output := range []string{"all", "configmap", "networks", "values", "pod"} {
		if alone, merged := discover(append([]string{"-o=" + output}, on...)...), discover("merge", "-o="+output, file); alone != merged {
			t.Errorf("%s of the node:\n%s\nmerged:\n%s", output, alone, merged)
		}
	}
	_, config, _ := strings.Cut(discover("merge", "-o=configmap", file), "config.json: |\n")
	n.Write("config.json", config)
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), []string{"validate", filepath.Join(n.Dir, "config.json")}, &stdout, &stderr); status != 0 || strings.Count(config, "np0") != 8 {
		t.Errorf("status %d, %s of\n%s", status, &stderr, config)
	}
}
