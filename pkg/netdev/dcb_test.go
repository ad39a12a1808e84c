package netdev

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/vishvananda/netlink/nl"
)

// answer is what dcbnl_ieee_fill of net/dcb/dcbnl.c writes, for a NIC as
// `mlnx_qos --trust dscp --pfc 0,0,0,1,0,0,0,0` leaves it.
func answer() []byte {
	ets := make([]byte, 59)
	for i := range Priorities {
		ets[3+i], ets[19+i], ets[27+i] = 0, 0, byte(i)
	}
	ets[3+3], ets[19+3] = 50, 2
	pfc := make([]byte, 136)
	pfc[0], pfc[1] = 6, 1<<3 // six classes may have it
	table := nl.NewRtAttr(dcbAppTable, nil)
	for _, app := range [][]byte{{5, 3, 26, 0}, {5, 6, 48, 0}, {1, 3, 0x06, 0x89}} {
		table.AddRtAttr(1, app)
	}
	ieee := nl.NewRtAttr(dcbIEEE, nil)
	ieee.AddChild(nl.NewRtAttr(dcbETS, ets))
	ieee.AddChild(nl.NewRtAttr(dcbPFC, pfc))
	ieee.AddChild(table)
	name := nl.NewRtAttr(dcbName, nl.ZeroTerminated("ens11np0"))
	return bytes.Join([][]byte{{0, dcbGet, 0, 0}, name.Serialize(), ieee.Serialize()}, nil)
}

func TestDataCentreBridgingIsReadAsTheKernelWritesIt(t *testing.T) {
	want := &DCB{
		PFC: &[8]bool{3: true},
		ETS: &ETS{Class: [8]uint8{0, 1, 2, 3, 4, 5, 6, 7}, Bandwidth: [8]uint8{3: 50}, Shares: [8]bool{3: true}},
	}
	want.DSCP = map[uint16]uint8{26: 3, 48: 6}
	if have := parseDCB(answer()); !reflect.DeepEqual(have, want) {
		t.Errorf("%+v, want %+v", have, want)
	}
}

func TestDataCentreBridgingCutShortSaysLess(t *testing.T) {
	whole := answer()
	for n := 0; n < len(whole); n += 4 { // netlink pads
		if d := parseDCB(whole[:n]); d.PFC != nil && d.ETS != nil && len(d.DSCP) == 2 {
			t.Errorf("%d of %d bytes say as much as all", n, len(whole))
		}
	}
}

func TestALinkWithoutDataCentreBridgingHasNone(t *testing.T) {
	host, err := CurrentNamespace()
	if err != nil {
		t.Skip(err)
	}
	defer host.Close()
	if d, err := host.DCB("lo"); d != nil || err != nil {
		t.Errorf("%+v, %v", d, err)
	}
}
