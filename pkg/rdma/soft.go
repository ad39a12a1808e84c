package rdma

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/retry"
)

// HasSoftDrivers tells whether a driver of software RDMA devices is loaded. On
// a node without one there is no need to look for such devices.
func (n Node) HasSoftDrivers() bool {
	for _, module := range []string{"rdma_rxe", "siw"} {
		if _, err := os.Stat(n.Sys + "/module/" + module); err == nil {
			return true
		}
	}
	return false
}

// AddSoft makes a software RDMA device on a netdev of this namespace, as d was
// made. One that is there already is not an error.
// Equivalent to: `rdma link add $name type $kind netdev $netdev`.
func (n *Namespace) AddSoft(d Device, netdev string) error {
	_, err := n.ask(nl.RDMA_NLDEV_CMD_NEWLINK, unix.NLM_F_ACK,
		nl.NewRtAttr(nl.RDMA_NLDEV_ATTR_DEV_NAME, nl.ZeroTerminated(d.Name)),
		nl.NewRtAttr(nl.RDMA_NLDEV_ATTR_LINK_TYPE, nl.ZeroTerminated(d.SoftKind)),
		nl.NewRtAttr(nl.RDMA_NLDEV_ATTR_NDEV_NAME, nl.ZeroTerminated(netdev)))
	if err == nil || errors.Is(err, unix.EEXIST) {
		return nil
	}
	return fmt.Errorf("make RDMA device %s on %s: %w", d.Name, netdev, err)
}

// IsGone tells whether a device has left the namespace, or does so within a
// time: the kernel shows one that it is deleting for some milliseconds.
func (n *Namespace) IsGone(ctx context.Context, d Device, within time.Duration) (gone bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	ended := retry.Until(ctx, time.Millisecond, 20*time.Millisecond, func() (bool, error) {
		// Another device on the same port may have the same GUID, but not the name.
		found, there, findErr := n.Find(d)
		gone, err = findErr == nil && (!there || found.Name != d.Name), findErr
		return gone || err != nil, nil
	})
	if ended != nil {
		return false, nil
	}
	return gone, err
}
