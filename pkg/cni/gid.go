package cni

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// gidWait bounds the wait for the kernel to fill the GID table, which it does
// in the background and within milliseconds.
const gidWait = 2 * time.Second

// settle tells the neighbours and waits until the addresses are usable for
// RoCE. What is late is logged; that the RDMA device did not arrive is an
// error.
func (o *operation) settle(r *attachment.Record, pod *netdev.Namespace, link netlink.Link, p plan) error {
	for _, a := range p.addresses {
		if err := pod.Announce(link, a.Prefix.Addr()); err != nil {
			o.Log.Warn("could not announce an address", "nic", r.Host.Name, "pod", r.Pod.String(), "err", err)
		}
	}
	if r.NIC.RDMA == nil {
		return nil
	}
	var node rdma.Node
	if len(p.addresses) > 0 {
		var done func()
		var err error
		if node, done, err = rdma.NodeIn(pod.NS, o.Node.Dev); err != nil {
			o.Log.Warn("could not wait for the GID table", "nic", r.Host.Name, "pod", r.Pod.String(), "err", err)
			return nil
		}
		defer done()
	}
	deadline := time.Now().Add(gidWait)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := checkGIDs(r, pod, node, p)
		late := time.Now().After(deadline)
		switch {
		case err == nil:
			return nil
		case late && errors.Is(err, rdma.ErrNoDevice):
			return err
		case late:
			o.Log.Warn("the GID table is late", "nic", r.Host.Name, "pod", r.Pod.String(), "err", err)
			return nil
		}
		time.Sleep(pause)
	}
}

// checkGIDs tells which address has no RoCE v2 GID. node is the pod's. The
// error wraps rdma.ErrNoDevice if the pod does not see the device at all.
func checkGIDs(r *attachment.Record, pod *netdev.Namespace, node rdma.Node, p plan) error {
	link, ok, err := rdma.Find(pod.NS, *r.NIC.RDMA)
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
