package netdev

import (
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// busOfDriver is the ParentBus of a netdev whose driver told its bus address.
const busOfDriver = "driver"

// addParent adds the device below a netdev where the kernel did not tell it by
// netlink, as those before 5.14 do not. Its driver does, and where it has
// nothing to say of its own the kernel answers for it (ethtool_get_drvinfo in
// net/ethtool/ioctl.c).
// Equivalent to: `ethtool -i $link`.
func (n *Namespace) addParent(link netlink.Link) {
	a := link.Attrs()
	if a.ParentDev != "" || link.Type() != "device" || a.Flags&net.FlagLoopback != 0 {
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
	// The question was asked by name, and a pod may give names to others.
	if !n.isNamed(fd, a.Index, a.Name) {
		return
	}
	if bus := unix.ByteSliceToString(info.Bus_info[:]); bus != "" {
		a.ParentDevBus, a.ParentDev = busOfDriver, bus
	}
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
