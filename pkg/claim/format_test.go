package claim_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/claim"
)

// text is a claim as it is on disk, for programs of other releases.
const text = `{
  "version": 1,
  "uid": "c1",
  "namespace": "training",
  "name": "rails-c1",
  "pod": {
    "namespace": "training",
    "name": "p",
    "uid": "0a1b-1"
  },
  "devices": [
    {
      "request": "nics",
      "name": "pci-1",
      "bus": "pci",
      "address": "0000:09:00.0",
      "rail": 1
    }
  ]
}
`

func TestAClaimIsWrittenInTheFormatThatItsVersionSays(t *testing.T) {
	dir := t.TempDir()
	c := of(podUID, "c1", 1)
	c.Version = 0 // who writes says it
	must(t, claim.Write(dir, c))
	b, err := os.ReadFile(filepath.Join(dir, "claims", podUID+".c1.json"))
	must(t, err)
	if string(b) != text {
		t.Errorf("%s\nwant %s", b, text)
	}
}

func TestAFileThatIsNoClaimOfThisFormatSaysWhy(t *testing.T) {
	pci := `"bus": "pci",
      "address": "0000:09:00.0"`
	for name, tt := range map[string]struct{ old, new, want string }{
		"as it was written":          {"", "", ""},
		"a subfunction":              {pci, `"bus": "auxiliary", "address": "mlx5_core.sf.4"`, ""},
		"keys of a newer release":    {`"version": 1`, `"version": 1, "more": true`, ""},
		"another format":             {`"version": 1`, `"version": 2`, "format version 2, this program reads 1"},
		"no format":                  {`"version": 1,`, "", "format version 0, this program reads 1"},
		"a bus that we do not know":  {`"pci",`, `"usb",`, `device "pci-1": "0000:09:00.0" is no address on bus "usb"`},
		"an address of another bus":  {`"bus": "pci"`, `"bus": "auxiliary"`, `device "pci-1": "0000:09:00.0" is no address on bus "auxiliary"`},
		"a subfunction on this bus":  {"0000:09:00.0", "mlx5_core.sf.4", `device "pci-1": "mlx5_core.sf.4" is no address on bus "pci"`},
		"the first rail":             {`"rail": 1`, `"rail": 0`, ""},
		"a rail before it":           {`"rail": 1`, `"rail": -1`, "device 0000:09:00.0 has rail -1"},
		"a network":                  {`"rail": 1`, `"rail": 1, "network": {}`, ""},
		"a network that is none":     {`"rail": 1`, `"rail": 1, "network": null`, "the network of device 0000:09:00.0 is no JSON object"},
		"the name of another claim":  {`"uid": "c1"`, `"uid": "c2"`, "it belongs into " + podUID + ".c2.json"},
		"a UID that leads elsewhere": {`"uid": "c1"`, `"uid": "../c1"`, `UID "../c1" of the claim or "0a1b-1" of the pod is none`},
		"nothing behind it":          {"\n  ]\n}", "\n  ]", "unexpected end of JSON input"},
	} {
		dir := t.TempDir()
		must(t, os.Mkdir(claim.Dir(dir), 0o700))
		path := filepath.Join(claim.Dir(dir), podUID+".c1.json")
		must(t, os.WriteFile(path, []byte(strings.Replace(text, tt.old, tt.new, 1)), 0o600))
		claims, err := claim.OfPod(dir, podUID)
		is, want := "", ""
		if err != nil {
			is = err.Error()
		}
		if tt.want != "" {
			want = "claim file " + path + ": " + tt.want
		}
		if is != want || len(claims) != 1 && want == "" {
			t.Errorf("%s: %v, %q, want %q", name, claims, is, want)
		}
	}
}

func TestTheLongestClaimThatIsWrittenIsRead(t *testing.T) {
	dir := t.TempDir()
	of := func(long int) claim.Claim {
		c := of(podUID, "c1", 0)
		c.Version = 1
		c.Devices[0].Network = json.RawMessage(`{"a":""}`)
		b, err := json.MarshalIndent(c, "", "  ")
		must(t, err)
		c.Devices[0].Network = json.RawMessage(`{"a":"` + strings.Repeat("a", long-len(b)) + `"}`)
		return c
	}
	const longest = 1<<20 - 1
	must(t, claim.Write(dir, of(longest)))
	if all, err := claim.OfPod(dir, podUID); len(all) != 1 || err != nil {
		t.Errorf("%d claims, %v", len(all), err)
	}
	err := claim.Write(t.TempDir(), of(longest+1))
	if err == nil || err.Error() != "write down claim training/rails-c1: it is 1048576 bytes long and must be shorter than 1048576" {
		t.Errorf("%v", err)
	}
}

