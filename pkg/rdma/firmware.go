package rdma

// Firmware returns what an RDMA device says of its firmware, and of the board
// that it is on: "28.39.1002" and "MT_0000000838". What it does not say is "".
func (n Node) Firmware(device string) (version, board string) {
	version, _ = readString(n.class("infiniband", device), "fw_ver")
	board, _ = readString(n.class("infiniband", device), "board_id")
	return version, board
}
