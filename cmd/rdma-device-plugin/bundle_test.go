package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/archive"
)

// unpack reads a bundle, without its folder.
func unpack(t *testing.T, packed []byte) map[string]string {
	t.Helper()
	files := map[string]string{}
	for path, file := range archive.Unpack(t, bytes.NewReader(packed)) {
		_, name, _ := strings.Cut(path, "/")
		files[name] = file.Content
	}
	return files
}

func TestTheBundleHasWhatSupportAsksForAndNoSecrets(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"state/attachments/c@net1.json.bad":                  `{"config": {"ipam": {"type": "whereabouts", "etcd_password": "hush"}}}`,
		"state/owed/x.json":                                  `{"owed": true}`,
		"host/proc/sys/kernel/random/boot_id":                "fake\n",
		"host/etc/os-release":                                "ID=debian\n",
		"host/etc/cni/roce-host-device.json":                 `{"force": false}`,
		"host/var/log/pods/kube-system_roce-k8s-x_1/a/0.log": "the plugin's last words\n",
		"host/var/log/pods/default_other_1/a/0.log":          "not ours\n",
		"bin/roce-host-device":                               "#!/bin/sh\necho 'CNI plugin roce-host-device v9' >&2\n",
		"config.json":                                        `{"configList": [{"resourceName": "rails", "rdmaHcaMax": 1, "devices": ["ens11np0"]}]}`,
	} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(content), 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "bundle.tar.gz")
	status, table, stderr := doctorOf(t, "--bundle="+file, "--host-root="+dir+"/host", "--state-dir="+dir+"/state", "--config-file="+dir+"/config.json", "--cni-dir="+dir+"/bin", "--metrics-address=127.0.0.1:1")
	if status != 1 || !strings.Contains(table, "ip link set ens11np0 mtu 9000") {
		t.Fatalf("status %d, %s%s", status, table, stderr)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	packed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	files := unpack(t, packed)
	for name, want := range map[string]string{
		"versions.txt":                      "rdma-device-plugin devel\nroce-host-device v9\nLinux ",
		"doctor.txt":                        "ip link set ens11np0 mtu 9000",
		"doctor.json":                       `"schema": "roce-k8s/doctor/1"`,
		"status.txt":                        "Node ",
		"status.json":                       `"nics": [`,
		"explain.txt":                       "ens11np0",
		"state/attachments/c@net1.json.bad": `"etcd_password": "(left out)"`,
		"state/owed/x.json":                 "owed",
		"roce-host-device.json":             "force",
		"kube-system_roce-k8s-x_1/a/0.log":  "last words",
		"missing.txt":                       "metrics.txt: ",
		"config":                            `"rails"`,
	} {
		if !strings.Contains(files[name], want) {
			t.Errorf("%s lacks %q: %s", name, want, files[name])
		}
	}
	if !strings.HasSuffix(files["versions.txt"], "\n\nID=debian\n") || strings.Contains(files["missing.txt"], "versions.txt") {
		t.Errorf("%s\n%s", files["versions.txt"], files["missing.txt"])
	}
	if files["kernel.log"] == "" && !strings.Contains(files["missing.txt"], "kernel.log: ") {
		t.Errorf("nothing is said of the kernel's log: %s", files["missing.txt"])
	}
	for name, content := range files {
		if strings.Contains(content, "hush") || strings.Contains(content, "not ours") {
			t.Errorf("%s: %s", name, content)
		}
	}
	if status, _, stderr := doctorOf(t, "--bundle="+file); status != 3 || !strings.Contains(stderr, "pack the bundle: ") || !strings.Contains(stderr, "file exists") {
		t.Errorf("the bundle that was there: status %d, %s", status, stderr)
	}
}

func TestABundleThatFailsMidwayLeavesNothingInTheWayOfTheNext(t *testing.T) {
	file, full := filepath.Join(t.TempDir(), "bundle.tar.gz"), errors.New("no space left")
	err := newFile(file, func(w io.Writer) error {
		_, err := w.Write([]byte("half"))
		return errors.Join(err, full)
	})
	if !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
	if err := newFile(file, func(io.Writer) error { return nil }); err != nil {
		t.Errorf("the next: %v", err)
	}
}

func TestTheBundleGoesToStandardOutputInPlaceOfTheTable(t *testing.T) {
	_, stdout, stderr := doctorOf(t, "--bundle=-")
	if files := unpack(t, []byte(stdout)); files["doctor.txt"] == "" || stderr != "" {
		t.Errorf("%v %s", files, stderr)
	}
}
