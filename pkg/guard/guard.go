package guard

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// A Guard looks at the host's namespace. RDMA opens the host's RDMA subsystem; it
// is called only for a link that has an RDMA device.
type Guard struct {
	Host *netdev.Namespace
	Node rdma.Node
	Proc string // where proc is mounted
	RDMA func() (*rdma.Namespace, error)
	// Tables are what the caller has read of the link already, if anything.
	Tables *netdev.Tables
}

// tables are the link's.
func (g Guard) tables(ctx context.Context, link netlink.Link) (*netdev.Tables, error) {
	if g.Tables != nil {
		return g.Tables, nil
	}
	tables, err := g.Host.Tables(ctx, link)
	if err != nil {
		return nil, err
	}
	return tables[0], nil
}

// A reason says why the host needs a link, "" if it does not.
type reason func(context.Context, netlink.Link) (string, error)

// first is the first answer of several reasons.
func first(ctx context.Context, link netlink.Link, reasons ...reason) (string, error) {
	for _, ask := range reasons {
		if why, err := ask(ctx, link); why != "" || err != nil {
			return why, err
		}
	}
	return "", nil
}

// Netdev says why the host needs a netdev. What takes longer to find out is
// left to Addresses and Elsewhere.
func (g Guard) Netdev(ctx context.Context, link netlink.Link) (string, error) {
	return first(ctx, link, g.carriesTraffic, g.hasMaster, g.servesPod, g.hasUppers, g.hasPrograms, g.isRepresentor, g.hasFunctions)
}

// Device says why the host needs the RDMA device of a netdev.
func (g Guard) Device(link netlink.Link, device rdma.Device) (string, error) {
	if why := servesOthers(link, device); why != "" {
		return why, nil
	}
	return g.isInUse(device)
}

// Any is the first reason of all why a link with an RDMA device is not for pods,
// for whoever has time: also that the kernel would not let it go.
func (g Guard) Any(ctx context.Context, link netlink.Link, device rdma.Device) (string, error) {
	return first(ctx, link,
		func(context.Context, netlink.Link) (string, error) { return netdev.Unfit(link), nil },
		g.Netdev,
		func(context.Context, netlink.Link) (string, error) { return g.Device(link, device) },
		g.usesAddress,
		func(ctx context.Context, link netlink.Link) (string, error) { return g.Elsewhere(ctx, link)[0], nil })
}

// carriesTraffic: the default route goes through the NIC, or the only way to
// the default gateway does, or a multipath route does, which the kernel would
// delete for the other NICs, too. The default route of a table for some packets
// only, such as those with the NIC's own address, does not count.
func (g Guard) carriesTraffic(ctx context.Context, link netlink.Link) (string, error) {
	index := link.Attrs().Index
	tables, err := g.tables(ctx, link)
	if err != nil {
		return "", err
	}
	common, err := g.Host.CommonTables(ctx)
	if err != nil {
		return "", err
	}
	for _, r := range tables.Routes {
		through := slices.Contains(r.Links, index)
		switch byDefault := common[r.Table] && isDefault(r.Dst); {
		case byDefault && through:
			return "the host's default route goes through it", nil
		case through && r.Multipath:
			return fmt.Sprintf("the host's route to %s goes through it and others", r.Dst), nil
		case !byDefault || !r.Gateway.IsValid(), r.Gateway.Is6() && r.Gateway.IsLinkLocalUnicast(): // means nothing without its link
			continue
		}
		if link, err := g.Host.LinkTo(r.Gateway); err == nil && link == index {
			return fmt.Sprintf("the host reaches its default gateway %s through it", r.Gateway), nil
		}
	}
	return "", nil
}

// isDefault tells whether a route is the default one, or one of the two halves by
// which VPNs come before it, or goes to all global addresses of IPv6 (RFC 4291,
// section 2.4; IANA gives out no others).
func isDefault(p netip.Prefix) bool { return p.Bits() <= 1 || p.String() == "2000::/3" }

