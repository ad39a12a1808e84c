package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const list = `{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge"},{"type": "roce-host-device", "claims": true}]}`

func TestTheInstallerPutsThePluginInAndTakesItOut(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "10-pods.conflist")
	plugins := t.TempDir()
	plugin := filepath.Join(plugins, "roce-host-device")
	for file, content := range map[string]string{path: strings.Replace(list, `,{"type": "roce-host-device", "claims": true}`, "", 1), plugin: "#!/bin/sh\n"} {
		if err := os.WriteFile(file, []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int)
	var stderr bytes.Buffer
	go func() {
		ended <- run(ctx, []string{"chain", "--conf-dir", dir, "--cni-dir", plugins}, &stderr, &stderr)
	}()
	read := func() string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
	for end := time.Now().Add(20 * time.Second); read() != list && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if read() != list {
		t.Errorf("the list is %s", read())
	}
	stop()
	if status := <-ended; status != 0 || read() == list {
		t.Errorf("status %d, the list is %s\n%s", status, read(), &stderr)
	}
	if err := os.WriteFile(path, []byte(list), 0o700); err != nil { // what a killed one left
		t.Fatal(err)
	}
	if status := run(t.Context(), []string{"chain", "--conf-dir=" + dir, "--remove"}, &stderr, &stderr); status != 0 || read() == list {
		t.Errorf("status %d, the list is %s\n%s", status, read(), &stderr)
	}
	if status := run(t.Context(), []string{"chain", "--conf-dir=" + path, "--remove"}, &stderr, &stderr); status == 0 {
		t.Errorf("a file is no folder, but: %s", &stderr)
	}
}

func TestAWrongCommandLineIsOneLine(t *testing.T) {
	for _, args := range [][]string{{}, {"chian"}, {"chain", "--confdir=/x"}, {"chain", "more"}, {"chain", "--log-level=loud"}} {
		var stderr bytes.Buffer
		if status := run(t.Context(), args, &stderr, &stderr); status != exitUsage || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%v: status %d, %s", args, status, &stderr)
		}
	}
}
