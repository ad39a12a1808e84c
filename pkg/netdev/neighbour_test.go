package netdev

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The kernel lists those of bridges with the others.
func TestAnEntryOfABridgeIsNoNeighbour(t *testing.T) {
	const index, state = 7, unix.NUD_PERMANENT
	for family, want := range map[byte]Neighbour{
		unix.AF_INET:   {Address: netip.MustParseAddr("192.0.2.20"), MAC: "02:00:00:00:00:20", Flags: unix.NTF_ROUTER},
		unix.AF_BRIDGE: {},
	} {
		header := []byte{family, 0, 0, 0}
		header = binary.NativeEndian.AppendUint32(header, index)
		header = append(binary.NativeEndian.AppendUint16(header, state), unix.NTF_ROUTER, 0)
		answer := slices.Concat(header, nl.NewRtAttr(unix.NDA_DST, []byte{192, 0, 2, 20}).Serialize(), nl.NewRtAttr(unix.NDA_LLADDR, []byte{2, 0, 0, 0, 0, 0x20}).Serialize())
		on, is, got := neighbourIn(answer)
		if valid := want != (Neighbour{}); got != want || (on == index) != valid || (is == state) != valid {
			t.Errorf("family %d: %+v on %d in state %x, want %+v", family, got, on, is, want)
		}
		if on, _, got := neighbourIn(answer[:11]); on != 0 || got != (Neighbour{}) {
			t.Errorf("half an answer is %+v", got)
		}
	}
}
