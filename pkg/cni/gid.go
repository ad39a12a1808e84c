package cni

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/pkg/retry"
)

// gidWait bounds the wait for the kernel to fill the GID table, which it does
// in the background and within milliseconds.
const gidWait = 2 * time.Second

// announce tells the neighbours of the pod's addresses.
func (o *operation) announce(r *attachment.Record, pod *netdev.Namespace, link netlink.Link, p plan) {
	for _, a := range p.addresses {
		if err := pod.Announce(link, a.Prefix.Addr()); err != nil {
			o.logFor(r).Warn("could not announce an address", "err", err)
		}
	}
}

// settle waits until the addresses are usable for RoCE. subsystem is the pod's.
// A GID table that is late is only logged; an RDMA device that did not arrive
// is an error.
func (o *operation) settle(r *attachment.Record, pod *netdev.Namespace, subsystem *rdma.Namespace, p plan) error {
	var node rdma.Node
	if len(p.addresses) > 0 {
		var done func()
		var err error
		if node, done, err = rdma.NodeIn(pod.NS, o.Node.Dev); err != nil {
			o.logFor(r).Warn("could not wait for the GID table", "err", err)
			return nil
		}
		defer done()
	}
	ctx, cancel := context.WithTimeout(o.ctx, gidWait)
	defer cancel()
	var err error
	_ = retry.Until(ctx, time.Millisecond, 50*time.Millisecond, func() (bool, error) {
		err = checkGIDs(r, subsystem, node, p)
		return err == nil || r.NIC.RDMA.Soft && errors.Is(err, rdma.ErrNoDevice), nil // that is for good
	})
	if err != nil && !errors.Is(err, rdma.ErrNoDevice) {
		o.logFor(r).Warn("the GID table is late", "err", err)
		return nil
	}
	return err
}

// checkGIDs tells which address has no RoCE v2 GID. node is the pod's. The
// error wraps rdma.ErrNoDevice if the pod does not see the device at all.
func checkGIDs(r *attachment.Record, pod *rdma.Namespace, node rdma.Node, p plan) error {
	link, ok, err := pod.Find(*r.NIC.RDMA)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w %s in the pod's namespace", rdma.ErrNoDevice, r.NIC.RDMA.Name)
	}
	if !r.NIC.RDMA.IsRoCE() {
		return nil
	}
	for _, a := range p.addresses {
		if a.Peer.IsValid() {
			continue // the kernel makes a GID of the peer's address (inetaddr_event in roce_gid_mgmt.c)
		}
		if _, _, ok := node.GIDIndex(link.Name, a.Prefix.Addr()); !ok {
			return fmt.Errorf("RDMA device %s has no RoCE v2 GID for %s", link.Name, a.Prefix.Addr())
		}
	}
	return nil
}
