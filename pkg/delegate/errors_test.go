package delegate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
)

func TestNotFound(t *testing.T) {
	e := &Exec{}
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "ourselves")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "other"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "a/b", "missing", "ourselves"} {
		_, err := e.FindInPath(name, []string{dir})
		if err == nil || !NotFound(fmt.Errorf("ask: %w", err)) {
			t.Errorf("%q: %v", name, err)
		}
	}
	path, err := e.FindInPath("other", []string{"/missing", dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = e.ExecPlugin(context.Background(), path, nil, nil); err == nil || !NotFound(err) {
		t.Errorf("not executable: %v", err)
	}
	if err := os.WriteFile(path, []byte("\x7fELF, but the rest was lost"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err = e.ExecPlugin(context.Background(), path, nil, nil); err == nil || !NotFound(err) {
		t.Errorf("damaged: %v", err)
	}
	if NotFound(nil) || NotFound(errors.New("failed to find plugin")) || NotFound(&startError{errors.New("out of memory")}) {
		t.Error("found all the same")
	}
}

func TestRefusedConfig(t *testing.T) {
	for _, test := range []struct {
		err  error
		want bool
	}{
		// host-local and static v1.9.1, whereabouts v0.8.0.
		{types.NewError(1, "incompatible CNI versions", `config is "9.0.0"`), true},
		{types.NewError(2, "unsupported field", "ipam.ranges"), true},
		{types.NewError(6, "error unmarshall network config: invalid character 'o'", ""), true},
		{types.NewError(7, "invalid configuration", ""), true},
		{types.NewError(999, "invalid CIDR address: 10.0.0.0/33", ""), true},
		{types.NewError(999, "json: cannot unmarshal string into Go struct field IPAMConfig.ipam.ranges", ""), true},
		{types.NewError(999, "no IP ranges specified", ""), true},
		{types.NewError(999, "invalid range set 0: RangeStart 10.0.1.1 not in network 10.0.0.0/24", ""), true},
		{types.NewError(999, "range set 0 overlaps with 1", ""), true},
		{types.NewError(999, "IPAM config missing 'ipam' key", ""), true},
		{types.NewError(999, "the 'ip' field is expected to be in CIDR notation, got: '10.0.0.2'", ""), true},
		{types.NewError(999, "an entry in the 'ips' field is NOT in CIDR notation, got: '10.0.0.2'", ""), true},
		{types.NewError(999, "invalid address 0: invalid CIDR address: 10.0.0.2", ""), true},
		{types.NewError(999, "invalid gateway address: 10.0.0", ""), true},
		{types.NewError(999, "lease file: no IP ranges specified", ""), false},
		{fmt.Errorf("free: %w", types.NewError(7, "no", "")), true},
		{types.NewError(999, "invalid CIDR address: 10.0.0.0/33", "in the file of a lease"), false},
		{types.NewError(999, "pool has an invalid CIDR address: 10.0.0.0/33", ""), false},
		{types.NewError(999, "config file not found", ""), false},
		{types.NewError(999, "open /var/lib/cni: no space left on device", ""), false},
		{types.NewError(11, "try again", ""), false},
		{errors.New("invalid CIDR address: x"), false},
		{nil, false},
	} {
		if got := RefusedConfig(test.err); got != test.want {
			t.Errorf("%v: got %t", test.err, got)
		}
	}
}
