package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/claim"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/commandline"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
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

// nobody is where no API server is.
const nobody = "http://127.0.0.1:1"

// kubeconfig is a file that says how to reach an API server.
func kubeconfig(t *testing.T, server string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := `{"clusters": [{"name": "a", "cluster": {"server": "` + server + `"}}], "contexts": [{"name": "a", "context": {"cluster": "a"}}], "current-context": "a"}`
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
		`"configList" is empty`:   {exitUsage, []string{"--node-name=a", "--kubeconfig=" + kubeconfig(t, nobody), "--config-file=" + bad}},
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
	c, err := (&driverLine{kubeconfig: kubeconfig(t, nobody)}).server()
	if err != nil {
		t.Fatal(err)
	}
	if c.Host != nobody || c.QPS != 20 || c.Burst != 50 || c.UserAgent != "rdma-dra-driver/"+buildVersion {
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

func TestAClaimsNetworkIsCheckedAsTheCNIPluginReadsIt(t *testing.T) {
	line, err := parseDriver([]string{"--node-name=a"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for keys, ok := range map[string]bool{`{"mtu": 4200}`: true, `{"mtuu": 4200}`: false, `{"device": "ens12np0"}`: false} { // the claim says which NIC
		if err := line.CheckNetwork(json.RawMessage(keys)); (err == nil) != ok {
			t.Errorf("%s: %v", keys, err)
		}
	}
}

// refusing stands in for an API server that lets nobody write.
func refusing(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch query := r.URL.Query(); {
	case query.Get("sendInitialEvents") != "": // the client lists instead
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid", "code": 422}`)
	case query.Get("watch") != "":
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	case strings.HasPrefix(r.URL.Path, "/api/v1/nodes/"):
		_, _ = io.WriteString(w, `{"kind": "Node", "apiVersion": "v1", "metadata": {"name": "a", "uid": "n1"}}`)
	case r.Method == http.MethodGet:
		_, _ = io.WriteString(w, `{"kind": "ResourceSliceList", "apiVersion": "resource.k8s.io/v1", "metadata": {"resourceVersion": "1"}, "items": []}`)
	default:
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403}`)
	}
}

func TestWhatTheAPIServerRefusesIsInTheMetricsBesideTheClaims(t *testing.T) {
	n := node.New(t, node.Eight()...)
	n.Write("config.json", `{"configList": [{"resourceName": "a", "rdmaHcaMax": 1, "selectors": {"vendors": ["15b3"]}}]}`)
	n.Must(os.MkdirAll(filepath.Join(n.Dir, "plugins_registry"), 0o750))
	server := httptest.NewServer(http.HandlerFunc(refusing))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	n.Must(err)
	address := l.Addr().String()
	n.Must(l.Close())
	ctx, stop := context.WithCancel(n.Ctx)
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"--node-name=a", "--kubeconfig=" + kubeconfig(t, server.URL), "--config-file=" + filepath.Join(n.Dir, "config.json"), "--kubelet-dir=" + n.Dir,
			"--state-dir=" + n.State(), "--cdi-dir=" + filepath.Join(n.Dir, "cdi"), "--sysfs-root=" + n.Sys(), "--dev-root=" + n.Dev(), "--metrics-address=" + address}, n.Logs, n.Logs)
	}()
	n.Must(claim.Write(n.State(), claim.Claim{UID: "c1", Pod: attachment.Pod{UID: "a"}, Devices: []claim.Device{{Name: "n", Bus: rdma.BusPCI, Address: "0000:08:00.0"}}}))
	n.Until("a claim and a refused write are counted", func() bool {
		request, err := http.NewRequestWithContext(n.Ctx, http.MethodGet, "http://"+address+"/metrics", nil)
		n.Must(err)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		n.Must(err)
		return strings.Contains(string(text), "\nrdma_dra_driver_claims 1\n") && regexp.MustCompile(`(?m)^rdma_dra_driver_api_writes_total\{resource="resourceslices",result="error"\} [1-9]`).Match(text)
	})
	stop()
	if status := <-ended; status != 0 {
		t.Errorf("status %d\n%s", status, n.Logs)
	}
}
