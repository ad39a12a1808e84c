package cni_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// selftest is the command with what the rig has, and its report.
func (r *rig) selftest(nics ...string) (*exec.Cmd, *strings.Builder) {
	r.Helper()
	dir := r.TempDir() // one folder, as on a node
	for _, name := range []string{"roce-host-device", "static", "rdma-device-plugin"} {
		for _, from := range filepath.SplitList(os.Getenv("ROCE_CNI_PATH")) {
			if _, err := os.Stat(filepath.Join(from, name)); err == nil {
				must(r, os.Symlink(filepath.Join(from, name), filepath.Join(dir, name)))
				break
			}
		}
	}
	if _, err := exec.LookPath("sh"); err != nil { // the lab's guest
		must(r, os.Symlink("/usr/bin/bash", filepath.Join(dir, "sh")))
	}
	cmd := exec.Command(filepath.Join(dir, "rdma-device-plugin"), append([]string{"selftest", "--cni-dir", dir}, nics...)...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":"+dir)
	report := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = report, report
	return cmd, report
}

// wired are two NICs on one network.
func (r *rig) wired() []string {
	r.Helper()
	if inLab() {
		return []string{rails[0], peerRails[0]}
	}
	run(r, "ip", "link", "add", "name", "sw-bridge", "up", "type", "bridge")
	for _, nic := range rails[:2] {
		run(r, "ip", "link", "set", "sw-"+nic, "master", "sw-bridge")
	}
	return rails[:2]
}

func TestTheSelftestPassesAndLeavesTheHostAsItWas(t *testing.T) {
	if inLab() {
		needLab(t, "")
	}
	r := newRig(t, 2)
	nics, before := r.wired(), hostState(t)
	cmd, report := r.selftest(nics...)
	if err := cmd.Run(); err != nil || !strings.Contains(report.String(), "\nPASSED: ") {
		t.Errorf("%v", err)
	}
	t.Logf("the report:\n%s", report)
	if !strings.Contains(report.String(), "\nhas         ") {
		t.Error("it does not say what the kernel has")
	}
	want := []string{nics[0] + ": CHECK", nics[1] + ": ADD with an address", "packets from " + nics[1] + " to " + nics[0]}
	if inLab() {
		want = append(want, "RDMA from "+nics[1]+" to "+nics[0])
	}
	for _, step := range want {
		if !strings.Contains(report.String(), "\nok       "+step) {
			t.Errorf("no step %q", step)
		}
	}
	r.expectHost(before)
	r.expectClean()
}

func TestTheSelftestFailsWithTheReasonAndChangesNothing(t *testing.T) {
	if inLab() {
		needLab(t, "")
	}
	r := newRig(t, 1)
	run(t, "ip", "link", "add", "name", "sw-bridge", "type", "bridge")
	t.Cleanup(func() { run(t, "ip", "link", "delete", "sw-bridge") })
	run(t, "ip", "link", "set", rails[0], "master", "sw-bridge")
	before := hostState(t)
	for _, tt := range []struct {
		nics []string
		want string
	}{
		{rails[:1], "FAILED   " + rails[0] + ": ADD"},
		{rails[:1], "it is a port of bridge sw-bridge"},
		{[]string{"ens99"}, `no NIC "ens99" on this node`},
		{[]string{rails[0], rails[0]}, "was named twice"},
	} {
		cmd, report := r.selftest(tt.nics...)
		err := cmd.Run()
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(report.String(), tt.want) {
			t.Errorf("%v: %v\n%s\nwant status 1 and %q", tt.nics, err, report, tt.want)
		}
	}
	r.expectHost(before)
	r.expectClean()
}

// startSelftest starts a selftest, and returns while a pod of it has a NIC.
func (r *rig) startSelftest(nic string) (*exec.Cmd, *strings.Builder) {
	r.Helper()
	cmd, report := r.selftest(nic)
	plugin := filepath.Join(filepath.Dir(cmd.Path), "roce-host-device")
	real, err := os.Readlink(plugin)
	must(r, err)
	must(r, os.Remove(plugin))
	must(r, os.WriteFile(plugin, []byte("#!/bin/bash\n[[ $CNI_COMMAND != CHECK ]] || sleep 1\nexec "+real+"\n"), 0o755))
	must(r, cmd.Start())
	r.eventually("a selftest that has a NIC", func() bool {
		for _, record := range r.records() {
			if b, _ := os.ReadFile(record); strings.Contains(string(b), `"step": "attached"`) {
				return true
			}
		}
		return false
	})
	return cmd, report
}

func TestASelftestThatIsEndedGivesTheNICBack(t *testing.T) {
	if inLab() {
		needLab(t, "")
	}
	r := newRig(t, 1)
	before := hostState(t)
	cmd, report := r.startSelftest(rails[0])
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(report.String(), "the test was ended") {
		t.Errorf("%v\n%s", err, report)
	}
	r.expectHost(before)
	r.expectClean()
}

// A NIC that is destroyed with its namespace cannot be brought back.
func TestAKilledSelftestIsUndoneByTheNext(t *testing.T) {
	needLab(t, "")
	r := newRig(t, 1)
	before := hostState(t)
	cmd, _ := r.startSelftest(rails[0])
	must(t, cmd.Process.Signal(unix.SIGKILL))
	if err := cmd.Wait(); !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	again, report := r.selftest(rails[0])
	if err := again.Run(); err != nil || !strings.Contains(report.String(), "\nok       undo an earlier test of "+rails[0]) {
		t.Errorf("%v\n%s", err, report)
	}
	r.expectHost(before)
	r.expectClean()
}

func TestTheSelftestChoosesAmongTheNICsThatAreFree(t *testing.T) {
	needLab(t, "")
	r := newRig(t, 0)
	run(t, "ip", "route", "add", "default", "dev", rails[1])
	defer run(t, "ip", "route", "del", "default", "dev", rails[1])
	before := hostState(t)
	cmd, report := r.selftest()
	if err := cmd.Run(); err != nil || !strings.Contains(report.String(), fmt.Sprintf("passed over %s: code 112: ", rails[1])) {
		t.Errorf("%v\n%s", err, report)
	}
	r.expectHost(before)
	r.expectClean()
}
