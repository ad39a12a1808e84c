package rdma

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// A Mode is the network namespace mode of the RDMA subsystem, as
// `rdma system` prints it. There is one for the whole node.
type Mode string

const (
	// Shared lets every namespace see every RDMA device; devices cannot be
	// moved. GIDs follow the netdevs. It is the kernel's default.
	Shared Mode = "shared"
	// Exclusive keeps an RDMA device in one namespace; it is moved like a netdev.
	Exclusive Mode = "exclusive"
)

// Parameter is the mode as ib_core's parameter netns_mode has it: whether
// namespaces share devices.
func (m Mode) Parameter() int {
	if m == Shared {
		return 1
	}
	return 0
}

// ErrNoSubsystem says that the kernel has no RDMA, or its module ib_core is
// not loaded.
var ErrNoSubsystem = errors.New("the kernel has no RDMA subsystem (is ib_core loaded?)")

// SystemMode is Namespace.Mode for callers that need nothing else.
func SystemMode() (Mode, error) {
	n, err := Open(netns.None())
	if err != nil {
		return "", err
	}
	defer n.Close()
	return n.Mode()
}

// Mode asks the kernel for the mode. The error wraps ErrNoSubsystem when there
// is no RDMA. Kernels before 5.2 know only shared and do not understand the
// question.
// Equivalent to: `rdma system show netns`.
func (n *Namespace) Mode() (mode Mode, err error) {
	answers, err := n.ask(nl.RDMA_NLDEV_CMD_SYS_GET, 0)
	if isUnknownCommand(err) {
		return Shared, nil
	}
	if err != nil {
		return "", fmt.Errorf("read the RDMA namespace mode: %w", explained(err))
	}
	mode = Shared
	for _, answer := range answers {
		for kind, value := range netdev.Attributes(answer) {
			if kind == nl.RDMA_NLDEV_SYS_ATTR_NETNS_MODE && len(value) > 0 && value[0] == 0 {
				mode = Exclusive
			}
		}
	}
	return mode, nil
}

// isUnknownCommand tells whether a kernel does not know the command.
func isUnknownCommand(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP)
}
