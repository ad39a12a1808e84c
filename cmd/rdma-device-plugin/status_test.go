package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/pkg/status"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestTheStatusIsOfTheNodeThatTheFlagsName(t *testing.T) {
	n := node.New(t, node.Eight()...)
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	n.Must(err)
	n.Boot(strings.TrimSpace(string(boot)))
	n.Attach(rdma.Shared, sysfs.MLX5(0))
	kubelet, socket := filepath.Join(n.Dir, "kubelet"), filepath.Join(n.Dir, "probe.sock")
	flags := []string{"--sysfs-root=" + n.Sys(), "--dev-root=" + n.Dev(), "--state-dir=" + n.State(),
		"--kubelet-dir=" + kubelet, "--probe-socket=" + socket}
	name, err := os.Hostname()
	n.Must(err)
	ask := func(args ...string) string {
		var stdout, stderr bytes.Buffer
		if code := run(context.Background(), append([]string{"status"}, append(args, flags...)...), &stdout, &stderr); code != 0 {
			t.Fatalf("%q: status %d, %s", args, code, &stderr)
		}
		return stdout.String()
	}
	var s status.Status
	n.Must(json.Unmarshal([]byte(ask("-o=json")), &s))
	if s.Node != name || len(s.NICs) != 8 || s.NICs[0].Holder == nil || s.NICs[0].Holder.Pod != "default/gpu-rdma-pod-1" {
		t.Errorf("%+v", s)
	}
	text := ask()
	for _, want := range []string{"Node " + name + " at ", "default/gpu-rdma-pod-1 (net1 in pod1)",
		"device plugin: it does not answer at " + socket, "kubelet: it does not answer at " + kubelet} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestWithoutAJournalThatCanBeOpenedNothingIsSaidOfANode(t *testing.T) {
	dir := t.TempDir()
	n := node.NewHere(t)
	n.Must(os.WriteFile(filepath.Join(dir, "state"), nil, 0o600))
	for _, command := range []string{"status", "explain", "discover", "rescue"} {
		var stdout, stderr bytes.Buffer
		args := []string{command, "--sysfs-root=" + n.Sys(), "--dev-root=" + n.Dev(), "--state-dir=" + dir + "/state"}
		if code := run(context.Background(), args, &stdout, &stderr); code == 0 || stdout.Len() > 0 || !strings.Contains(stderr.String(), dir+"/state") {
			t.Errorf("%s: status %d, %q, %q", command, code, &stdout, &stderr)
		}
	}
}

func TestTheSelftestKeepsToTheFoldersThatItIsGiven(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the selftest needs root")
	}
	dir := t.TempDir()
	const plugin = "#!/bin/sh\necho '{\"cniVersion\": \"1.0.0\", \"supportedVersions\": [\"1.0.0\"]}'\n"
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "roce-host-device"), []byte(plugin), 0o700), os.WriteFile(filepath.Join(dir, "state"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	code := run(context.Background(), []string{"selftest", "--cni-dir=" + dir, "--state-dir=" + dir + "/state"}, &stdout, &stderr)
	if code != exitFailure || !strings.Contains(stdout.String(), dir+", CNI 1.0.0") || !strings.Contains(stderr.String(), dir+"/state") {
		t.Errorf("status %d, %q, %q", code, &stdout, &stderr)
	}
}
