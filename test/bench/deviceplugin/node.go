package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// The paths are those of a real node: the other plugin knows no others.
const (
	kubeletFolder = "/var/lib/kubelet/device-plugins"
	home          = "/var/lib/home"
	configFile    = "/var/lib/config/config.json"
)

// makeNode makes a node with so many HCAs of these namespaces.
func makeNode(hcas int) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	// In memory, as sysfs is.
	if err := unix.Mount("bench", "/var/lib", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	tree, err := sysfs.New("/var/lib/node")
	if err != nil {
		return err
	}
	var links strings.Builder
	for i := range hcas {
		h := sysfs.MLX5(i)
		if err := addHCA(tree, h); err != nil {
			return err
		}
		if i%2 == 0 {
			fmt.Fprintf(&links, "link add %s type veth peer name %s\n", h.Netdev, sysfs.MLX5(i+1).Netdev)
		}
	}
	ip := exec.Command("ip", "-batch", "-")
	ip.Stdin = strings.NewReader(links.String())
	if out, err := ip.CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %w: %s", err, out)
	}
	null := filepath.Join(tree.Dev(), "null")
	config := fmt.Sprintf(`{"periodicUpdateInterval": 1, "configList": [{"resourceName": "hca", "rdmaHcaMax": %d,
		"selectors": {"vendors": ["15b3"], "linkTypes": ["ether"]}}]}`, units)
	return errors.Join(
		os.WriteFile(null, nil, 0o600),
		unix.Mount("/dev/null", null, "", unix.MS_BIND, ""),
		unix.Mount(tree.Dev(), "/dev", "", unix.MS_BIND|unix.MS_REC, ""),
		unix.Mount(tree.Sys(), "/sys", "", unix.MS_BIND, ""),
		os.MkdirAll(kubeletFolder, 0o755),
		os.MkdirAll(filepath.Dir(configFile), 0o755),
		os.WriteFile(configFile, []byte(config), 0o600),
		denyRDMANetlink(),
	)
}

// installPCIIDs puts the database of PCI IDs where the other plugin looks for
// it first. Its image has one too: it does not start without, and reads it at
// every look.
func installPCIIDs(file string) error {
	database, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("the PCI ID database (Debian: pci.ids): %w", err)
	}
	return writePCIIDs(database)
}

// leanPCIIDs cuts the database to what this node has.
func leanPCIIDs() error {
	return writePCIIDs([]byte("15b3  Mellanox Technologies\n\t1021  MT2910 Family [ConnectX-7]\nC 02  Network controller\n\t00  Ethernet controller\n"))
}

func writePCIIDs(database []byte) error {
	file := filepath.Join(home, ".cache/pci.ids")
	return errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, database, 0o600))
}

// addHCA adds an HCA, with what only the other plugin reads.
func addHCA(tree *sysfs.Tree, h sysfs.HCA) error {
	alias := fmt.Sprintf("pci:v0000%sd0000%ssv0000%ssd00000001bc02sc00i00\n", id(h.Vendor), id(h.Device), id(h.Vendor))
	return errors.Join(
		tree.Add(h),
		os.WriteFile(filepath.Join(tree.Sys(), "bus/pci/devices", h.PCI, "modalias"), []byte(alias), 0o600),
	)
}

func id(s string) string { return strings.ToUpper(strings.TrimPrefix(s, "0x")) }
