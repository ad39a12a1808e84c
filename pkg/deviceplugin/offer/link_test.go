package offer

import (
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

func TestACarrierMattersWhereTheHostHasTheNetdevOfARoCEPort(t *testing.T) {
	for name, tt := range map[string]struct {
		layer     string
		place     inventory.Place
		noCarrier bool
		want      string
	}{
		"RoCE on the host":            {"Ethernet", inventory.OnHost, true, "its netdev has no carrier"},
		"with a carrier":              {"Ethernet", inventory.OnHost, false, ""},
		"IPoIB, which may be down":    {"InfiniBand", inventory.OnHost, true, ""},
		"in a pod, which may have it": {"Ethernet", inventory.InPod, true, ""},
	} {
		d := inventory.Device{Device: rdma.Device{Ports: []rdma.Port{{Number: 1, LinkLayer: tt.layer, State: "ACTIVE", PhysState: "LinkUp"}}}, Place: tt.place, NoCarrier: tt.noCarrier}
		if why := noLink(d); why != tt.want {
			t.Errorf("%s: %q, want %q", name, why, tt.want)
		}
	}
}

func TestOneActivePortIsEnough(t *testing.T) {
	for _, tt := range []struct {
		ports []rdma.Port
		want  string
	}{
		{[]rdma.Port{{State: "DOWN", PhysState: "Polling"}, {State: "ACTIVE", PhysState: "LinkUp"}}, ""},
		{[]rdma.Port{{State: "ACTIVE", PhysState: ""}}, ""}, // some drivers do not say
		{[]rdma.Port{{State: "ARMED", PhysState: "LinkUp"}}, "its port is ARMED, LinkUp"},
		{[]rdma.Port{{State: "DOWN", PhysState: "Polling"}, {State: "INIT", PhysState: "LinkUp"}}, "its port is DOWN, Polling"},
	} {
		if why := noLink(inventory.Device{Device: rdma.Device{Ports: tt.ports}, Place: inventory.OnHost}); why != tt.want {
			t.Errorf("%v: %q, want %q", tt.ports, why, tt.want)
		}
	}
}
