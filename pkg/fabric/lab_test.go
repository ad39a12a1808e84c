package fabric

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The tests in this file look at what two machines of the lab found, which test/fabric
// wired to each other: see its scripts.

// inLab reads a report, with its page and what rank 0 exited with.
func inLab(t *testing.T, name string) (r *Report, page string, status int) {
	t.Helper()
	folder := os.Getenv("ROCE_FABRIC_REPORTS")
	if folder == "" {
		t.Skip("needs two machines of the lab: run it with `make test-fabric`")
	}
	read := func(file string) string {
		b, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if err := json.Unmarshal([]byte(read(name+".json")), &r); err != nil {
		t.Fatal(err)
	}
	status, err := strconv.Atoi(strings.TrimSpace(read(name + "-a.status")))
	if err != nil {
		t.Fatal(err)
	}
	if other := strings.TrimSpace(read(name + "-b.status")); other != "0" {
		t.Errorf("the other node's status is %s", other)
	}
	return r, read(name + ".html"), status
}

// cells are the verdicts of a report by rail.
func cells(r *Report) map[int]Verdict {
	verdicts := map[int]Verdict{}
	for _, m := range r.Tests {
		if !m.Cross {
			verdicts[m.FromRail] = m.Verdict
		}
	}
	return verdicts
}

func TestInTheLabAllRailsOfHealthyNodesPass(t *testing.T) {
	r, page, status := inLab(t, "healthy")
	if r.Verdict != Passed || status != 0 || len(r.Findings) > 0 {
		t.Errorf("%s, status %d, %q", r.Verdict, status, findings(r))
	}
	for _, m := range r.Tests {
		if !m.Cross && (m.Verdict != Passed || m.Typical == 0 || m.Bandwidth == 0 || m.MTU != 4096) {
			t.Errorf("%s: %+v", m, *m)
		}
	}
	if shown := look(t, page); shown.Count["failed"]+shown.Count["slow"] > 0 || shown.Count["passed"] == 0 || shown.Wide > 0 {
		t.Errorf("%+v", shown)
	}
}

func TestInTheLabTheCutRailAndNoOtherFails(t *testing.T) {
	r, page, status := inLab(t, "cut")
	if r.Verdict != Failed || status != 2 {
		t.Errorf("%s, status %d", r.Verdict, status)
	}
	for rail, v := range cells(r) {
		if (v == Failed) != (rail == 1) || v == Slow {
			t.Errorf("rail %d %s", rail, v)
		}
	}
	if have := findings(r); len(have) != 1 || have[0] != "failed: node-b rail 1 (ens11np0): the port of rxe1 is DOWN: look at cable, transceiver and switch port" {
		t.Errorf("%q", have)
	}
	// In both halves of its matrix, and the NIC whose port it is.
	if shown := look(t, page); shown.Count["failed"] != 3 || shown.Count["slow"] > 0 {
		t.Errorf("%+v", shown)
	}
}

func TestInTheLabASmallMTUIsExplained(t *testing.T) {
	r, page, status := inLab(t, "mtu")
	at := slices.IndexFunc(r.Findings, func(f Finding) bool { return slices.Contains(f.NICs, NIC{1, 2}) })
	if at < 0 {
		t.Fatalf("%q", findings(r))
	}
	const why = "MTU 1500: RoCE packets of 1024 bytes (active_mtu), where others have MTU 9000 and 4096 bytes"
	if f := r.Findings[at]; f.What != why || f.Verdict != cells(r)[2] || !strings.Contains(page, why) || status != 2 || len(r.Findings) != 2 {
		t.Errorf("status %d, %q", status, findings(r))
	}
	for rail, v := range cells(r) {
		if (v == Passed) == (rail == 1 || rail == 2) {
			t.Errorf("rail %d %s", rail, v)
		}
	}
}
