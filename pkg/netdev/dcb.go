package netdev

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Priorities is how many priorities Ethernet has, and at most as many traffic
// classes (IEEE_8021QAZ_MAX_TCS in <linux/dcbnl.h>).
const Priorities = 8

// DCB is a NIC's half of data centre bridging (IEEE 802.1Qaz), as its driver
// reports it.
type DCB struct {
	// PFC are the priorities that pause instead of losing packets; nil if the
	// driver does not say.
	PFC *[Priorities]bool
	// ETS is how priorities share the link; nil if the driver does not say.
	ETS *ETS
	// DSCP says which priority a packet of a DSCP has. Drivers such as mlx5 go by
	// the DSCP once there is an entry, and by the VLAN tag while there is none
	// (mlx5e_dcbnl_ieee_setapp in drivers/net/ethernet/mellanox/mlx5/core/en_dcbnl.c).
	DSCP map[uint16]uint8
}

// ETS is enhanced transmission selection.
type ETS struct {
	Class     [Priorities]uint8 // of each priority
	Bandwidth [Priorities]uint8 // of each class that shares, in per cent
	Shares    [Priorities]bool  // whether a class shares; the others are strict
}

// From <linux/dcbnl.h>; the unix package has no names for them.
const (
	dcbGet = 21 // DCB_CMD_IEEE_GET

	sizeofDCBMsg = 4 // struct dcbmsg: family, command and padding

	dcbName     = 1  // DCB_ATTR_IFNAME
	dcbIEEE     = 13 // DCB_ATTR_IEEE
	dcbETS      = 1  // DCB_ATTR_IEEE_ETS
	dcbPFC      = 2  // DCB_ATTR_IEEE_PFC
	dcbAppTable = 3  // DCB_ATTR_IEEE_APP_TABLE

	dcbSharing      = 2 // IEEE_8021QAZ_TSA_ETS
	dcbSelectorDSCP = 5 // IEEE_8021QAZ_APP_SEL_DSCP
)

// DCB asks a netdev's driver for it. It is nil where the driver or the kernel has
// none (dcb_doit in net/dcb/dcbnl.c); it takes no privilege.
// Equivalent to: `dcb ets show dev $name`, `dcb pfc show`, `dcb app show`.
func (n *Namespace) DCB(name string) (*DCB, error) {
	answers, err := n.route.Request(unix.RTM_GETDCB, 0, raw{unix.AF_UNSPEC, dcbGet, sizeofDCBMsg - 1: 0}, nl.NewRtAttr(dcbName, nl.ZeroTerminated(name)))
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err == nil && len(answers) != 1 {
		err = unix.EBADMSG
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the data centre bridging of %s: %w", name, err)
	}
	return parseDCB(answers[0]), nil
}

func parseDCB(answer []byte) *DCB {
	ieee := valueAt(answer[min(sizeofDCBMsg, len(answer)):], dcbIEEE)
	d := &DCB{DSCP: map[uint16]uint8{}}
	if pfc := valueAt(ieee, dcbPFC); len(pfc) > 1 { // struct ieee_pfc: capabilities, the bits
		d.PFC = &[Priorities]bool{}
		for i := range d.PFC {
			d.PFC[i] = pfc[1]>>i&1 == 1
		}
	}
	// struct ieee_ets: three bytes, then eight of each of these.
	const bandwidth, selection, class, end = 3, 3 + 2*Priorities, 3 + 3*Priorities, 3 + 4*Priorities
	if ets := valueAt(ieee, dcbETS); len(ets) >= end {
		d.ETS = &ETS{}
		copy(d.ETS.Bandwidth[:], ets[bandwidth:])
		copy(d.ETS.Class[:], ets[class:])
		for i := range d.ETS.Shares {
			d.ETS.Shares[i] = ets[selection+i] == dcbSharing
		}
	}
	for _, app := range Attributes(valueAt(ieee, dcbAppTable)) { // struct dcb_app: selector, priority, protocol
		if len(app) >= 4 && app[0] == dcbSelectorDSCP {
			d.DSCP[nl.NativeEndian().Uint16(app[2:])] = app[1]
		}
	}
	return d
}
