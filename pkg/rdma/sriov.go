package rdma

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// VirtualFunctions is how many virtual functions the function of a netdev has
// now, 0 if it can have none.
func (n Node) VirtualFunctions(netdev string) int {
	content, err := os.ReadFile(filepath.Join(n.Sys, "class/net", netdev, "device/sriov_numvfs"))
	if err != nil {
		return 0
	}
	number, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return 0
	}
	return number
}
