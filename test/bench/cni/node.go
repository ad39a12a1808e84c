package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// A node is the network namespace that this process is in, with a pod beside
// it.
type node struct {
	host, pod netns.NsHandle
	netns     string // the pod's, for CNI_NETNS
	nics      []netlink.Link
	rdma      *rdma.Link // the RDMA device of the first, in exclusive mode
}

// newNode makes the pod. The calling goroutine stays on its thread. The pod's
// name is in a folder that goes with the mount namespace.
func newNode() (*node, error) {
	runtime.LockOSThread()
	host, err := netns.Get()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.MkdirAll("/run/netns", 0o755), unix.Mount("bench", "/run/netns", "tmpfs", 0, "")); err != nil {
		return nil, fmt.Errorf("a folder for the pod's namespace: %w", err)
	}
	pod, err := netns.NewNamed("bench-pod")
	if err != nil {
		return nil, fmt.Errorf("the pod's namespace: %w", err)
	}
	return &node{host: host, pod: pod, netns: "/run/netns/bench-pod"}, netns.Set(host)
}

// addNICs makes NICs of a kind that the machine can have without hardware. A
// macvlan is made on the other end of a veth, which must be there.
func (n *node) addNICs(kind string, count int) error {
	n.nics = nil
	for i := range count {
		name := fmt.Sprintf("%s%d", kind, i)
		var link netlink.Link
		switch kind {
		case "veth":
			link = &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: 9000}, PeerName: "sw-" + name}
		case "macvlan":
			lower, err := netlink.LinkByName(fmt.Sprintf("sw-veth%d", i))
			if err != nil {
				return err
			}
			link = &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: lower.Attrs().Index}, Mode: netlink.MACVLAN_MODE_BRIDGE}
		}
		if err := netlink.LinkAdd(link); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if kind == "veth" {
			peer, err := netlink.LinkByName("sw-" + name)
			if err != nil {
				return err
			}
			if err := netlink.LinkSetUp(peer); err != nil {
				return err
			}
		}
		n.nics = append(n.nics, link)
	}
	return n.reset()
}

// reset gives every round the same begin: NICs up and without an alias.
func (n *node) reset() error {
	for _, nic := range n.nics {
		link, err := netlink.LinkByName(nic.Attrs().Name)
		if err == nil && link.Attrs().Alias != "" {
			err = netlink.LinkSetAlias(link, "")
		}
		if err == nil && link.Attrs().Flags&unix.IFF_UP == 0 {
			err = netlink.LinkSetUp(link)
		}
		if err != nil {
			return fmt.Errorf("%s before a round: %w", nic.Attrs().Name, err)
		}
	}
	return nil
}

// move moves a NIC between the two namespaces with one message, which gives it
// its other name too.
func move(index int, to netns.NsHandle, name string) error {
	request := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	header := nl.NewIfInfomsg(unix.AF_UNSPEC)
	header.Index = int32(index) //nolint:gosec // an index of the kernel
	header.Flags, header.Change = unix.IFF_UP, unix.IFF_UP
	request.AddData(header)
	request.AddData(nl.NewRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(to)))) //nolint:gosec // a file descriptor
	request.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// moveRDMA moves the RDMA device, if there is one, from the namespace that the
// thread is in.
func (n *node) moveRDMA(to netns.NsHandle) error {
	if n.rdma == nil {
		return nil
	}
	return netlink.RdmaLinkSetNsFd(&netlink.RdmaLink{Attrs: netlink.RdmaLinkAttrs{Index: n.rdma.Index}}, uint32(to)) //nolint:gosec // a file descriptor
}

// inPod calls f on a thread in the pod's namespace.
func (n *node) inPod(f func() error) error {
	if err := netns.Set(n.pod); err != nil {
		return err
	}
	return errors.Join(f(), netns.Set(n.host))
}

func (n *node) close() error {
	return errors.Join(netns.DeleteNamed("bench-pod"), n.pod.Close(), n.host.Close())
}

// size is a file's, in MB.
func size(path string) (float64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return float64(info.Size()) / 1e6, nil
}