// hasMaster: the NIC is a port of a bond, a bridge or the like.
func (g Guard) hasMaster(_ context.Context, link netlink.Link) (string, error) {
	index := link.Attrs().MasterIndex
	if index == 0 {
		return "", nil
	}
	master, err := g.Host.LinkAt(index)
	if err != nil {
		return "", fmt.Errorf("look up its master: %w", err)
	}
	return fmt.Sprintf("it is a port of %s %s", master.Type(), master.Attrs().Name), nil
}

// hasUppers: there are VLANs, macvlans and the like on the NIC, perhaps those
// of other pods, which would lose their lower device.
func (g Guard) hasUppers(ctx context.Context, link netlink.Link) (string, error) {
	uppers, err := g.Host.Uppers(ctx, link)
	if err != nil {
		return "", err
	}
	if len(uppers) > 0 {
		return uppers[0].String() + " is on top of it", nil
	}
	borrowed, err := g.Host.BorrowedAddresses(ctx, link)
	if err != nil {
		return "", err
	}
	if len(borrowed) > 0 {
		return fmt.Sprintf("a macvlan in another namespace is on top of it (with the address %s)", borrowed[0]), nil
	}
	return "", nil
}

// hasPrograms: XDP or tcx programs see the NIC's packets, and would go on
// doing so in the pod.
func (g Guard) hasPrograms(_ context.Context, link netlink.Link) (string, error) {
	programs, err := g.Host.Programs(link)
	if err != nil || len(programs) == 0 {
		return "", err
	}
	return "it has the " + programs[0].String(), nil
}

// hasFunctions: the NIC is the physical function by which the host, and others'
// plugins, set up virtual or scalable ones that pods may have.
func (g Guard) hasFunctions(_ context.Context, link netlink.Link) (string, error) {
	name := link.Attrs().Name
	virtual, err := g.Node.VirtualFunctions(name)
	if err != nil {
		return "", err
	}
	if virtual > 0 {
		return fmt.Sprintf("it is a physical function with %d virtual functions", virtual), nil
	}
	scalable, err := g.Node.ScalableFunctions(name)
	if err != nil || scalable == 0 {
		return "", err
	}
	return fmt.Sprintf("it is a physical function with %d scalable functions", scalable), nil
}

// isRepresentor: the netdev is the switch's side of a virtual function.
func (g Guard) isRepresentor(_ context.Context, link netlink.Link) (string, error) {
	port, err := g.Node.Representor(link.Attrs().Name)
	if err != nil || port == "" {
		return "", err
	}
	return "it is the representor of a virtual function, port " + port, nil
}

// servesOthers: the RDMA device belongs to several netdevs: those of a function
// with two ports, or the ports of a bond.
func servesOthers(link netlink.Link, device rdma.Device) string {
	for _, other := range device.Netdevs {
		if other != link.Attrs().Name {
			return fmt.Sprintf("its RDMA device %s serves %s as well", device.Name, other)
		}
	}
	return ""
}

// isInUse: a process of the host or a kernel service has queue pairs on the
// RDMA device.
func (g Guard) isInUse(device rdma.Device) (string, error) {
	host, err := g.RDMA()
	if errors.Is(err, rdma.ErrNoSubsystem) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	link, ok, err := host.Find(device)
	if !ok || err != nil {
		return "", err
	}
	users, err := host.Users(link, device.Driver)
	if err != nil {
		return "", err
	}
	var names []string
	for _, user := range users {
		if !g.isInPod(user) {
			names = append(names, user.String())
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	return fmt.Sprintf("its RDMA device %s is in use on the host by %s", device.Name, strings.Join(names, ", ")), nil
}

// isInPod tells whether a process is in another network namespace. In shared
// mode pods see all RDMA devices, and a program may open those of NICs that its
// pod does not have: that must not keep the NICs from others.
func (g Guard) isInPod(user rdma.User) bool {
	var st unix.Stat_t
	err := unix.Stat(filepath.Join(g.Proc, strconv.Itoa(user.PID), "ns/net"), &st)
	return user.Service == "" && err == nil && st.Ino != g.Host.ID
}
