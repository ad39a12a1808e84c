package attachment

import (
	"net"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

func TestAnotherCardInTheSlotKeepsItsOwnAddress(t *testing.T) {
	const before, another, chosen = "94:6d:ae:00:00:01", "94:6d:ae:00:00:02", "02:00:00:00:00:01"
	for _, tt := range []struct{ recorded, card, want string }{
		{before, before, before},
		{before, another, another},
		{chosen, another, chosen}, // the host's choice is for whatever is in the slot
	} {
		r := &Record{NIC: NIC{Netdev: netdev.Identity{PermanentMAC: before}}, Host: netdev.State{Name: "ens12np0", MAC: tt.recorded}}
		own, err := net.ParseMAC(tt.card)
		if err != nil {
			t.Fatal(err)
		}
		if got := hostState(r, &netlink.Device{LinkAttrs: netlink.LinkAttrs{PermHWAddr: own}}); got.MAC != tt.want || got.Name != "ens12np0" {
			t.Errorf("%+v: %+v", tt, got)
		}
	}
}
