package main

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/document"
)

const page = "../../../docs/fabric-test.md"

func none(string) string { return "" }

func TestTheDocumentHasEveryFlagAndNoOther(t *testing.T) {
	var help bytes.Buffer
	if status := run(t.Context(), []string{"--help"}, none, &help, &help); status != 0 {
		t.Fatalf("status %d", status)
	}
	var flags []string
	for _, match := range regexp.MustCompile(`(?m)^  -(\S+)`).FindAllStringSubmatch(help.String(), -1) {
		flags = append(flags, "--"+match[1])
	}
	document.Compare(t, page, document.FirstWords(t, page, "| flag | default | |"), flags)
}

func TestAWrongFlagIsNamedWithWhatWouldDo(t *testing.T) {
	for args, want := range map[string]string{
		"--nodes=1":                            "--nodes=1: use 2 to 1024",
		"--rank=2":                             "--rank=2: use 0 to 1",
		"--rank=1":                             "--coordinator: name the host of rank 0",
		"--port=0":                             "--port=0: use 1 to 65535",
		"--perftest-port=65001":                "--perftest-port=65001: use 1 to 65000",
		"--fail-on=never":                      "--fail-on=never: use slow or failed",
		"--cross-rail=maybe":                   "use told, works, apart or off",
		"--seconds=0":                          "0 is no seconds: use 1 to 3600",
		"--max-latency=-1":                     "cannot be negative",
		"--min-bandwidth=80 --within=0s":       "0s for a run of perftest is too short: its bandwidth takes 3s",
		"--min-bandwidth=110%":                 "use a percentage of the port's rate, such as 80%, or Gbit/s, such as 350",
		"net1":                                 `unexpected "net1": all arguments are flags`,
		"--rank=1 --coordinator=a --nodes=bad": "invalid value",
	} {
		var said bytes.Buffer
		if status := run(t.Context(), strings.Fields(args), none, &said, &said); status != exitUnable || !strings.Contains(said.String(), want) {
			t.Errorf("%s: %d, %s", args, status, said.String())
		}
	}
}

func TestThePodsIndexIsItsRank(t *testing.T) {
	o, err := parse([]string{"--nodes=8", "--coordinator=first", "--rails=net1,net2"}, func(name string) string {
		return map[string]string{"JOB_COMPLETION_INDEX": "5"}[name]
	}, nil)
	if err != nil || o.node.Rank != 5 || o.node.Coordinator != "first:7471" || !slices.Equal(o.node.Rails, []string{"net1", "net2"}) || o.coordinator.Nodes != 8 {
		t.Errorf("%+v, %v", o, err)
	}
}
