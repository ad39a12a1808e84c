package main

import (
	"bytes"
	"regexp"
	"slices"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/document"
)

const page = "../../docs/dra.md"

func TestTheDocumentHasEveryFlagAndNoOther(t *testing.T) {
	flags := []string{"--version"}
	for _, command := range [][]string{{"--help"}, {"chain", "--help"}} {
		var help bytes.Buffer
		if status := run(t.Context(), command, &help, &help); status != 0 {
			t.Fatalf("%v: status %d", command, status)
		}
		for _, match := range regexp.MustCompile(`(?m)^  -(\S+)`).FindAllStringSubmatch(help.String(), -1) {
			flags = append(flags, "--"+match[1])
		}
	}
	slices.Sort(flags)
	document.Compare(t, page, document.FirstWords(t, page, "| flag | default | |"), slices.Compact(flags))
}

func TestTheDriverSaysWhichNodeItMissesAndRefusesABadConfiguration(t *testing.T) {
	t.Setenv("NODE_NAME", "")
	for want, args := range map[string][]string{
		"which node is this":    {},
		"unknown command":       {"--node-name=a", "run"},
		"flag provided but not": {"--node=a"},
		"find the API server":   {"--node-name=a", "--kubeconfig=/none"},
		`log level "loud"`:      {"--node-name=a", "--log-level=loud"},
	} {
		var stderr bytes.Buffer
		if status := run(t.Context(), args, &stderr, &stderr); status == 0 || bytes.Count(stderr.Bytes(), []byte("\n")) != 1 || !bytes.Contains(stderr.Bytes(), []byte(want)) {
			t.Errorf("%v: status %d, %s", args, status, &stderr)
		}
	}
}
