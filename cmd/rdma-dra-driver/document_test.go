package main

import (
	"bytes"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/commandline"
)

const page = "../../docs/dra.md"

// flags are those of the driver, or of its command chain, with their defaults.
func flags(t *testing.T, command ...string) map[string]string {
	t.Helper()
	t.Setenv("NODE_NAME", "$NODE_NAME")
	t.Setenv("POD_UID", "$POD_UID")
	var help bytes.Buffer
	if status := run(t.Context(), append(command, "--help"), &help, &help); status != 0 {
		t.Fatalf("%v: status %d", command, status)
	}
	return commandline.Defaults(help.String())
}

func TestTheDocumentHasEveryFlagWithItsDefaultAndNoOther(t *testing.T) {
	all := flags(t)
	for name, is := range flags(t, "chain") {
		if has, ok := all[name]; ok && has != is {
			t.Errorf("--%s is %q, and %q for chain", name, has, is)
		}
		all[name] = is
	}
	all["version"] = ""
	commandline.Compare(t, page, all)
}
