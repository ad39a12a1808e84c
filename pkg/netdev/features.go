package netdev

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A Feature is something that the running kernel has or lacks. The kernel is
// asked, because its version does not tell: distributions backport features.
type Feature struct {
	// Name is what it is; Since the version of Linux that brought it.
	Name, Since string
	Support     Support
	// Cost is what these programs cannot do without it.
	Cost string
}

// Support is the kernel's answer.
type Support string

// The kernel has it or lacks it; or there is nothing on this machine to ask it
// about, or the process may not ask.
const (
	Supported   Support = "yes"
	Unsupported Support = "no"
	Unknown     Support = "unknown"
)

// supportedIf is the answer to a question that tells yes from no.
func supportedIf(yes bool) Support {
	if yes {
		return Supported
	}
	return Unsupported
}

// Features asks the kernel for what netdevs are found and restored by. It
// changes nothing and needs no privilege.
func (n *Namespace) Features(ctx context.Context) ([]Feature, error) {
	answers, err := n.listLinks(ctx)
	if err != nil {
		return nil, fmt.Errorf("list links in %s: %w", n.Path, err)
	}
	return []Feature{
		n.parentNames(answers),
		permanentAddresses(answers),
		n.listsElsewhere(),
		n.cookies(),
		n.alternativeNames(),
		n.ethtoolMessages(),
	}, nil
}

func (n *Namespace) parentNames(answers [][]byte) Feature {
	f := Feature{Name: "the name of the device below a NIC", Since: "5.14", Support: Unknown,
		Cost: "NICs are told apart by what their drivers say, and one that another plugin gave to a pod is not seen there"}
	for _, answer := range answers {
		link, err := netlink.LinkDeserialize(nil, answer)
		if err != nil || !mayBeHardware(link) {
			continue
		}
		if link.Attrs().ParentDev != "" {
			f.Support = Supported
			return f
		}
		if n.addParent(link); link.Attrs().ParentDev != "" {
			f.Support = Unsupported
		}
	}
	return f
}

func permanentAddresses(answers [][]byte) Feature {
	f := Feature{Name: "permanent addresses by netlink", Since: "5.6", Support: Unknown,
		Cost: "they are asked of the drivers, and two ports of one function whose driver has none are refused"}
	for _, answer := range answers {
		if len(valueAt(ofLink(answer), unix.IFLA_PERM_ADDRESS)) > 0 {
			f.Support = Supported
		}
	}
	return f
}

// listsElsewhere asks about a namespace that does not exist. Kernels that do not
// know the question answer about this one.
func (n *Namespace) listsElsewhere() Feature {
	const loopback, none = 1, 1<<31 - 1
	_, err := n.getLink(loopback, nl.NewRtAttr(unix.IFLA_TARGET_NETNSID, nl.Uint32Attr(none)))
	return Feature{Name: "lists of another namespace's links", Since: "5.0", Support: supportedIf(err != nil),
		Cost: "a NIC that another plugin gave to a pod is not seen there"}
}

func (n *Namespace) cookies() Feature {
	return Feature{Name: "cookies of network namespaces", Since: "5.14", Support: supportedIf(n.Cookie != 0),
		Cost: "a pod's namespace is identified by its inode number, which a later one may get"}
}

func (n *Namespace) alternativeNames() Feature {
	_, err := n.getLink(0, nl.NewRtAttr(unix.IFLA_ALT_IFNAME, nl.ZeroTerminated("no.such.alternative.name")))
	return Feature{Name: "alternative names", Since: "5.5", Support: supportedIf(errors.Is(err, unix.ENODEV)),
		Cost: "NICs have none"}
}

func (n *Namespace) ethtoolMessages() Feature {
	s, err := n.openEthtool()
	if err == nil {
		s.Close()
	}
	return Feature{Name: "ethtool by netlink", Since: "5.6", Support: supportedIf(err == nil),
		Cost: "what a pod sets with ethtool stays on the NIC"}
}

// LeftBehind are the alternative names by which this namespace still finds a
// link that has left it: kernels before 6.6 leave them behind, unless that
// patch was backported ("net: move altnames together with the netdevice").
func (n *Namespace) LeftBehind(names []string) (left []string) {
	for _, name := range names {
		if link, err := n.linkNamed(name); err != nil || link == nil {
			continue
		}
		if here, err := n.LinkNamed(name); err == nil && here == nil {
			left = append(left, name)
		}
	}
	return left
}
