package inventory

import (
	"slices"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

func TestADeviceThatARecordHoldsIsWhatItWasOnTheHost(t *testing.T) {
	mlx := func(netdevs ...string) rdma.Device {
		return rdma.Device{Name: "mlx5_0", Bus: rdma.BusPCI, Address: "0000:08:00.0", Netdevs: netdevs}
	}
	for name, tt := range map[string]struct {
		visible []rdma.Device
		rdma    *rdma.Device // in the record
		moved   bool
		known   bool // afterwards
	}{
		"it stayed visible":              {[]rdma.Device{mlx()}, new(mlx("ens12np0")), false, true},
		"under its name in the pod":      {[]rdma.Device{mlx("net1")}, new(mlx("ens12np0")), false, true},
		"it went with its netdev":        {nil, new(mlx("ens12np0")), true, true},
		"it stayed, and has gone":        {nil, new(mlx("ens12np0")), false, false},
		"the record has the netdev only": {[]rdma.Device{mlx()}, nil, false, true},
		"and the device has gone":        {nil, nil, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCollection(tt.visible)
			second := "" // netdev of the device
			if tt.rdma != nil {
				second = " ens13np0"
				tt.rdma.Netdevs = append(tt.rdma.Netdevs, "ens13np0")
			}
			r := &attachment.Record{IfName: "net1", Host: netdev.State{Name: "ens12np0", AltNames: []string{"rail1"}},
				NIC: attachment.NIC{Bus: rdma.BusPCI, Address: "0000:08:00.0", RDMA: tt.rdma, RDMAMoved: tt.moved}}
			c.hold(r)
			if known := len(c.devices) == 1; known != tt.known {
				t.Fatalf("%+v", c.devices)
			}
			if !tt.known {
				return
			}
			d := c.devices[0]
			if d.Place != InPod || d.Holder != r || d.Visible != (tt.visible != nil) || strings.Join(d.Netdevs, " ") != "ens12np0"+second || !slices.Equal(d.AltNames, []string{"rail1"}) {
				t.Errorf("%+v", d)
			}
		})
	}
}

func TestWhatIsRememberedOfADeviceFillsInWhatTheJournalDoesNotKnow(t *testing.T) {
	seen := rdma.Device{Name: "mlx5_0", Bus: rdma.BusPCI, Address: "0000:08:00.0"}
	with := seen
	with.Netdevs = []string{"ens12np0"}
	known := Device{Device: with, AltNames: []string{"rail1"}, Masters: []string{"bond0"}}
	for name, tt := range map[string]struct {
		now                        []Device
		remembered                 Device
		place                      Place
		netdevs, altNames, masters []string
	}{
		"it is not to be seen":         {nil, known, "", []string{"ens12np0"}, []string{"rail1"}, []string{"bond0"}},
		"its netdev is away":           {[]Device{{Device: seen, Place: OnHost}}, known, InPod, []string{"ens12np0"}, []string{"rail1"}, []string{"bond0"}},
		"its netdev has another name":  {[]Device{{Device: with, Place: OnHost}}, Device{Device: seen, Masters: []string{"bond0"}}, OnHost, []string{"ens12np0"}, nil, nil},
		"it never had one":             {[]Device{{Device: seen, Place: OnHost}}, Device{Device: seen}, OnHost, nil, nil, nil},
		"a record says where it is":    {[]Device{{Device: with, Place: InPod, AltNames: []string{"own"}}}, known, InPod, []string{"ens12np0"}, []string{"own"}, []string{"bond0"}},
		"it is on the host, all of it": {[]Device{{Device: with, Place: OnHost, Masters: []string{"bond1"}}}, known, OnHost, []string{"ens12np0"}, nil, []string{"bond1"}},
	} {
		c := newCollection(nil)
		for _, d := range tt.now {
			c.add(d)
		}
		tt.remembered.MTU, tt.remembered.Rate = 4200, 4e11
		c.recall(tt.remembered)
		if len(c.devices) != 1 {
			t.Errorf("%s: %+v", name, c.devices)
			continue
		}
		d := c.devices[0]
		if d.MTU != 4200 || d.Rate != 4e11 {
			t.Errorf("%s: MTU %d, %g bits per second", name, d.MTU, d.Rate)
		}
		if d.Place != tt.place || !slices.Equal(d.Netdevs, tt.netdevs) || !slices.Equal(d.AltNames, tt.altNames) || !slices.Equal(d.Masters, tt.masters) {
			t.Errorf("%s: %s, netdevs %v, also called %v, in %v", name, d.Place, d.Netdevs, d.AltNames, d.Masters)
		}
	}
}
