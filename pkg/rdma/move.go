package rdma

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// Move moves a device from one namespace to another, which only exclusive mode
// allows. Moves on one node must be serialised by the caller: a move removes
// and adds the device's character devices, and two at a time may swap their
// numbers.
//
// A device that is in the target already is left there.
func Move(d Device, from, to netns.NsHandle) error {
	s, err := openAt(from)
	if err != nil {
		return err
	}
	defer s.Close()
	link, ok, err := s.find(d)
	if err != nil {
		return err
	}
	if !ok {
		if _, ok, err = Find(to, d); ok || err != nil {
			return err
		}
		return fmt.Errorf("%w %s in the namespace", ErrNoDevice, d.Name)
	}
	// The kernel takes the source namespace from the calling thread, not from
	// the socket (rdma_dev_change_netns, current->nsproxy->net_ns): a socket
	// opened there is not enough, the thread must be there.
	return netdev.In(from, func() error {
		_, err := s.ask(nl.RDMA_NLDEV_CMD_SET, unix.NLM_F_ACK, deviceIndex(link.Index),
			nl.NewRtAttr(nl.RDMA_NLDEV_NET_NS_FD, nl.Uint32Attr(uint32(to))))
		if errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("move RDMA device %s: the RDMA subsystem is in shared mode, or the driver cannot leave its namespace: %w", link.Name, err)
		}
		if err != nil {
			return fmt.Errorf("move RDMA device %s: %w", link.Name, err)
		}
		return nil
	})
}

// Rename renames a device inside a namespace.
func Rename(d Device, in netns.NsHandle, name string) error {
	s, err := openAt(in)
	if err != nil {
		return err
	}
	defer s.Close()
	link, ok, err := s.find(d)
	if err != nil || ok && link.Name == name {
		return err
	}
	if !ok {
		return fmt.Errorf("%w %s in the namespace", ErrNoDevice, d.Name)
	}
	if _, err := s.ask(nl.RDMA_NLDEV_CMD_SET, unix.NLM_F_ACK, deviceIndex(link.Index),
		nl.NewRtAttr(nl.RDMA_NLDEV_ATTR_DEV_NAME, nl.ZeroTerminated(name))); err != nil {
		return fmt.Errorf("rename RDMA device %s to %s: %w", link.Name, name, err)
	}
	return nil
}
