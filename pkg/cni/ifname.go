package cni

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/containernetworking/cni/pkg/skel"
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

// checkText refuses what the journal, which is JSON, would not give back as it
// was: the record would be another interface's, or of a namespace that is gone.
func checkText(args *skel.CmdArgs) error {
	for variable, value := range map[string]string{"CNI_IFNAME": args.IfName, "CNI_NETNS": args.Netns, "CNI_ARGS": args.Args} {
		if !utf8.ValidString(value) {
			return fail(types.ErrInvalidEnvironmentVariables, "", fmt.Sprintf("%s is %q, which is not UTF-8", variable, value), nil, "nothing was changed")
		}
	}
	return nil
}
