package counters

import (
	"errors"
	"maps"
	"net"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

func TestStatisticsAreOfANICsNetdevsOnTheHostOrOfTheOneInAPod(t *testing.T) {
	host := node.NewHost(t)
	node.AddNIC(t, host, "nic0")
	node.AddNIC(t, host, "nic1")
	away := node.AddNIC(t, host, "nic2")
	pod, err := netns.New()
	if err := errors.Join(err, netns.Set(host.NS), netlink.LinkSetHardwareAddr(away, net.HardwareAddr{2, 0, 0, 0, 0, 7}), netlink.LinkSetNsFd(away, int(pod))); err != nil {
		t.Fatal(err)
	}
	defer pod.Close()
	soft := func(name, guid, netdev string, place inventory.Place) NIC {
		return NIC{Device: inventory.Device{Device: rdma.Device{Name: name, Soft: true, NodeGUID: guid, Netdevs: []string{netdev}}, Place: place}}
	}
	two := NIC{Device: inventory.Device{Device: rdma.Device{Name: "mlx5_0", Bus: rdma.BusPCI, Address: "0000:08:00.0", Netdevs: []string{"nic0", "nic1", "nic9"}}, Place: inventory.OnHost}}
	nics := []NIC{
		two, soft("rxe1", "0000:00ff:fe00:0007", "nic2", inventory.InPod), soft("rxe2", "0000:00ff:fe00:0008", "nic3", inventory.InPod),
		soft("rxe3", "0000:00ff:fe00:0009", "nic0", inventory.Gone), {Device: inventory.Device{Device: rdma.Device{Name: "bare"}, Place: inventory.InPod}},
	}
	got := NetdevStatistics(host)(t.Context(), nics)
	want := map[string][]string{nics[0].Key(): {"nic0", "nic1"}, nics[1].Key(): {"nic2"}}
	if len(got) != len(want) {
		t.Errorf("of %v", slices.Sorted(maps.Keys(got)))
	}
	for key, names := range want {
		if has := slices.Sorted(maps.Keys(got[key])); !slices.Equal(has, names) || len(got[key][names[0]]) == 0 {
			t.Errorf("%s: %q, want %q", key, has, names)
		}
	}
}

// Of a NIC with a record that says more than an address does: what a pod can give
// a link of its own.
func TestALinkInAPodIsTheNICsIfTheRecordOrItsFunctionSaysSo(t *testing.T) {
	bare := NIC{Device: inventory.Device{Device: rdma.Device{Bus: rdma.BusPCI, Address: "0000:08:00.0", Netdevs: []string{"pods"}}}}
	recorded := bare
	recorded.Holder = &attachment.Record{
		Host: netdev.State{Name: "ens12np0"},
		NIC:  attachment.NIC{Netdev: netdev.Identity{ParentBus: "pci", Parent: "0000:08:00.0", PermanentMAC: "94:6d:ae:00:00:01"}},
	}
	if bare.away() != "pods" || recorded.away() != "ens12np0" {
		t.Errorf("called %s, %s", bare.away(), recorded.away())
	}
	link := func(address, permanent string) *netlink.LinkAttrs {
		mac, _ := net.ParseMAC(permanent)
		return &netlink.LinkAttrs{ParentDevBus: "pci", ParentDev: address, PermHWAddr: mac}
	}
	for _, tt := range []struct {
		link           *netlink.LinkAttrs
		bare, recorded bool
	}{
		{link("0000:08:00.0", "94:6d:ae:00:00:01"), true, true},
		{link("0000:08:00.0", "94:6d:ae:00:00:02"), true, false}, // another port
		{link("0000:09:00.0", "94:6d:ae:00:00:01"), false, false},
	} {
		if is, recordedIs := bare.has(tt.link), recorded.has(tt.link); is != tt.bare || recordedIs != tt.recorded {
			t.Errorf("%+v: %v without a record, %v with one", tt.link, is, recordedIs)
		}
	}
}
