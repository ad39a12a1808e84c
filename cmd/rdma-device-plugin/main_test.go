package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
		"unknown flag":        {[]string{"--kubelet-folder=/x"}, "flag provided but not defined: -kubelet-folder"},
		"unknown command":     {[]string{"run"}, `unknown command "run": use explain, validate, probe, forget or selftest, or leave it out to run the device plugin`},
		"stray argument":      {[]string{"--log-level=info", "run"}, `unexpected argument "run"`},
		"validate, bad":       {[]string{"validate", bad}, bad + `:1:16: "configList" is empty`},
		"validate, two files": {[]string{"validate", bad, bad}, "unexpected argument"},
		"probe of nothing":    {[]string{"probe", "--probe-socket=" + dir + "/none"}, "usage: probe --probe-socket=FILE PATH"},
		"forget nothing":      {[]string{"forget", "--probe-socket=" + dir + "/none"}, "usage: forget --probe-socket=FILE DEVICE"},
		"bad log level":       {[]string{"--log-level=loud"}, `log level "loud": use debug, info, warn or error`},
		"bad log format":      {[]string{"--log-format=xml"}, `log format "xml": use text or json`},
		"no configuration":    {[]string{"--config-file=" + dir + "/none"}, "no such configuration file"},
		"a bad configuration": {[]string{"--config-file=" + bad}, bad + `:1:16: "configList" is empty; it needs at least one resource`},
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
	}
}

func TestTheHostsDeviceFolderIsFoundWhereItIsMounted(t *testing.T) {
	dir := t.TempDir()
	for mounted, want := range map[string]string{dir: dir, dir + "/none": "/dev"} {
		if got := devRoot(mounted); got != want {
			t.Errorf("%s: %s, want %s", mounted, got, want)
		}
	}
}
