package main

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/document"
)

const page = "../../docs/device-plugin.md"

func TestTheDocumentHasEveryFlagAndNoOther(t *testing.T) {
	var help bytes.Buffer
	if status := run(context.Background(), []string{"--help"}, &help, &help); status != 0 {
		t.Fatalf("status %d", status)
	}
	var flags []string
	for _, match := range regexp.MustCompile(`(?m)^  -(\S+)`).FindAllStringSubmatch(help.String(), -1) {
		dashes := "--"
		if len(match[1]) == 1 {
			dashes = "-"
		}
		flags = append(flags, dashes+match[1])
	}
	document.Compare(t, page, document.FirstWords(t, page, "| flag | default | |"), flags)
}

func TestTheDocumentHasEveryCommandAndNoOther(t *testing.T) {
	commands := document.Cases(t, "main.go", "command")
	document.Compare(t, page, document.Commands(t, page, "rdma-device-plugin"), commands)
	var stderr bytes.Buffer
	run(context.Background(), []string{"zzzzzzzz"}, &stderr, &stderr)
	for _, command := range commands {
		if !strings.Contains(stderr.String(), command) {
			t.Errorf("%s is not in %q", command, &stderr)
		}
	}
}
