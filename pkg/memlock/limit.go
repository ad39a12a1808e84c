package memlock

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/containerd/nri/pkg/api"
)

// A Limit says how much a container with RDMA devices may lock.
type Limit string

// Without a limit of its memory, a container of ContainerMemory is Unlimited.
const (
	Unlimited       Limit = "unlimited"
	ContainerMemory Limit = "containerMemory"
)

// Check refuses what is none of these.
func (l Limit) Check() error {
	if l != Unlimited && l != ContainerMemory {
		return fmt.Errorf("memlock limit %q: use %s or %s", string(l), Unlimited, ContainerMemory)
	}
	return nil
}

const (
	rlimit = "RLIMIT_MEMLOCK"
	// infinity is the kernel's RLIM_INFINITY.
	infinity = math.MaxUint64
)

// of is the limit of a container, in bytes.
func (l Limit) of(c *api.Container) uint64 {
	memory := c.GetLinux().GetResources().GetMemory().GetLimit().GetValue()
	if l == ContainerMemory && memory > 0 {
		return uint64(memory)
	}
	return infinity
}

// has is the limit that a container's spec has already, nil for none. NRI appends
// to those, and a spec may have one of each kind only.
func has(c *api.Container) *api.POSIXRlimit {
	at := slices.IndexFunc(c.GetRlimits(), func(r *api.POSIXRlimit) bool { return r.GetType() == rlimit })
	if at < 0 {
		return nil
	}
	return c.Rlimits[at]
}

// cdiVendor is that of the CDI devices that are ours.
const cdiVendor = "roce-k8s.io/"

// hasRDMA tells whether a container gets devices with which memory is pinned, as
// device nodes or by their CDI names.
func hasRDMA(c *api.Container) bool {
	return slices.ContainsFunc(c.GetLinux().GetDevices(), isVerbs) ||
		slices.ContainsFunc(c.GetCDIDevices(), func(d *api.CDIDevice) bool { return strings.HasPrefix(d.GetName(), cdiVendor) })
}

// The numbers of the first verbs devices: IB_UVERBS_MAJOR, IB_UVERBS_BASE_MINOR and
// IB_UVERBS_NUM_FIXED_MINOR of drivers/infiniband/core/uverbs_main.c, Linux 6.12.
// Those of the others are dynamic.
const (
	verbsMajor      = 231
	verbsFirstMinor = 192
	verbsMinors     = 32
)

// isVerbs tells a verbs device by its usual name, and by its number where it has
// another one.
func isVerbs(d *api.LinuxDevice) bool {
	numbered := d.GetType() == "c" && d.GetMajor() == verbsMajor && d.GetMinor() >= verbsFirstMinor && d.GetMinor() < verbsFirstMinor+verbsMinors
	return numbered || strings.HasPrefix(d.GetPath(), "/dev/infiniband/uverbs")
}
