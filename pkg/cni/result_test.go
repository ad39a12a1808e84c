package cni

import (
	"slices"
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
