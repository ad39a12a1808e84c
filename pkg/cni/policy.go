package cni

import (
	"maps"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/policy"
)

// checkIPAMType refuses an IPAM plugin that the administrator does not let the
// network run. Nobody who writes networks may have it run by a command that
// follows an ADD which was refused for that.
func (o *operation) checkIPAMType() error {
	return o.policy.CheckIPAM(o.pod.Namespace, o.config.IPAM.Type)
}

// checkPolicy refuses what the node's administrator does not allow. What counts
// are the names that the NIC has on the host, before a pod could give it
// others.
func (o *operation) checkPolicy(link netlink.Link) error {
	a, c := link.Attrs(), o.config
	_, address := o.Node.NetdevAddress(a.Name)
	err := o.policy.Check(policy.Request{
		Namespace: o.pod.Namespace,
		NIC: policy.NIC{
			Names: append([]string{a.Name}, a.AltNames...), Address: address, Driver: o.Node.NetdevDriver(a.Name),
			Virtual: !netdev.IdentityOf(link).Physical(),
		},
		Force: c.Force, IPAM: c.IPAM.Type, Sysctls: slices.Sorted(maps.Keys(c.Sysctls)),
		Table: c.SourceRouting.Table, Priority: c.SourceRouting.Priority, MTU: c.MTU,
	})
	if err != nil {
		return fail(types.ErrInvalidNetworkConfig, a.Name, "", err, "only the node's administrator can change that; nothing was changed")
	}
	return nil
}
