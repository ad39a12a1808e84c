package cni

import (
	"encoding/json"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
)

func TestNameServersAreTheNetworksOwnOrElseTheIPAMPlugins(t *testing.T) {
	own, leased := []string{"192.0.2.1"}, []string{"192.0.2.2"}
	for _, tt := range []struct{ network, ipam, want []string }{{own, leased, own}, {own, nil, own}, {nil, leased, leased}, {nil, nil, nil}} {
		o := &operation{args: &skel.CmdArgs{}, config: &netConf{}}
		o.config.DNS.Nameservers = tt.network
		answer := &current.Result{DNS: types.DNS{Nameservers: tt.ipam}}
		nic := &transfer{operation: o, record: &attachment.Record{}, moved: &netlink.Device{}, address: answer}
		if got := o.result([]*transfer{nic}).DNS.Nameservers; !slices.Equal(got, tt.want) {
			t.Errorf("network %v, IPAM plugin %v: %v", tt.network, tt.ipam, got)
		}
	}
}

func TestCHECKWantsTheMTUOfWhoeverSaysThatHeSetIt(t *testing.T) {
	for _, tt := range []struct{ network, result, want int }{
		{0, 0, 0}, {0, 4200, 0}, // anybody may have
		{9000, 0, 9000}, {9000, 9000, 9000},
		{9000, 4200, 4200}, // a later plugin
	} {
		o := &operation{config: &netConf{MTU: tt.network}}
		if got := o.expectedMTU(&current.Interface{Mtu: tt.result}); got != tt.want {
			t.Errorf("network %d, result %d: %d, want %d", tt.network, tt.result, got, tt.want)
		}
	}
}

func TestAnAnswerHasNoKeysThatItsVersionLacks(t *testing.T) {
	for version, want := range map[string]bool{"1.1.0": true, "1.0.0": false, "0.4.0": false, "0.3.1": false} {
		_, dst, _ := net.ParseCIDR("10.9.0.0/16")
		scope := 253
		result := &current.Result{
			CNIVersion: current.ImplementedSpecVersion,
			Interfaces: []*current.Interface{{Name: "net1", Mtu: 4200, SocketPath: "/run/x", PciID: "0000:08:00.0"}},
			IPs:        []*current.IPConfig{{Address: net.IPNet{IP: net.IPv4(172, 31, 1, 2).To4(), Mask: net.CIDRMask(24, 32)}, Interface: current.Int(0)}},
			Routes:     []*types.Route{{Dst: *dst, GW: net.IPv4(172, 31, 1, 1), MTU: 4000, AdvMSS: 3900, Priority: 7, Scope: &scope}},
		}
		answer, err := inVersion(result, version)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(answer)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"mtu", "socketPath", "pciID", "advmss", "priority", "scope"} {
			if has := strings.Contains(string(b), `"`+key+`":`); has != want {
				t.Errorf("%s: %q is there: %v\n%s", version, key, has, b)
			}
		}
		for _, part := range []string{`"cniVersion":"` + version + `"`, `"gw":"172.31.1.1"`, `"dst":"10.9.0.0/16"`, `"name":"net1"`} {
			if !strings.Contains(string(b), part) {
				t.Errorf("%s: no %s in %s", version, part, b)
			}
		}
	}
}
