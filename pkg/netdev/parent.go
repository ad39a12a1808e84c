package netdev

import (
	"net"
	"slices"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// busOfDriver is the ParentBus of a netdev whose driver told its bus address.
const busOfDriver = "driver"

// addParent adds the device below a netdev, which kernels before 5.14 do not
// report by netlink, and its permanent address, which those before 5.6 do not.
// The driver does, and where it has no answer of its own the kernel answers for
// it (ethtool_get_drvinfo, ethtool_get_perm_addr in net/ethtool/ioctl.c).
// Equivalent to: `ethtool -i $link` and `ethtool -P $link`.
func (n *Namespace) addParent(link netlink.Link) {
	a := link.Attrs()
	if a.ParentDev != "" || !mayBeHardware(link) {
		return
	}
	fd, err := n.ioctlSocket()
	if err != nil {
		return
	}
	info, err := unix.IoctlGetEthtoolDrvinfo(fd, a.Name)
	if err != nil {
		return
	}
	address := a.PermHWAddr
	if len(address) == 0 {
		address = permanentAddress(fd, a.Name)
	}
	// The questions were asked by name, and a pod may have given the name to
	// another link.
	if !n.isNamed(fd, a.Index, a.Name) {
		return
	}
	if bus := unix.ByteSliceToString(info.Bus_info[:]); bus != "" {
		a.ParentDevBus, a.ParentDev, a.PermHWAddr = busOfDriver, bus, address
	}
}

func mayBeHardware(link netlink.Link) bool {
	return link.Type() == "device" && link.Attrs().Flags&net.FlagLoopback == 0
}

// permanentAddress asks for a netdev's, nil if it has none.
func permanentAddress(fd int, name string) net.HardwareAddr {
	const longest = 32 // MAX_ADDR_LEN
	answer := struct {
		command, size uint32
		address       [longest]byte
	}{command: unix.ETHTOOL_GPERMADDR, size: longest}
	err := ethtoolIoctl(fd, name, unsafe.Pointer(&answer))
	address := net.HardwareAddr(answer.address[:min(answer.size, longest)])
	if err != nil || !slices.ContainsFunc(address, nonZero) {
		return nil
	}
	return address
}

func (n *Namespace) isNamed(fd, index int, name string) bool {
	request, err := unix.NewIfreq(name)
	if err != nil || unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request) != nil {
		return false
	}
	return int(request.Uint32()) == index
}

// ioctlSocket is a socket of the namespace for ioctl(2).
func (n *Namespace) ioctlSocket() (int, error) {
	n.opening.Lock()
	defer n.opening.Unlock()
	if n.ioctls >= 0 {
		return n.ioctls, nil
	}
	err := n.Do(func() (err error) {
		n.ioctls, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		n.ioctls = -1
	}
	return n.ioctls, err
}
