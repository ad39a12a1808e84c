package claim_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/claim"
)

const podUID, otherUID = "0a1b-1", "0a1b-2"

func of(pod, uid string, rails ...int) claim.Claim {
	c := claim.Claim{Version: 1, UID: uid, Namespace: "training", Name: "rails-" + uid, Pod: attachment.Pod{Namespace: "training", Name: "p", UID: pod}}
	for _, rail := range rails {
		c.Devices = append(c.Devices, claim.Device{Request: "nics", Name: fmt.Sprintf("pci-%d", rail), Bus: "pci", Address: fmt.Sprintf("0000:%02x:00.0", rail+8), Rail: rail})
	}
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(claim.Dir(dir))
	must(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestAClaimIsItsNewPodsAlone(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []claim.Claim{of(podUID, "c1", 0), of(podUID, "c2", 1), of(otherUID, "c1", 0)} {
		must(t, claim.Write(dir, c))
	}
	if got, want := names(t, dir), []string{podUID + ".c2.json", otherUID + ".c1.json"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestAPodFindsItsOwnClaimsUntilTheyAreRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state") // made when it is needed
	if all, err := claim.OfPod(dir, podUID); len(all) != 0 || err != nil {
		t.Fatalf("before the first: %v, %v", all, err)
	}
	one, two, other := of(podUID, "c1", 0, 1), of(podUID, "c2", 2), of(otherUID, "c3", 3)
	two.Devices[0].Network = json.RawMessage(`{"mtu":9000}`)
	for _, c := range []claim.Claim{one, two, other, one} { // a second time is the same
		must(t, claim.Write(dir, c))
	}
	all, err := claim.OfPod(dir, podUID)
	must(t, err)
	for i := range all {
		for j := range all[i].Devices { // indented with the rest
			if n := &all[i].Devices[j].Network; len(*n) > 0 {
				*n = json.RawMessage(strings.Join(strings.Fields(string(*n)), ""))
			}
		}
	}
	if want := []claim.Claim{one, two}; !reflect.DeepEqual(all, want) {
		t.Errorf("%+v, want %+v", all, want)
	}
	for range 2 {
		must(t, claim.Remove(dir, "c1"))
	}
	listed, bad, err := claim.List(dir)
	if len(listed) != 2 || listed[0].UID != "c2" || listed[1].UID != "c3" || len(bad) != 0 || err != nil {
		t.Errorf("after the removal: %v, %v, %v", listed, bad, err)
	}
	for path, want := range map[string]os.FileMode{claim.Dir(dir): 0o700, filepath.Join(claim.Dir(dir), podUID+".c2.json"): 0o600} {
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
	}
}

func TestWhatAKilledWriteLeftIsReplacedAndRemoved(t *testing.T) {
	dir := t.TempDir()
	must(t, claim.Write(dir, of(podUID, "c1", 0)))
	half := filepath.Join(claim.Dir(dir), podUID+".c1.json.new")
	must(t, os.WriteFile(half, []byte("{"), 0o600))
	if all, err := claim.OfPod(dir, podUID); len(all) != 1 || err != nil {
		t.Errorf("%v, %v", all, err)
	}
	must(t, claim.Write(dir, of(podUID, "c1", 1)))
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("after the next write: %v", got)
	}
	must(t, os.WriteFile(half, []byte("{"), 0o600))
	must(t, claim.Remove(dir, "c1"))
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("after the removal: %v", got)
	}
}

// Whoever can write a claim chooses which NICs a pod gets.
func TestAFileThatIsNoClaimIsItsPodsTroubleAlone(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(path string) error
		want  string
	}{
		"of another user": {func(p string) error { return os.Chown(p, 1000, 0) }, "user 1000's"},
		"of a group":      {func(p string) error { return os.Chmod(p, 0o660) }, "mode 0660"},
		"a link": {func(p string) error {
			return os.Symlink("/none", renamed(p))
		}, "is a symbolic link"},
		"cut short": {func(p string) error { return os.Truncate(p, 10) }, "unexpected end of JSON"},
		"of another pod": {func(p string) error {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			return os.WriteFile(p, []byte(strings.Replace(string(b), podUID, "0a1b-9", 1)), 0o600)
		}, "it belongs into 0a1b-9.c1.json"},
	} {
		t.Run(name, func(t *testing.T) {
			if os.Getuid() != 0 {
				t.Skip("giving files away needs root")
			}
			dir := t.TempDir()
			must(t, claim.Write(dir, of(podUID, "c1", 0)))
			must(t, claim.Write(dir, of(otherUID, "c2", 1)))
			must(t, tt.spoil(filepath.Join(claim.Dir(dir), podUID+".c1.json")))
			if all, err := claim.OfPod(dir, podUID); len(all) != 0 || err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "c1.json") {
				t.Errorf("%v, %v", all, err)
			}
			if all, err := claim.OfPod(dir, otherUID); len(all) != 1 || err != nil {
				t.Errorf("the other pod's: %v, %v", all, err)
			}
			if all, bad, err := claim.List(dir); len(all) != 1 || len(bad) != 1 || err != nil {
				t.Errorf("%v, %v, %v", all, bad, err)
			}
		})
	}
}

func renamed(path string) string {
	_ = os.Rename(path, path+".real")
	return path
}

func TestAFolderThatOthersCanWriteToHasNoClaims(t *testing.T) {
	dir := t.TempDir()
	must(t, claim.Write(dir, of(podUID, "c1", 0)))
	must(t, os.Chmod(claim.Dir(dir), 0o777))
	for what, err := range map[string]error{
		"read":   func() error { _, err := claim.OfPod(dir, podUID); return err }(),
		"write":  claim.Write(dir, of(podUID, "c2", 1)),
		"remove": claim.Remove(dir, "c1"),
	} {
		if err == nil || !strings.Contains(err.Error(), "mode 0777") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestOnlyAWholeClaimIsWritten(t *testing.T) {
	for want, spoil := range map[string]func(*claim.Claim){
		`UID "../c1" of the claim`:        func(c *claim.Claim) { c.UID = "../c1" },
		`"" of the pod is none`:           func(c *claim.Claim) { c.Pod.UID = "" },
		"no devices":                      func(c *claim.Claim) { c.Devices = nil },
		`"ens12np0" is no address on bus`: func(c *claim.Claim) { c.Devices[0].Address = "ens12np0" },
		"0000:08:00.0 is there twice":     func(c *claim.Claim) { c.Devices[1].Address = c.Devices[0].Address },
		"has rail -1":                     func(c *claim.Claim) { c.Devices[1].Rail = -1 },
		"0000:09:00.0 is no JSON object":  func(c *claim.Claim) { c.Devices[1].Network = json.RawMessage(`["mtu"]`) },
		"0000:08:00.0 is no JSON object":  func(c *claim.Claim) { c.Devices[0].Network = json.RawMessage(`null`) },
	} {
		dir := t.TempDir()
		c := of(podUID, "c1", 0, 1)
		spoil(&c)
		if err := claim.Write(dir, c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if entries, err := os.ReadDir(dir); len(entries) != 0 || err != nil {
			t.Errorf("%s: %v, %v", want, entries, err)
		}
	}
}
