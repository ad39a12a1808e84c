package rdma

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// From <rdma/rdma_netlink.h>; the netlink package has no names for them.
const (
	nldevCmdResQPGet  = 10
	nldevAttrResQP    = 19
	nldevAttrResType  = 26
	nldevAttrResPID   = 28
	nldevAttrKernName = 29
)

// Queue pair types of <rdma/ib_verbs.h> that every port has for management.
const (
	qpSMI = 0
	qpGSI = 1
)

// Users says who has queue pairs open on a device, as `rdma resource show qp`
// does: "process 4711", "nvme_rdma". The queue pairs that the RDMA core and
// the driver keep for themselves do not count.
func Users(ns netns.NsHandle, d Device) ([]string, error) {
	link, ok, err := Find(ns, d)
	if !ok || err != nil {
		return nil, err
	}
	socket, err := nl.GetNetlinkSocketAt(ns, netns.None(), unix.NETLINK_RDMA)
	if err != nil {
		return nil, fmt.Errorf("open NETLINK_RDMA: %w", err)
	}
	defer socket.Close()
	for {
		req := nl.NewNetlinkRequest(nl.RDMA_NL_NLDEV<<nl.RDMA_NL_GET_CLIENT_SHIFT|nldevCmdResQPGet, unix.NLM_F_DUMP)
		req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_RDMA: {Socket: socket}}
		req.AddData(nl.NewRtAttr(nl.RDMA_NLDEV_ATTR_DEV_INDEX, nl.Uint32Attr(link.Index)))
		messages, err := req.Execute(unix.NETLINK_RDMA, 0)
		switch {
		case errors.Is(err, netlink.ErrDumpInterrupted):
			continue
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
			return nil, nil // a kernel without resource tracking
		case err != nil:
			return nil, fmt.Errorf("list the queue pairs of %s: %w", d.Name, err)
		}
		var users []string
		for _, m := range messages {
			attributes(m, func(kind uint16, table []byte) {
				if kind != nldevAttrResQP {
					return
				}
				attributes(table, func(_ uint16, entry []byte) {
					if user := queuePairUser(entry, d.Driver); user != "" && !slices.Contains(users, user) {
						users = append(users, user)
					}
				})
			})
		}
		return users, nil
	}
}

// queuePairUser names the user of one queue pair, "" for one of the system's own.
func queuePairUser(entry []byte, driver string) (user string) {
	system := false
	attributes(entry, func(kind uint16, value []byte) {
		switch {
		case kind == nldevAttrResType && len(value) > 0:
			system = value[0] == qpSMI || value[0] == qpGSI
		case kind == nldevAttrResPID && len(value) == 4:
			user = fmt.Sprintf("process %d", binary.NativeEndian.Uint32(value))
		case kind == nldevAttrKernName:
			user = strings.TrimRight(string(value), "\x00")
			// mlx5_core's RDMA half is mlx5_ib; it keeps a queue pair for
			// memory registration.
			family, _, _ := strings.Cut(driver, "_")
			system = system || user == "ib_core" || family != "" && strings.HasPrefix(user, family+"_")
		}
	})
	if system {
		return ""
	}
	return user
}

// attributes calls f for each netlink attribute in b.
func attributes(b []byte, f func(kind uint16, value []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return
		}
		f(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofRtAttr:size])
		b = b[min((size+3)&^3, len(b)):]
	}
}
