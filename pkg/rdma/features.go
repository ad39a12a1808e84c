package rdma

import (
	"context"
	"errors"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// Features says which of the features that these programs use the running
// kernel has, for netdevs and for RDMA devices. host is the host's namespace.
func Features(ctx context.Context, host *netdev.Namespace) ([]netdev.Feature, error) {
	all, err := host.Features(ctx)
	if err != nil {
		return nil, err
	}
	return append(all, namespaceSysfs(), exclusiveMode()), nil
}

// Missing are those that the kernel lacks.
func Missing(ctx context.Context, host *netdev.Namespace) (missing []netdev.Feature, err error) {
	all, err := Features(ctx, host)
	for _, f := range all {
		if f.Support == netdev.Unsupported {
			missing = append(missing, f)
		}
	}
	return missing, err
}

func namespaceSysfs() netdev.Feature {
	fd, err := unix.Fsopen("sysfs", unix.FSOPEN_CLOEXEC)
	if err == nil {
		_ = unix.Close(fd)
	}
	f := netdev.Feature{Name: "fsopen(2)", Since: "5.2", Support: netdev.Supported,
		Cost: "nobody waits for a pod's GIDs, nor checks them"}
	switch {
	case errors.Is(err, unix.ENOSYS):
		f.Support = netdev.Unsupported
	case err != nil:
		f.Support = netdev.Unknown // it may not
	}
	return f
}

func exclusiveMode() netdev.Feature {
	f := netdev.Feature{Name: "the exclusive RDMA mode", Since: "5.2", Support: netdev.Unknown,
		Cost: "every pod sees all RDMA devices"}
	n, err := Open(netns.None())
	if err != nil {
		return f
	}
	defer n.Close()
	answers, err := n.ask(nl.RDMA_NLDEV_CMD_SYS_GET, 0)
	if err == nil || isUnknownCommand(err) {
		f.Support = netdev.Unsupported
	}
	for _, answer := range answers {
		for kind := range netdev.Attributes(answer) {
			if kind == nl.RDMA_NLDEV_SYS_ATTR_NETNS_MODE {
				f.Support = netdev.Supported
			}
		}
	}
	return f
}
