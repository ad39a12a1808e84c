package cni_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A selftest is there to find a plugin, or a node, that does something wrong.
func TestTheSelftestFindsWhatThePluginDoesWrong(t *testing.T) {
	if inLab() {
		needLab(t, "")
	}
	if _, err := exec.LookPath("nsenter"); err != nil {
		t.Skip(err) // the lab's guest
	}
	nic := rails[0]
	for name, tt := range map[string]struct {
		wrong string // what the plugin does, with REAL for what it should
		want  string
		ok    bool
	}{
		"the NIC is down": {`REAL; [[ $CNI_COMMAND != ADD ]] || nsenter --net="$CNI_NETNS" ip link set net1 down`,
			"FAILED   " + nic + `: in the pod +\S+: the pod has no net1 that is up`, false},
		"it has another name": {`REAL; [[ $CNI_COMMAND != ADD ]] || nsenter --net="$CNI_NETNS" ip link set net1 down name mine up`,
			"FAILED   " + nic + `: in the pod +\S+: the pod has no net1 that is up`, false},
		"the host has one, too": {`[[ $CNI_COMMAND != DEL ]] || ip link del ` + nic + ` 2>/dev/null || true; REAL; [[ $CNI_COMMAND != ADD ]] || ip link add ` + nic + ` type bridge`,
			"FAILED   " + nic + `: in the pod +\S+: the host has a ` + nic, false},
		"CHECK fails": {`[[ $CNI_COMMAND != CHECK ]] || { echo '{"code": 111, "msg": "it is gone", "details": "look"}'; exit 1; }; REAL`,
			"FAILED   " + nic + `: CHECK +\S+: code 111: it is gone; look`, false},
		"CHECK says nothing": {`[[ $CNI_COMMAND != CHECK ]] || { echo why >&2; exit 3; }; REAL`,
			"FAILED   " + nic + `: CHECK +\S+: roce-host-device CHECK: exit status 3: why`, false},
		"CHECK lacks the result": {`config=$(cat); [[ $CNI_COMMAND != CHECK || $config == *'"prevResult":{'* ]] || exit 4; REAL <<<"$config"`,
			"ok       " + nic + `: CHECK `, true},
		"it is of no version": {`[[ $CNI_COMMAND != VERSION ]] || { echo '{}'; exit 0; }; REAL`,
			`ask the plugin in \S+ for its version: its answer to VERSION is "{}"`, false},
		"DEL fails at first": {`[[ $CNI_COMMAND != DEL || -e ${0%/*}/tried ]] || { touch "${0%/*}/tried"; exit 1; }; REAL`,
			"ok       " + nic + `: DEL `, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1)
			before := hostState(t)
			cmd, report := r.selftest(nic)
			plugin := filepath.Join(filepath.Dir(cmd.Path), "roce-host-device")
			real, err := os.Readlink(plugin)
			must(t, err)
			must(t, os.Remove(plugin))
			must(t, os.WriteFile(plugin, []byte("#!/bin/bash\nset -e\n"+strings.ReplaceAll(tt.wrong, "REAL", real)+"\n"), 0o755))
			if err := cmd.Run(); (err == nil) != tt.ok || strings.Contains(report.String(), "\nPASSED: ") != tt.ok {
				t.Errorf("%v\n%s", err, report)
			}
			if !regexp.MustCompile(tt.want).MatchString(report.String()) {
				t.Errorf("%s\nwant %s", report, tt.want)
			}
			r.expectHost(before)
			r.expectClean()
		})
	}
}

func TestTheSelftestSaysWhatItCouldNotTry(t *testing.T) {
	if inLab() {
		needLab(t, "")
	}
	r := newRig(t, 1)
	cmd, report := r.selftest(rails[0])
	must(t, os.Remove(filepath.Join(filepath.Dir(cmd.Path), "static")))
	if err := cmd.Run(); err != nil || !strings.Contains(report.String(), "there is no IPAM plugin static in "+filepath.Dir(cmd.Path)) ||
		!regexp.MustCompile(`\nPASSED: \d+ steps, 1 skipped`).MatchString(report.String()) {
		t.Errorf("%v\n%s", err, report)
	}
	cmd, report = r.selftest(rails[0])
	if err := cmd.Run(); err != nil || !strings.Contains(report.String(), "it takes a second free NIC, on the same network") {
		t.Errorf("%v\n%s", err, report)
	}
	if release, _ := os.ReadFile("/etc/os-release"); len(release) > 0 {
		name := regexp.MustCompile(`(?m)^PRETTY_NAME="?([^"\n]+)`).FindSubmatch(release)
		if name != nil && !strings.Contains(report.String(), "\nsystem      "+string(name[1])+"\n") {
			t.Errorf("%s\nwant the system %s", report, name[1])
		}
	}
	if inLab() {
		return
	}
	cmd, report = r.selftest()
	if err := cmd.Run(); err == nil || !strings.Contains(report.String(), "no NIC on this node has an RDMA device; name one") {
		t.Errorf("%v\n%s", err, report)
	}
	if !strings.Contains(report.String(), "\nRDMA mode   unknown: ") {
		t.Errorf("%s\nwant that the kernel has no RDMA", report)
	}
}
