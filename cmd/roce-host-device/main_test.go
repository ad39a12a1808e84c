package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// asProgram makes the test binary the program.
const asProgram = "ROCE_HOST_DEVICE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// program runs the program.
func program(t *testing.T, stdin string, environ []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	var out, log bytes.Buffer
	cmd := exec.Command(self, args...)
	cmd.Env = append(append(os.Environ(), asProgram+"=yes"), environ...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &log
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode(), out.String(), log.String()
}

func TestACommandEndsAsItWent(t *testing.T) {
	good, bad := configMap(t, "{}"), configMap(t, `{"nics": 1}`)
	for _, tt := range []struct {
		args           []string
		status         int
		stdout, stderr string // parts
	}{
		{[]string{"validate", good}, 0, good + " is valid\n", ""},
		{[]string{"validate", bad}, 1, "", "roce-host-device: validate: " + bad + `:1:10: "nics" must be a list`},
		{[]string{"install", "x"}, 1, "", `roce-host-device: install: unexpected argument "x"`},
		{[]string{"attached"}, 1, "", "roce-host-device: attached: usage: "},
	} {
		status, stdout, stderr := program(t, "", nil, tt.args...)
		if status != tt.status || stdout != tt.stdout || !strings.HasPrefix(stderr, tt.stderr) || tt.stderr == "" && stderr != "" {
			t.Errorf("%q: status %d, %q, %q", tt.args, status, stdout, stderr)
		}
	}
}

func TestWhoeverInstallsAPolicyMustBeRoot(t *testing.T) {
	needRoot(t)
	file := configMap(t, "{}")
	must(t, os.Chmod(filepath.Dir(filepath.Dir(file)), 0o755))
	cmd := exec.Command("/proc/self/exe", "install", "--to", "", "--policy", file, "--policy-to", filepath.Dir(file)) // its folder is root's
	cmd.Env = append(os.Environ(), asProgram+"=yes")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	if out, err := cmd.CombinedOutput(); err == nil || string(out) != "roce-host-device: install: the policy must belong to root; run as root\n" {
		t.Errorf("%s, %v", out, err)
	}
}

// What it logs is no part of its answer.
func TestTheAnswerToARuntimeIsAllThatThePluginPrints(t *testing.T) {
	status, stdout, stderr := program(t, `{"cniVersion": "1.1.0", "name": "n", "type": "roce-host-device", "device": "none-such", "stateDir": "/elsewhere"}`, []string{"CNI_COMMAND=STATUS", "CNI_PATH=/none"})
	var answer struct{ Code int }
	if err := json.Unmarshal([]byte(stdout), &answer); err != nil || status != 1 || answer.Code == 0 || !strings.Contains(stderr, "plugin=roce-host-device") {
		t.Errorf("status %d, %q, %q; %v", status, stdout, stderr, err)
	}
	status, stdout, _ = program(t, `{"cniVersion": "1.0.0"}`, []string{"CNI_COMMAND=VERSION"})
	if status != 0 || !strings.Contains(stdout, `"1.1.0"`) {
		t.Errorf("status %d, %q", status, stdout)
	}
}
