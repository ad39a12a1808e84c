package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/claim"
)

// The policy may name another state folder than the default one, where there is
// nothing: a DEL that went on would say that all is done.
func TestADELWaitsForAPolicyThatCannotBeReadNow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(file, []byte(`{"stateDir": "/var/lib/elsewhere"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &Plugin{PolicyFile: file, Proc: "/proc", Log: slog.New(slog.DiscardHandler)}
	for _, more := range []string{`"claims": true`, `"device": "a"`} {
		args := &skel.CmdArgs{ContainerID: "c1", IfName: "eth0", StdinData: []byte(`{"cniVersion": "1.1.0", "name": "pods", "type": "roce-host-device", ` + more + "}")}
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
			t.Errorf("%s: %v", more, err)
		}
	}
}

func TestAClaimedNICIsNamedAfterItsRailAndAnotherFunctionOnItHasItsNumber(t *testing.T) {
	on := func(rail int, address, keys string) claim.Device {
		return claim.Device{Name: address, Bus: "pci", Address: address, Rail: rail, Network: json.RawMessage(keys)}
	}
	for want, claims := range map[string][]claim.Claim{
		"rail1 0000:08:00.0, rail2 0000:09:00.0": {{Devices: []claim.Device{on(1, "0000:09:00.0", ""), on(0, "0000:08:00.0", "")}}},
		"rail1 0000:08:00.1, rail1-2 0000:08:00.2, rail1-3 0000:08:00.3": {
			{Devices: []claim.Device{on(0, "0000:08:00.3", ""), on(0, "0000:08:00.1", "")}}, {Devices: []claim.Device{on(0, "0000:08:00.2", "")}},
		},
		"rail1 mlx5_core.sf.2, rail1-2 mlx5_core.sf.10": {
			{Devices: []claim.Device{on(0, "mlx5_core.sf.10", ""), on(0, "mlx5_core.sf.2", "")}},
		},
		"rail1 0000:08:00.1, fast1 0000:08:00.2": {
			{Devices: []claim.Device{on(0, "0000:08:00.2", `{"ifName": "fast"}`), on(0, "0000:08:00.1", "")}},
		},
		"a1 0000:08:00.1, a1-2 0000:08:00.2, a1-2-2 0000:09:00.1": {
			{Devices: []claim.Device{on(1, "0000:09:00.1", `{"ifName": "a1-"}`), on(0, "0000:08:00.2", `{"ifName": "a"}`), on(0, "0000:08:00.1", `{"ifName": "a"}`)}},
		},
	} {
		o := &operation{args: &skel.CmdArgs{IfName: "eth0"}, config: &netConf{PluginConf: types.PluginConf{CNIVersion: "1.1.0", Name: "pods", Type: "roce-host-device"}}, claims: claims}
		nics, err := o.claimed()
		if err != nil {
			t.Errorf("%s: %v", want, err)
		}
		var got []string
		for _, nic := range nics {
			got = append(got, nic.args.IfName+" "+nic.config.DeviceID)
		}
		if all := strings.Join(got, ", "); all != want {
			t.Errorf("%s, want %s", all, want)
		}
	}
}

func TestNoTwoNICsOfAPodsClaimsHaveARoutingTable(t *testing.T) {
	for keys, want := range map[string]string{
		`{"sourceRouting": true}`:         "",
		`{"sourceRouting": {"table": 7}}`: `claim default/two, device b: network configuration: "sourceRouting" has table 7, and so has another NIC's`,
		`{"mtu": 1}`:                      `claim default/two, device a: network configuration: "mtu" is 1`,
	} {
		two := claim.Claim{Namespace: "default", Name: "two", Devices: []claim.Device{
			{Name: "b", Bus: "pci", Address: "0000:09:00.0", Rail: 1, Network: json.RawMessage(keys)}, {Name: "a", Bus: "pci", Address: "0000:08:00.0", Network: json.RawMessage(keys)},
		}}
		o := &operation{args: &skel.CmdArgs{IfName: "eth0"}, config: &netConf{PluginConf: types.PluginConf{CNIVersion: "1.1.0", Name: "pods", Type: "roce-host-device"}}, claims: []claim.Claim{two}}
		if _, err := o.claimed(); !strings.HasPrefix(fmt.Sprint(err), want) || err != nil && want == "" {
			t.Errorf("%s: %v, want %s", keys, err, want)
		}
	}
}
