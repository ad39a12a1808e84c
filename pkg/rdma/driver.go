package rdma

import (
	"os"
	"path/filepath"
	"slices"
)

// NetdevDriver returns the driver of the function that carries a netdev, such
// as mlx5_core, "" for a virtual netdev.
func (n Node) NetdevDriver(netdev string) string {
	driver, err := os.Readlink(filepath.Join(n.class("net", netdev), "device", "driver"))
	if err != nil {
		return ""
	}
	return filepath.Base(driver)
}

// HasSiblings tells whether the function that carries a netdev carries others
// in this namespace, not counting representors: the ports of one function.
func (n Node) HasSiblings(netdev string) (bool, error) {
	names, err := readDir(filepath.Join(n.class("net", netdev), "device", "net"))
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(names, func(name string) bool { return name != netdev && !n.isRepresentor(name) }), nil
}
