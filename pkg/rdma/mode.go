package rdma

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Mode is the network namespace mode of the RDMA subsystem, as
// `rdma system` prints it. It is one for the whole node.
type Mode string

const (
	// Shared lets every namespace see every RDMA device, which cannot be moved.
	// GIDs follow the netdevs. The kernel's default.
	Shared Mode = "shared"
	// Exclusive keeps an RDMA device in one namespace; it is moved like a netdev.
	Exclusive Mode = "exclusive"
)

// ErrNoSubsystem says that the kernel has no RDMA, or its module ib_core is
// not loaded.
var ErrNoSubsystem = errors.New("the kernel has no RDMA subsystem (is ib_core loaded?)")

// SystemMode asks the kernel for the mode. The error wraps ErrNoSubsystem
// when there is no RDMA. Kernels before 5.2 know only shared and do not
// understand the question.
func SystemMode() (Mode, error) {
	mode, err := netlink.RdmaSystemGetNetnsMode()
	switch {
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.ECONNREFUSED):
		return "", ErrNoSubsystem
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return Shared, nil
	case err != nil:
		return "", fmt.Errorf("read the RDMA namespace mode: %w", err)
	}
	return Mode(mode), nil
}
