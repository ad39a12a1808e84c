package main

import (
	"bytes"
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/document"
)

const page = "../../docs/device-plugin.md"

func TestTheDocumentHasEveryFlagAndNoOther(t *testing.T) {
	var flags []string
	for _, c := range commands() {
		var help bytes.Buffer
		if status := run(context.Background(), append(strings.Fields(c.name), "--help"), &help, &help); status != 0 {
			t.Fatalf("%s: status %d", c.name, status)
		}
		for _, match := range regexp.MustCompile(`(?m)^  -(\S+)`).FindAllStringSubmatch(help.String(), -1) {
			dashes := "--"
			if len(match[1]) == 1 {
				dashes = "-"
			}
			flags = append(flags, dashes+match[1])
		}
	}
	slices.Sort(flags)
	document.Compare(t, page, document.FirstWords(t, page, "| flag | default | |"), slices.Compact(flags))
}

func TestTheDocumentHasEveryCommandAndNoOther(t *testing.T) {
	var all []string
	for _, c := range commands() {
		if c.name != "" && !strings.Contains(c.name, " ") {
			all = append(all, c.name)
		}
	}
	document.Compare(t, page, document.Commands(t, page, "rdma-device-plugin"), all)
}

func TestEachCommandTakesItsOwnFlagsOnly(t *testing.T) {
	for _, args := range [][]string{
		{"--range=10.0.0.0/24"}, {"status", "--use-cdi"}, {"validate", "--metrics-address="}, {"discover", "merge", "--state-dir=/x"}, {"probe", "-o=json"},
	} {
		var stderr bytes.Buffer
		if status := run(context.Background(), args, &stderr, &stderr); status != exitUsage || !strings.Contains(stderr.String(), "flag provided but not defined") {
			t.Errorf("%v: status %d, %s", args, status, &stderr)
		}
	}
}
