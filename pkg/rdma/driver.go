package rdma

import (
	"os"
	"path/filepath"
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
// in this namespace, representors aside: the ports of one function.
func (n Node) HasSiblings(netdev string) bool {
	dir := filepath.Join(n.class("net", netdev), "device", "net")
	names, _ := readDir(dir)
	for _, name := range names {
		if _, is := n.IsRepresentor(name); name != netdev && !is {
			return true
		}
	}
	return false
}
