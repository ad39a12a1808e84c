package counters

import (
	"context"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// Statistics are those of netdevs by the NIC's key and their name on the host.
type Statistics map[string]map[string][]netdev.Counter

// NetdevStatistics reads the statistics of the netdevs of NICs from the host's
// namespace: with NET_ADMIN there those in pods as well.
func NetdevStatistics(host *netdev.Namespace) func(context.Context, []NIC) Statistics {
	reader := host.StatisticsReader()
	return func(ctx context.Context, nics []NIC) Statistics {
		found := Statistics{}
		note := func(nic NIC, name string, counters []netdev.Counter) {
			if found[nic.Key()] == nil {
				found[nic.Key()] = map[string][]netdev.Counter{}
			}
			found[nic.Key()][name] = counters
		}
		away := map[string]func(*netlink.LinkAttrs) bool{}
		for _, nic := range nics {
			switch {
			case nic.Place == inventory.InPod && len(nic.Netdevs) > 0:
				away[nic.Key()] = nic.has
			case nic.Place == inventory.OnHost:
				for _, name := range nic.Netdevs {
					if counters, err := reader.Here(name); err == nil {
						note(nic, name, counters)
					}
				}
			}
		}
		// Without the privilege there are none.
		elsewhere, _ := reader.Elsewhere(ctx, away)
		for _, nic := range nics {
			if counters := elsewhere[nic.Key()]; counters != nil {
				note(nic, nic.away(), counters)
			}
		}
		return found
	}
}

// has tells whether a link in another namespace is the netdev of the NIC that is
// in a pod.
func (nic NIC) has(a *netlink.LinkAttrs) bool {
	if nic.Holder != nil {
		return nic.Holder.NIC.Netdev.IsAway(a)
	}
	return nic.IsOn(a.ParentDevBus, a.ParentDev, a.HardwareAddr.String())
}

// away is the host's name of the netdev that is in a pod.
func (nic NIC) away() string {
	if nic.Holder != nil {
		return nic.Holder.Host.Name
	}
	return nic.Netdevs[0]
}
