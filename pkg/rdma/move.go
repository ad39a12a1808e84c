package rdma

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// Move moves a device of this namespace to another, which only exclusive mode
// allows. Moves on one node must be serialised by the caller: a move removes
// and adds the device's character devices, and two at a time may swap their
// numbers.
// Equivalent to: `rdma dev set $link netns $to`.
func (n *Namespace) Move(link Link, to *Namespace) error {
	// The kernel takes the source namespace from the calling thread, not from
	// the socket (rdma_dev_change_netns, current->nsproxy->net_ns): a socket
	// opened there is not enough, the thread must be there.
	return netdev.In(n.ns, func() error {
		_, err := n.ask(nl.RDMA_NLDEV_CMD_SET, unix.NLM_F_ACK, deviceIndex(link.Index),
			nl.NewRtAttr(nl.RDMA_NLDEV_NET_NS_FD, nl.Uint32Attr(uint32(to.ns))))
		if errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("move RDMA device %s: the RDMA subsystem is in shared mode, or its driver cannot change namespaces: %w", link.Name, err)
		}
		if err != nil {
			return fmt.Errorf("move RDMA device %s: %w", link.Name, err)
		}
		return nil
	})
}

// Rename renames a device of this namespace. Giving it the name that it has
// changes nothing.
// Equivalent to: `rdma dev set $link name $name`.
func (n *Namespace) Rename(link Link, name string) error {
	if link.Name == name {
		return nil
	}
	if _, err := n.ask(nl.RDMA_NLDEV_CMD_SET, unix.NLM_F_ACK, deviceIndex(link.Index),
		nl.NewRtAttr(nl.RDMA_NLDEV_ATTR_DEV_NAME, nl.ZeroTerminated(name))); err != nil {
		return fmt.Errorf("rename RDMA device %s to %s: %w", link.Name, name, err)
	}
	return nil
}
