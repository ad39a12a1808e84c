package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// doctorOf examines a node of which one thing is known to be wrong: the MTU of a
// NIC.
func doctorOf(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	tree, err := sysfs.New(dir)
	if err == nil {
		err = tree.Add(sysfs.MLX5(0))
	}
	for path, content := range map[string]string{
		"sys/module/ib_core/parameters/netns_mode": "Y", "sys/module/ib_uverbs/refcnt": "1", "sys/module/rdma_ucm/refcnt": "1",
		"sys/class/net/ens11np0/mtu": "1500", "proc/sys/kernel/random/boot_id": "fake",
	} {
		path = filepath.Join(dir, path)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(path), 0o755)
		}
		if err == nil {
			err = os.WriteFile(path, []byte(content+"\n"), 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	var out, failure bytes.Buffer
	all := []string{"doctor", "--sysfs-root=" + tree.Sys(), "--dev-root=" + tree.Dev(), "--host-root=" + dir, "--state-dir=" + dir + "/state",
		"--cni-dir=" + dir + "/none", "--config-file=" + dir + "/none", "--metrics-address="}
	for _, a := range args {
		all = append(all, strings.ReplaceAll(a, "DIR", dir))
	}
	status = run(context.Background(), all, &out, &failure)
	return status, out.String(), failure.String()
}

func TestTheDoctorsStatusSaysHowBadItIs(t *testing.T) {
	for name, c := range map[string]struct {
		args           []string
		status         int
		stdout, stderr string
	}{
		"warnings":              {nil, 1, "ip link set ens11np0 mtu 9000", ""},
		"a warning left out":    {[]string{"--ignore=mtu"}, 0, "clean: 1 rails", ""},
		"two left out":          {[]string{"--ignore=mtu,cni-plugin"}, 0, "clean: 1 rails", ""},
		"warnings are let pass": {[]string{"--fail-on=broken"}, 0, "warnings: 1 rails", ""},
		"in one line":           {[]string{"--brief"}, 1, "warnings: ens11np0 MTU 1500: RoCE packets of 1024 bytes, not 4096\n", ""},
		"as JSON":               {[]string{"--json"}, 1, `"schema": "roce-k8s/doctor/1"`, ""},
		"nothing to write of":   {[]string{"--networks=DIR/none", "--nfd-features=DIR/features", "--counters=DIR/counters", "--bundle=DIR/bundle"}, 3, "", "no such file"},
		"no such networks":      {[]string{"--networks=DIR/none"}, 3, "", "no such file"},
		"no such check":         {[]string{"--ignore=mtus"}, 3, "", `did you mean "mtu"?`},
		"no such NIC":           {[]string{"ens99np0"}, 3, "", "no RDMA device is on ens99np0"},
		"no such status":        {[]string{"--fail-on=never"}, 3, "", "--fail-on=never: use warning or broken"},
		"no such flag":          {[]string{"--jsom"}, 3, "", "flag provided but not defined"},
		"a bad configuration":   {[]string{"--config-file=DIR"}, 3, "", "is a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			status, stdout, stderr := doctorOf(t, c.args...)
			if status != c.status || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) || strings.Count(stderr, "\n") > 1 || c.status == 3 && stdout != "" {
				t.Errorf("status %d\nstdout %s\nstderr %s", status, stdout, stderr)
			}
		})
	}
}

func TestTheDoctorsStatusForABrokenNodeIsTwo(t *testing.T) {
	networks := filepath.Join(t.TempDir(), "networks.yaml")
	if err := os.WriteFile(networks, []byte("kind: NetworkAttachmentDefinition\nmetadata: {name: a}\nspec: {config: '{'}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, failOn := range []string{"warning", "broken"} {
		if status, stdout, _ := doctorOf(t, "--fail-on="+failOn, "--networks="+networks); status != 2 || !strings.Contains(stdout, "network-config") {
			t.Errorf("%d: %s", status, stdout)
		}
	}
}

func TestTheDoctorAsksTheDevicePluginHowTheMemlockPluginIs(t *testing.T) {
	const plugin, memlock = "rdma_device_plugin_build_info{version=\"v-fake\"} 1\n", "# TYPE rdma_device_plugin_memlock_connected gauge\nrdma_device_plugin_memlock_connected "
	for connected, found := range map[string]bool{memlock + "0\n": true, memlock + "1\n": false, "": false} { // without a word the node has no such plugin
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, plugin+connected) }))
		defer server.Close()
		_, stdout, stderr := doctorOf(t, "--metrics-address="+strings.TrimPrefix(server.URL, "http://"))
		if strings.Contains(stdout, "is not connected") != found || strings.Contains(stdout, "memlock-plugin: ") {
			t.Errorf("connected %s: %s%s", connected, stdout, stderr)
		}
	}
}

func TestTheDoctorWritesTheFilesThatItIsGivenAndNoOthers(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // it reads what the first run wrote
		if status, stdout, stderr := doctorOf(t, "--counters="+dir+"/counters.json", "--nfd-features="+dir+"/roce"); status != 1 || strings.Contains(stdout, "no file for the readings was given") {
			t.Errorf("%d: %s%s", status, stdout, stderr)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Errorf("%v, %v", files, err)
	}
}

func TestTheDoctorLooksIntoTheHostsFolders(t *testing.T) {
	host := t.TempDir()
	files := map[string]string{
		"etc/modprobe.d/a.conf": "options ib_core netns_mode=0\n", "run/modprobe.d/b.conf": "options ib_core netns_mode=0\n", "usr/lib/modprobe.d/c.conf": "options ib_core netns_mode=0\n",
		"proc/cmdline": "quiet ib_core.netns_mode=0\n", "proc/sys/kernel/random/boot_id": "fake\n", "etc/cni/roce-host-device.json": "{",
	}
	for path, content := range files {
		path = filepath.Join(host, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	status, stdout, stderr := doctorOf(t, "--host-root="+host)
	for _, want := range []string{"/etc/modprobe.d/a.conf,/run/modprobe.d/b.conf,/usr/lib/modprobe.d/c.conf,the kernel's command line  sets mode exclusive", "/etc/cni/roce-host-device.json"} {
		if status != exitBroken || !strings.Contains(stdout, want) {
			t.Errorf("status %d, no %q in\n%s%s", status, want, stdout, stderr)
		}
	}
}
