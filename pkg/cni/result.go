package cni

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// converted is a result of any version in the current one's type. It is an error
// if it has null for an address, a route or an interface: the CNI library takes
// that from JSON, and everybody's code fails at it later, its own conversion first.
func converted(result types.Result) (*current.Result, error) {
	b, err := json.Marshal(result)
	if err != nil {
		return nil, err
	}
	var keys any
	if err := json.Unmarshal(b, &keys); err != nil {
		return nil, err
	}
	if list := listWithNull("", keys); list != "" {
		return nil, fmt.Errorf("%q has an entry that is null", list)
	}
	return current.NewResultFromResult(result)
}

// listWithNull finds the key of a list with null in it, "" for none.
func listWithNull(key string, value any) string {
	switch value := value.(type) {
	case []any:
		for _, entry := range value {
			if entry == nil {
				return key
			}
			if list := listWithNull(key, entry); list != "" {
				return list
			}
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			if list := listWithNull(key, value[key]); list != "" {
				return list
			}
		}
	}
	return ""
}

// result is what ADD prints: what earlier plugins of a chain made, and the NICs
// with their addresses.
func (o *operation) result(all []*transfer) *current.Result {
	result := o.config.previous
	if result == nil {
		result = &current.Result{CNIVersion: current.ImplementedSpecVersion}
	}
	for _, t := range all {
		t.addTo(result, t.record, t.moved, t.address)
	}
	return result
}

// addTo adds a NIC to the result.
func (o *operation) addTo(result *current.Result, r *attachment.Record, link netlink.Link, ipam *current.Result) {
	a := link.Attrs()
	nic := &current.Interface{Name: a.Name, Mac: a.HardwareAddr.String(), Mtu: a.MTU, Sandbox: o.args.Netns}
	if r.NIC.Bus == rdma.BusPCI {
		nic.PciID = r.NIC.Address
	}
	result.Interfaces = append(result.Interfaces, nic)
	for _, ip := range ipam.IPs {
		ip.Interface = current.Int(len(result.Interfaces) - 1)
		result.IPs = append(result.IPs, ip)
	}
	result.Routes = append(result.Routes, ipam.Routes...)
	switch {
	case o.claimUID != "": // the cluster's network says where names are resolved
	case !o.config.DNS.IsEmpty():
		result.DNS = o.config.DNS
	case !ipam.DNS.IsEmpty():
		result.DNS = ipam.DNS
	}
}

// answer prints the result. A runtime that cannot read it knows nothing of the
// attachment; one that is gone must not take this process along, which has the
// attachment to undo then. (A write to a standard output that nobody reads
// raises SIGPIPE, and Go ends the process unless somebody asked for the signal.)
func (o *operation) answer(result *current.Result) error {
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)
	printable, err := inVersion(result, o.config.CNIVersion)
	if err == nil {
		err = printable.Print()
	}
	if err != nil {
		return fail(types.ErrIOFailure, "", "print the result", err, "the runtime must read the standard output of its plugins")
	}
	return nil
}

// inVersion is a result as a configuration of some version may get it. The CNI
// library converts between the versions, but lets through the keys that came
// with 1.1.0: "mtu", "socketPath" and "pciID" of an interface, and all of a
// route but its destination and gateway.
func inVersion(result *current.Result, configured string) (types.Result, error) {
	if configured != current.ImplementedSpecVersion {
		for _, nic := range result.Interfaces {
			nic.Mtu, nic.SocketPath, nic.PciID = 0, "", ""
		}
		for i, r := range result.Routes {
			result.Routes[i] = &types.Route{Dst: r.Dst, GW: r.GW}
		}
	}
	return result.GetAsVersion(configured)
}

// ownInterface finds this attachment's interface in a result, and its index.
func ownInterface(result *current.Result, name, sandbox string) (index int, nic *current.Interface) {
	for i, nic := range result.Interfaces {
		if nic.Name == name && nic.Sandbox == sandbox {
			return i, nic
		}
	}
	return -1, nil
}

// ownAddresses are the addresses of one interface of a result.
func ownAddresses(result *current.Result, index int) []*current.IPConfig {
	var ips []*current.IPConfig
	for _, ip := range result.IPs {
		if ip.Interface != nil && *ip.Interface == index {
			ips = append(ips, ip)
		}
	}
	return ips
}
