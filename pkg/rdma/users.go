package rdma

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
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

// A User has queue pairs on a device: a process, or a service of the kernel.
type User struct {
	PID     int    // in this process's PID namespace; 0 outside of it
	Service string // "nvme_rdma"; "" for a process
}

func (u User) String() string {
	if u.Service != "" {
		return u.Service
	}
	return fmt.Sprintf("process %d", u.PID)
}

// Users says who has queue pairs open on a device of this namespace. The queue
// pairs that the RDMA core and the driver, such as mlx5_core, keep for
// themselves do not count.
// Equivalent to: `rdma resource show qp link $link`.
func (n *Namespace) Users(link Link, driver string) ([]User, error) {
	answers, err := n.ask(nldevCmdResQPGet, unix.NLM_F_DUMP, deviceIndex(link.Index))
	if isUnknownCommand(err) {
		return nil, nil // a kernel without resource tracking
	}
	if err != nil {
		return nil, fmt.Errorf("list the queue pairs of %s: %w", link.Name, err)
	}
	var users []User
	for _, answer := range answers {
		for kind, table := range netdev.Attributes(answer) {
			if kind != nldevAttrResQP {
				continue
			}
			for _, entry := range netdev.Attributes(table) {
				if user, ok := queuePairUser(entry, driver); ok && !slices.Contains(users, user) {
					users = append(users, user)
				}
			}
		}
	}
	return users, nil
}

// queuePairUser names the user of one queue pair; the system's own have
// none.
func queuePairUser(entry []byte, driver string) (user User, ok bool) {
	known, system := false, false
	for kind, value := range netdev.Attributes(entry) {
		switch {
		case kind == nldevAttrResType && len(value) > 0:
			system = value[0] == qpSMI || value[0] == qpGSI
		case kind == nldevAttrResPID && len(value) == 4:
			user, known = User{PID: int(binary.NativeEndian.Uint32(value))}, true
		case kind == nldevAttrKernName:
			user, known = User{Service: text(value)}, true
			// mlx5_core's RDMA half is mlx5_ib; it keeps a queue pair for
			// memory registration.
			family, _, _ := strings.Cut(driver, "_")
			system = system || user.Service == "ib_core" || family != "" && strings.HasPrefix(user.Service, family+"_")
		}
	}
	return user, known && !system
}
