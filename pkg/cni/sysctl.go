package cni

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// A sysctl is a key with dots and the value to write.
type sysctl struct{ key, value string }

type sysctls []sysctl

// interfaceWord stands for the netdev's name in the pod, as in the tuning
// plugin: one network may be net1 in one pod and net3 in the next.
const interfaceWord = "IFNAME"

// sysctls lists what is to be set before the netdev comes up. A move resets a
// netdev's sysctls, so the host's settings do not count.
func (c *Config) sysctls(ifName string) (sysctls, error) {
	var list sysctls
	if c.SourceRouting.On {
		ipv4 := "net.ipv4.conf." + ifName
		list = sysctls{
			{ipv4 + ".arp_ignore", "1"},   // answer for this NIC's own addresses only
			{ipv4 + ".arp_announce", "2"}, // ask with an address of this NIC
			{ipv4 + ".rp_filter", "2"},    // loose: the main table may prefer another NIC
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.Sysctls)) {
		parts := strings.Split(strings.ReplaceAll(key, "/", "."), ".")
		const interfacePart = 3 // net.ipv4.conf.<interface>.<name>
		if len(parts) != 5 || parts[0] != "net" || slices.Contains(parts, "") || parts[interfacePart] != interfaceWord {
			return nil, invalid("sysctl %q is not one of the interface's own", `use a key such as "net.ipv4.conf.IFNAME.arp_notify"; IFNAME stands for the interface`, key)
		}
		parts[interfacePart] = ifName
		list = append(list, sysctl{strings.Join(parts, "."), c.Sysctls[key]})
	}
	return list, nil
}

// setSysctls writes sysctls in the pod's namespace: /proc/sys/net shows that of
// the thread that opens it.
func setSysctls(pod *netdev.Namespace, list sysctls) error {
	if len(list) == 0 {
		return nil
	}
	return pod.Do(func() error {
		for _, s := range list {
			path := "/proc/sys/" + strings.ReplaceAll(s.key, ".", "/")
			if err := os.WriteFile(path, []byte(s.value), 0); err != nil {
				return fmt.Errorf("set %s to %q: %w", s.key, s.value, err)
			}
		}
		return nil
	})
}
