package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/document"
)

const page = "../../docs/deploying.md"

func TestTheDocumentHasEveryCommandAndNoOther(t *testing.T) {
	document.Compare(t, page, document.Commands(t, page, "roce-host-device"), document.Cases(t, "main.go", "command"))
}

func TestTheDocumentHasEveryFlagOfInstallAndNoOther(t *testing.T) {
	source, err := os.ReadFile("install.go")
	if err != nil {
		t.Fatal(err)
	}
	var flags []string
	for _, match := range regexp.MustCompile(`flags\.\w+\("([^"]+)"`).FindAllStringSubmatch(string(source), -1) {
		flags = append(flags, "--"+match[1])
		if !strings.Contains(installUsage, "--"+match[1]+" ") {
			t.Errorf("--%s is not in the usage", match[1])
		}
	}
	document.Compare(t, page, document.FirstWords(t, page, "| flag of `install` | default | |"), flags)
}
