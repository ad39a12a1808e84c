package rdma

import (
	"os"
	"path/filepath"
)

// A Node is a place to read RDMA hardware from.
type Node struct {
	// Sys is the sysfs mount, "/sys". What it shows of infiniband and net
	// belongs to the network namespace in which it was mounted.
	Sys string
	// Dev is the device folder, "/dev".
	Dev string
}

// Host is the node that this process runs on.
func Host() Node { return Node{Sys: "/sys", Dev: "/dev"} }

// DevRoot is where the host's /dev is mounted in a container, or else this
// machine's own.
func DevRoot(mounted string) string {
	if info, err := os.Stat(mounted); err == nil && info.IsDir() {
		return mounted
	}
	return Host().Dev
}

func (n Node) class(elem ...string) string {
	return filepath.Join(append([]string{n.Sys, "class"}, elem...)...)
}
