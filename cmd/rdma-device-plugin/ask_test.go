package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestProbeAndForgetEndAsTheInstanceAnswers(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch asked := fmt.Sprint(r.Method, " ", r.URL.Path, " ", string(body)); asked {
		case "GET /healthz ", "POST /forget mlx5_0":
		default:
			http.Error(w, "not for "+asked, http.StatusServiceUnavailable)
		}
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	for _, tt := range []struct {
		args   []string
		status int
		say    string
	}{
		{[]string{"probe", "/healthz"}, 0, ""},
		{[]string{"probe", "/readyz"}, 1, "/readyz: 503 Service Unavailable: not for GET /readyz"},
		{[]string{"forget", "mlx5_0"}, 0, ""},
		{[]string{"forget", "mlx5_1"}, 1, "/forget: 503 Service Unavailable: not for POST /forget mlx5_1"},
	} {
		var stdout, stderr bytes.Buffer
		status := run(context.Background(), []string{tt.args[0], "--probe-socket=" + socket, tt.args[1]}, &stdout, &stderr)
		if status != tt.status || stdout.Len() > 0 || !strings.Contains(stderr.String(), tt.say) || tt.say == "" && stderr.Len() > 0 {
			t.Errorf("%q: status %d, %q, %q", tt.args, status, &stdout, &stderr)
		}
	}
}

func TestTheDoctorReadsStandardInputTheHostsKubeletAndItsLinks(t *testing.T) {
	const network = `{"kind": "NetworkAttachmentDefinition", "metadata": {"name": "n"}, "spec": {"config": "{\"type\": \"roce-host-device\", \"device\": \"ens99np0\"}"}}`
	n := node.NewHere(t, sysfs.MLX5(0), sysfs.MLX5(8)) // of two NUMA nodes
	c, args := find([]string{"doctor", "--networks=-", "--sysfs-root=" + n.Sys(), "--dev-root=" + n.Dev(), "--host-root=" + n.Dir, "--state-dir=" + n.State(),
		"--cni-dir=" + n.Dir, "--config-file=" + n.Dir + "/none", "--metrics-address="})
	line, err := c.parse(args, io.Discard)
	n.Must(err)
	var stdout bytes.Buffer
	_, err = c.run(n.Ctx, line, streams{in: strings.NewReader(network), out: &stdout})
	for _, want := range []string{`device "ens99np0" is not on this node`, n.Dir + "/var/lib/kubelet/config.yaml", "ask for the data centre bridging of ens11np0: "} {
		if err != nil || !strings.Contains(stdout.String(), want) {
			t.Errorf("%v, no %s in\n%s", err, want, &stdout)
		}
	}
}

func TestTheCommandMemlockLogsHowItIs(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	log := &node.Logs{}
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"memlock", "--nri-socket=" + t.TempDir() + "/none"}, log, log) }()
	for ctx.Err() == nil && !strings.Contains(log.String(), "not connected to the container runtime") {
		time.Sleep(5 * time.Millisecond)
	}
	if ctx.Err() != nil {
		t.Error("it says nothing")
	}
	cancel()
	if status := <-ended; status != 0 {
		t.Errorf("status %d, %s", status, log)
	}
}

func TestTheDoctorReadsTheNetworksAndTheConfigurationThatItIsGiven(t *testing.T) {
	const network = `{"kind": "NetworkAttachmentDefinition", "metadata": {"name": "n"}, "spec": {"config": "{\"type\": \"roce-host-device\", \"device\": \"ens99np0\"}"}}`
	dir := t.TempDir()
	for file, content := range map[string]string{
		"networks.json": network,
		"config.json":   `{"configList": [{"resourceName": "a", "rdmaHcaMax": 1, "devices": ["ens11np0"]}]}`,
		"other.json":    `{"configList": [{"resourceName": "a", "rdmaHcaMax": 1, "devices": ["ens99np0"]}]}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		arg    string
		status int
		stdout string
	}{
		"networks of a file":            {"--networks=" + dir + "/networks.json", 1, `device "ens99np0" is not on this node`},
		"a configuration, for the rail": {"--config-file=" + dir + "/config.json", 1, "MTU 1500"},
		"a folder of CNI plugins":       {"--cni-dir=" + dir, 2, dir + "/roce-host-device"},
		"one for another":               {"--config-file=" + dir + "/other.json", 2, "none of its 1 RDMA devices is chosen"},
	} {
		status, stdout, stderr := doctorOf(t, tt.arg)
		if status != tt.status || !strings.Contains(stdout, tt.stdout) {
			t.Errorf("%s: status %d\n%s\n%s", name, status, stdout, stderr)
		}
	}
}
