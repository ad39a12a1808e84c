package rdma

import (
	"fmt"
	"path/filepath"
	"strconv"
)

// VirtualFunctions is how many virtual functions a netdev's function has
// now, 0 if it can have none.
func (n Node) VirtualFunctions(netdev string) (int, error) {
	content, err := readOptional(filepath.Join(n.class("net", netdev), "device/sriov_numvfs"))
	if err != nil || content == "" {
		return 0, err
	}
	number, err := strconv.Atoi(content)
	if err != nil {
		return 0, fmt.Errorf("sriov_numvfs of %s: %w", netdev, err)
	}
	return number, nil
}
