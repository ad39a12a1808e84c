package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/roce-k8s/roce-k8s/test/standin/kubeapi"
)

func TestItServesAsSoonAsTheFlatFileIsThereUntilItIsTold(t *testing.T) {
	config := kubeapi.WhereaboutsConfig{Folder: t.TempDir(), Lease: kubeapi.Lease{
		Duration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second}}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, "127.0.0.1:0", config, slog.New(slog.DiscardHandler)) }()

	flat := waitFor(t, config.ConfigurationPath())
	if !strings.Contains(flat, `"leader_lease_duration": 15000`) {
		t.Errorf("the flat file has not the lease that was asked for: %s", flat)
	}
	kubeconfig := waitFor(t, regexp.MustCompile(`"kubeconfig": "(.*)"`).FindStringSubmatch(flat)[1])
	server := regexp.MustCompile(`"server": "(.*)"`).FindStringSubmatch(kubeconfig)[1]
	response, err := http.Get(server + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "ok" {
		t.Errorf("got %q, %v", body, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the end: %v", err)
	}
}

func waitFor(t *testing.T, path string) string {
	t.Helper()
	for range 500 {
		if content, err := os.ReadFile(path); err == nil {
			return string(content)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s not written within 5 s", path)
	return ""
}
