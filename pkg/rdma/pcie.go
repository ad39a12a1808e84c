package rdma

import (
	"strconv"
	"strings"
)

// A PCIeLink is what the link of a function runs at and what the function could
// do, 0 where the kernel does not say. Speeds are in transfers per second.
type PCIeLink struct {
	Speed, MaxSpeed float64
	Width, MaxWidth int // lanes
}

// PCIeLink reads the link of the PCI function with an address. Virtual functions
// have none of their own.
func (n Node) PCIeLink(address string) PCIeLink {
	dir := n.functionPath(BusPCI, address)
	speed := func(file string) float64 {
		text, _ := readString(dir, file)
		number, _, _ := strings.Cut(text, " GT/s") // "32.0 GT/s PCIe", or "Unknown"
		gigatransfers, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return 0
		}
		return gigatransfers * 1e9
	}
	const unknown = 255 // PCIE_LNK_WIDTH_UNKNOWN
	width := func(file string) int {
		text, _ := readString(dir, file)
		lanes, err := strconv.Atoi(text)
		if err != nil || lanes == unknown {
			return 0
		}
		return lanes
	}
	return PCIeLink{speed("current_link_speed"), speed("max_link_speed"), width("current_link_width"), width("max_link_width")}
}
