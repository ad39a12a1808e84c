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
		// The real database has 40,000 lines, which the other plugin reads at
		// every look. This spares it that.
		os.MkdirAll(filepath.Join(home, ".cache"), 0o755),
		os.WriteFile(filepath.Join(home, ".cache/pci.ids"), []byte("15b3  Mellanox Technologies\n\t1021  MT2910 Family [ConnectX-7]\nC 02  Network controller\n\t00  Ethernet controller\n"), 0o600),
		denyRDMANetlink(),
	)
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
