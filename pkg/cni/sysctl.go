package cni

import (
	"maps"
	"slices"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// interfaceWord stands for the netdev's name in the pod, as in the tuning
// plugin: one network may be net1 in one pod and net3 in the next.
const interfaceWord = "IFNAME"

// sysctls lists what is to be set before the netdev comes up. A move resets a
// netdev's sysctls, so the host's settings do not count.
func (c *netConf) sysctls(ifName string) (list []netdev.Sysctl, err error) {
	if c.SourceRouting.On {
		ipv4 := "net/ipv4/conf/" + ifName
		list = []netdev.Sysctl{
			{Path: ipv4 + "/arp_ignore", Value: "1"},   // answer for this NIC's own addresses only
			{Path: ipv4 + "/arp_announce", Value: "2"}, // ask with an address of this NIC
			{Path: ipv4 + "/rp_filter", Value: "2"},    // loose: the main table may prefer another NIC
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.Sysctls)) {
		parts := strings.Split(strings.ReplaceAll(key, "/", "."), ".")
		const interfacePart = 3 // net.ipv4.conf.<interface>.<name>
		if len(parts) != 5 || parts[0] != "net" || slices.Contains(parts, "") || parts[interfacePart] != interfaceWord {
			return nil, invalid("sysctl %q is not one of the interface's own", `use a key such as "net.ipv4.conf.IFNAME.arp_notify"; IFNAME stands for the interface`, key)
		}
		parts[interfacePart] = ifName
		list = append(list, netdev.Sysctl{Path: strings.Join(parts, "/"), Value: c.Sysctls[key]})
	}
	return list, nil
}
