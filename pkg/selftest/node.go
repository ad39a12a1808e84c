package selftest

import (
	"cmp"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// kernel is name, version and machine as `uname -srm` prints them.
func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return strings.Join([]string{unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:])}, " ")
}

// distribution is what os-release(5) calls the system.
func distribution() string {
	b, _ := os.ReadFile("/etc/os-release")
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			return strings.Trim(name, "\"'\n")
		}
	}
	return "unknown"
}

func mode() string {
	mode, err := rdma.SystemMode()
	if err != nil {
		return "unknown: " + err.Error()
	}
	return string(mode)
}

// A driver is what the driver of a netdev says of itself, and of the firmware.
type driver struct{ name, version, firmware string }

// about is what a report says of a NIC: driver, firmware, RDMA device.
func (n nic) about(node rdma.Node, d driver) string {
	var parts []string
	add := func(what, value string) {
		if value != "" {
			parts = append(parts, what+" "+value)
		}
	}
	add("driver", strings.TrimSpace(cmp.Or(d.name, node.NetdevDriver(n.name), "unknown")+" "+d.version))
	add("firmware", d.firmware)
	if n.device == nil {
		return strings.Join(append(parts, "no RDMA device"), ", ")
	}
	add("RDMA", n.device.Name)
	add("PCI ID", strings.Trim(n.device.Vendor+":"+n.device.DeviceID, ":"))
	version, board := node.Firmware(n.device.Name)
	if version != d.firmware {
		add("RDMA firmware", version)
	}
	add("board", board)
	return strings.Join(parts, ", ")
}

// driverOf asks a netdev's driver. Equivalent to: `ethtool -i`.
func driverOf(netdev string) driver {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return driver{}
	}
	defer func() { _ = unix.Close(socket) }()
	info, err := unix.IoctlGetEthtoolDrvinfo(socket, netdev)
	if err != nil {
		return driver{}
	}
	known := func(b []byte) string {
		if s := unix.ByteSliceToString(b); s != "N/A" && !strings.HasPrefix(s, "0.0.000") {
			return s
		}
		return ""
	}
	return driver{known(info.Driver[:]), known(info.Version[:]), known(info.Fw_version[:])}
}
