package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/commandline"
)

func TestEachFlagChangesWhatItIsCalledAfter(t *testing.T) {
	commandline.CompareEffects(t, flags(t), func(flag ...string) (any, error) {
		return parseDriver(append([]string{"--metrics-tls-dir=tls"}, flag...), io.Discard) // which others need
	}, map[string]string{
		"--attributes-file=1": "AttributesFile=1",
		"--cdi-dir=1":         "CDIDir=1",
		"--cni-dir=1":         "Hook=1/roce-host-device pluginDir=1",
		"--conf-dir=1":        "confDir=1",
		"--config-file=1":     "ConfigFile=1",
		"--dev-root=1":        "Node.Dev=1",
		"--kubeconfig=1":      "kubeconfig=1",
		"--kubelet-dir=1":     "KubeletDir=1",
		"--log-format=1":      "refused",
		"--log-level=1":       "refused",
		"--counters-socket=1": "CountersSocket=1", "--memlock-socket=1": "MemlockSocket=1", "--metrics-address=1": "MetricsAddress=1", "--metrics-client-ca=1": "MetricsAccess.ClientCA=1",
		"--metrics-tls-dir=1": "MetricsAccess.TLSDir=1", "--metrics-token-file=1": "MetricsAccess.TokenFile=1",
		"--node-name=1":  "NodeName=1",
		"--pod-uid=1":    "PodUID=1",
		"--state-dir=1":  "StateDir=1",
		"--sysfs-root=1": "Node.Sys=1",
	})
	commandline.CompareEffects(t, flags(t, "chain"), func(flag ...string) (any, error) {
		return parseChain(flag, io.Discard)
	}, map[string]string{
		"--cni-dir=1":    "Plugins=1",
		"--conf-dir=1":   "Dir=1",
		"--log-format=1": "refused",
		"--log-level=1":  "refused",
		"--remove=1":     "remove=true",
	})
}

// kubeconfig is a file that says how to reach an API server at which nobody is.
func kubeconfig(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	const text = `{"clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}], "contexts": [{"name": "a", "context": {"cluster": "a"}}], "current-context": "a"}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestTheDriverSaysInOneLineWhyItDoesNotRun(t *testing.T) {
	t.Setenv("NODE_NAME", "")
	bad := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(bad, []byte(`{"configlist": []}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, test := range map[string]struct {
		status int
		args   []string
	}{
		"which node is this":      {exitUsage, nil},
		`unknown command "run"`:   {exitUsage, []string{"--node-name=a", "run"}},
		"flag provided but not":   {exitUsage, []string{"--node=a"}},
		"--metrics-client-ca":     {exitUsage, []string{"--node-name=a", "--metrics-client-ca=/ca"}},
		`log level "loud"`:        {exitUsage, []string{"--node-name=a", "--log-level=loud"}},
		`"configList" is empty`:   {exitUsage, []string{"--node-name=a", "--kubeconfig=" + kubeconfig(t), "--config-file=" + bad}},
		"find the API server":     {exitFailure, []string{"--node-name=a", "--kubeconfig=/none"}},
		"find the API server: un": {exitFailure, []string{"--node-name=a"}}, // we are in no pod
	} {
		var stdout, stderr bytes.Buffer
		status := run(t.Context(), test.args, &stdout, &stderr)
		if status != test.status || strings.Count(stderr.String(), "\n") != 1 || !strings.HasPrefix(stderr.String(), "rdma-dra-driver: ") ||
			!strings.Contains(stderr.String(), want) || stdout.Len() > 0 {
			t.Errorf("%v: status %d, %s%s", test.args, status, &stdout, &stderr)
		}
	}
}

func TestTheAPIServerIsAskedInRowsAndToldWhoAsks(t *testing.T) {
	c, err := (&driverLine{kubeconfig: kubeconfig(t)}).server()
	if err != nil {
		t.Fatal(err)
	}
	if c.Host != "http://127.0.0.1:1" || c.QPS != 20 || c.Burst != 50 || c.UserAgent != "rdma-dra-driver/"+buildVersion {
		t.Errorf("%s, %v a second and %d at once, as %s", c.Host, c.QPS, c.Burst, c.UserAgent)
	}
}

func TestAClaimIsNotPreparedWhereTheListOfPluginsLacksOurs(t *testing.T) {
	dir := t.TempDir()
	line, err := parseDriver([]string{"--node-name=a", "--conf-dir=" + dir}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := line.Chained(); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "10-pods.conflist"), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := line.Chained(); err != nil {
		t.Error(err)
	}
}

func TestTheVersionIsPrinted(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), []string{"--version"}, &stdout, &stderr); status != 0 || stdout.String() != "rdma-dra-driver "+buildVersion+"\n" || stderr.Len() > 0 {
		t.Errorf("status %d, %q, %q", status, &stdout, &stderr)
	}
}
