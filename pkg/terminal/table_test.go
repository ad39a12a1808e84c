package terminal_test

import (
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/terminal"
)

func TestATablesColumnsAreAsWideAsTheyNeedToBeAndItsCellsPlain(t *testing.T) {
	var b strings.Builder
	err := terminal.Table(&b, [][]string{{"NIC", "WHERE", "WHAT"}, {"ens12np0", "", "a\tb"}, {"é", "pod\x1b", "two\nlines"}})
	want := "NIC       WHERE  WHAT\n" +
		"ens12np0         a\uFFFDb\n" +
		"é         pod\uFFFD   two; lines\n"
	if got := b.String(); got != want || err != nil {
		t.Errorf("%v\n%q, want\n%q", err, got, want)
	}
}
