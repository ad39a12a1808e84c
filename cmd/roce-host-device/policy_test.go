package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/policy"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a policy is root's")
	}
}

// configMap is a folder as the kubelet mounts a ConfigMap: links to the files
// of the day.
func configMap(t *testing.T, text string) (file string) {
	t.Helper()
	dir := t.TempDir()
	must(t, os.MkdirAll(dir+"/..2026", 0o755))
	must(t, os.WriteFile(dir+"/..2026/policy.json", []byte(text), 0o644))
	must(t, os.Symlink("..2026", dir+"/..data"))
	must(t, os.Symlink("..data/policy.json", dir+"/policy.json"))
	return dir + "/policy.json"
}

func TestInstallPutsThePolicyWhereThePluginBelievesIt(t *testing.T) {
	needRoot(t)
	defer unix.Umask(unix.Umask(0o077))
	programs, etc := t.TempDir(), t.TempDir()+"/etc/cni"
	target := filepath.Join(etc, filepath.Base(policy.File))
	for _, text := range []string{`{"stateDir": "/srv/one"}`, `{"stateDir": "/srv/two"}`} {
		must(t, install([]string{"--to", programs, "--policy", configMap(t, text), "--policy-to", etc}))
		p, err := policy.Load(target)
		must(t, err)
		if !strings.Contains(text, p.StateDir) {
			t.Errorf("%s became %s", text, p.StateDir)
		}
	}
	info, err := os.Lstat(target)
	must(t, err)
	files, err := os.ReadDir(etc)
	must(t, err)
	if info.Mode() != 0o644 || len(files) != 1 {
		t.Errorf("mode %v, files %v", info.Mode(), files)
	}
	if _, err := os.Stat(filepath.Join(programs, "roce-host-device")); err != nil {
		t.Error(err)
	}
}

func TestABadPolicyChangesNothing(t *testing.T) {
	needRoot(t)
	programs, etc := t.TempDir(), t.TempDir()
	target := filepath.Join(etc, filepath.Base(policy.File))
	must(t, os.WriteFile(target, []byte("{}"), 0o644))
	file := configMap(t, "{\n\"nisc\": [],\n\"force\": 1}")
	err := install([]string{"--to", programs, "--policy", file, "--policy-to", etc})
	if err == nil || !strings.Contains(err.Error(), file+`:2:1: unknown key "nisc"`) || !strings.Contains(err.Error(), "\n"+file+`:3:10: "force" must be true or false`) {
		t.Errorf("%v", err)
	}
	if b, err := os.ReadFile(target); string(b) != "{}" || err != nil {
		t.Errorf("the node's policy is %q, %v", b, err)
	}
	if files, err := os.ReadDir(programs); len(files) != 0 || err != nil {
		t.Errorf("installed: %v, %v", files, err)
	}
}

// An optional ConfigMap that is not there is an empty folder.
func TestWithoutAPolicyTheNodesStaysAsItIs(t *testing.T) {
	needRoot(t)
	for _, args := range [][]string{nil, {"--policy", t.TempDir() + "/policy.json"}} {
		programs, etc := t.TempDir(), t.TempDir()
		target := filepath.Join(etc, filepath.Base(policy.File))
		must(t, os.WriteFile(target, []byte(`{"force": false}`), 0o644))
		must(t, install(append(args, "--to", programs, "--policy-to", etc)))
		if b, err := os.ReadFile(target); string(b) != `{"force": false}` || err != nil {
			t.Errorf("%v: the node's policy is %q, %v", args, b, err)
		}
		if files, err := os.ReadDir(programs); len(files) != 1 || err != nil {
			t.Errorf("%v: installed: %v, %v", args, files, err)
		}
	}
}

func TestThePolicyAloneIsInstalledWhereProgramsHaveAnotherOwner(t *testing.T) {
	needRoot(t)
	etc := t.TempDir() + "/cni"
	must(t, install([]string{"--to", "", "--policy", configMap(t, "{}"), "--policy-to", etc}))
	if files, err := os.ReadDir(etc); len(files) != 1 || err != nil {
		t.Errorf("%v, %v", files, err)
	}
}

func TestThePolicyReplacesALinkAndWhatAKilledInstallLeft(t *testing.T) {
	needRoot(t)
	etc, elsewhere := t.TempDir(), t.TempDir()+"/victim"
	target := filepath.Join(etc, filepath.Base(policy.File))
	must(t, os.WriteFile(elsewhere, []byte("keep"), 0o644))
	must(t, os.Symlink(elsewhere, target))
	must(t, os.WriteFile(etc+"/.roce-host-device.json-1", []byte("half"), 0o600))
	must(t, installPolicy(etc, []byte("{}")))
	if b, err := os.ReadFile(elsewhere); string(b) != "keep" || err != nil {
		t.Errorf("behind the link: %q, %v", b, err)
	}
	if _, err := policy.Load(target); err != nil {
		t.Error(err)
	}
	if files, err := os.ReadDir(etc); len(files) != 1 || err != nil {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

func TestValidateSaysWhatIsWrongWithAFileOrThatNothingIs(t *testing.T) {
	for text, want := range map[string]string{
		"{}":                            "",
		"{\"nisc\": 1,\n\"tables\": 2}": `:2:11: "tables" must be an object, not a number`,
	} {
		file := configMap(t, text)
		var out bytes.Buffer
		err := validate([]string{file}, &out)
		switch {
		case want == "" && (err != nil || out.String() != file+" is valid\n"):
			t.Errorf("%s: %v, %q", text, err, &out)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || out.Len() > 0):
			t.Errorf("%s: %v, %q", text, err, &out)
		}
	}
	if err := validate([]string{"a", "b"}, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "validate [FILE]") {
		t.Errorf("two files: %v", err)
	}
}

func TestValidateOfTheNodesPolicyAsksForItsOwnerAndTheStateFolders(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	state := dir + "/state"
	for name, tt := range map[string]struct {
		prepare func(file string)
		want    string
	}{
		"no file": {func(string) {}, "there is no "},
		"a file":  {func(file string) { must(t, os.WriteFile(file, []byte("{}"), 0o644)) }, " is valid"},
		"a file that anybody can write": {func(file string) {
			must(t, os.WriteFile(file, []byte("{}"), 0o644))
			must(t, os.Chmod(file, 0o666))
		}, "is writable by users other than root"},
		"a state folder that is another user's": {func(file string) {
			must(t, os.WriteFile(file, []byte(`{"stateDir": "`+state+`"}`), 0o644))
			must(t, os.Mkdir(state, fs.FileMode(0o755)))
			must(t, os.Chown(state, 1000, 1000))
		}, "state folder: " + state + " is user 1000's"},
	} {
		file := filepath.Join(t.TempDir(), "policy.json")
		tt.prepare(file)
		var out bytes.Buffer
		err := validateNode(file, &out)
		got := out.String()
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, tt.want) {
			t.Errorf("%s: %s\nwant %s", name, got, tt.want)
		}
	}
}
