package cni

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"
)

// The policy may name another state folder than the default one, where there is
// nothing: a DEL that went on would say that all is done.
func TestADELOfAPodsClaimsWaitsForAPolicyThatCannotBeReadNow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(file, []byte(`{"stateDir": "/var/lib/elsewhere"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &Plugin{PolicyFile: file, Proc: "/proc", Log: slog.New(slog.DiscardHandler)}
	args := &skel.CmdArgs{ContainerID: "c1", IfName: "eth0", StdinData: []byte(`{"cniVersion": "1.1.0", "name": "pods", "type": "roce-host-device", "claims": true}`)}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	err := p.del(args)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if refusal := (*types.Error)(nil); !errors.As(err, &refusal) || refusal.Code != types.ErrTryAgainLater {
		t.Errorf("%v", err)
	}
}
