package rdma

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
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

// ScalableFunctions is how many scalable functions a netdev's function has now.
// They are devices of the auxiliary bus below it, "mlx5_core.sf.4"
// (mlx5_sf_dev_add in drivers/net/ethernet/mellanox/mlx5/core/sf/dev/dev.c).
func (n Node) ScalableFunctions(netdev string) (int, error) {
	names, err := readDir(filepath.Join(n.class("net", netdev), "device"))
	number := 0
	for _, name := range names {
		if strings.Contains(name, ".sf.") {
			number++
		}
	}
	return number, err
}
