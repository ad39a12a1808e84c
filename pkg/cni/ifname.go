package cni

import (
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
)

// checkIfName refuses interface names that mean something else to the kernel:
// it numbers "net%d" (dev_alloc_name), and keeps the settings of all
// interfaces, and of those to come, where one called "all" or "default" would
// have its own. skel has checked what the specification demands of the name.
// DEL does not check: what cannot have been attached is easily detached.
func checkIfName(name string) error {
	if !strings.Contains(name, "%") && !slices.Contains([]string{"all", "default", "lo"}, name) {
		return nil
	}
	return fail(types.ErrInvalidEnvironmentVariables, "", "CNI_IFNAME is "+name+", which cannot name a single interface", nil,
		"give the network another interface name; nothing was changed")
}