func TestARemovalTakesAllThatIsWrittenOfOneClaimAndNoMore(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []claim.Claim{of(podUID, "c1", 0), of(podUID, "cc1", 1), of(podUID, "c12", 2)} {
		must(t, claim.Write(dir, c))
	}
	must(t, os.WriteFile(filepath.Join(claim.Dir(dir), otherUID+".c1.json"), nil, 0o600)) // of a write that was killed
	must(t, os.WriteFile(filepath.Join(claim.Dir(dir), "c1.json"), nil, 0o600))
	must(t, claim.Remove(dir, "c1"))
	if got, want := names(t, dir), []string{podUID + ".c12.json", podUID + ".cc1.json", "c1.json"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if err := claim.Remove(dir, "../c1"); err == nil || err.Error() != `remove a claim: "../c1" is no UID` {
		t.Errorf("%v", err)
	}
	must(t, claim.Write(dir, of(otherUID, "c3", 0)))
	must(t, os.Mkdir(filepath.Join(claim.Dir(dir), podUID+".c3.json"), 0o700))
	must(t, os.WriteFile(filepath.Join(claim.Dir(dir), podUID+".c3.json", "file"), nil, 0o600))
	if err := claim.Remove(dir, "c3"); err == nil || !strings.HasPrefix(err.Error(), "remove claim c3: ") {
		t.Errorf("what cannot be removed: %v", err)
	}
	if got := names(t, dir); slices.Contains(got, otherUID+".c3.json") {
		t.Errorf("it stands in the way of the rest: %v", got)
	}
}

func TestFilesOfAPodAreThoseWithItsWholeUID(t *testing.T) {
	dir := t.TempDir()
	must(t, claim.Write(dir, of(podUID, "c1", 0)))
	must(t, claim.Write(dir, of(podUID+"1", "c2", 0)))
	must(t, os.WriteFile(filepath.Join(claim.Dir(dir), podUID+".note"), nil, 0o600))
	all, err := claim.OfPod(dir, podUID)
	if len(all) != 1 || all[0].Pod.UID != podUID || err != nil {
		t.Errorf("%v, %v", all, err)
	}
	for _, none := range []string{"", "..", "0a1b-1/x"} {
		if all, err := claim.OfPod(dir, none); all != nil || err != nil {
			t.Errorf("%q: %v, %v", none, all, err)
		}
	}
}

func TestAClaimHasADeviceByItsBusAndAddress(t *testing.T) {
	c := of(podUID, "c1", 0, 1)
	for name, tt := range map[string]struct {
		bus, address string
		want         bool
	}{
		"the second": {"pci", "0000:09:00.0", true}, "another": {"pci", "0000:0a:00.0", false}, "on another bus": {"auxiliary", "0000:09:00.0", false},
	} {
		if c.Has(tt.bus, tt.address) != tt.want {
			t.Error(name)
		}
	}
}

func TestAClaimThatCannotBeWrittenIsAnErrorAndLeavesNothing(t *testing.T) {
	name := podUID + ".c1.json"
	for what, tt := range map[string]struct {
		prepare func(dir string) error // of the state
		left    []string               // in the folder of the claims
	}{
		"a file where the state folder is to be": {func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, nil},
		"a file where the claims' folder is to be": {func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(claim.Dir(dir), nil, 0o600))
		}, nil},
		"a folder where the claim is to be": {func(dir string) error {
			return os.MkdirAll(filepath.Join(claim.Dir(dir), name, "taken"), 0o755)
		}, []string{name}},
		"a folder where it is to be written first": {func(dir string) error {
			return os.MkdirAll(filepath.Join(claim.Dir(dir), name+".new", "taken"), 0o755)
		}, []string{name + ".new"}},
	} {
		dir := filepath.Join(t.TempDir(), "state")
		must(t, tt.prepare(dir))
		if err := claim.Write(dir, of(podUID, "c1", 0)); err == nil || !strings.HasPrefix(err.Error(), "write down claim training/rails-c1: ") {
			t.Errorf("%s: %v", what, err)
		}
		if tt.left != nil {
			if got := names(t, dir); !slices.Equal(got, tt.left) {
				t.Errorf("%s: left %v", what, got)
			}
		}
	}
}

func TestAFolderOfClaimsThatCannotBeReadIsAnErrorForAll(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(claim.Dir(dir), nil, 0o600))
	_, _, listed := claim.List(dir)
	_, found := claim.OfPod(dir, podUID)
	for what, err := range map[string]error{"list the claims: ": listed, "list the claims:": found, "remove claim c1: ": claim.Remove(dir, "c1")} {
		if err == nil || !strings.HasPrefix(err.Error(), what) {
			t.Errorf("%v, want %s", err, what)
		}
	}
}

func TestTheStateFolderIsMadeForOthersToSee(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	dir := filepath.Join(t.TempDir(), "state")
	must(t, claim.Write(dir, of(podUID, "c1", 0)))
	for path, want := range map[string]os.FileMode{dir: 0o755, claim.Dir(dir): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}
