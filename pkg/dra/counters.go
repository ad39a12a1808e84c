package dra

import (
	"context"
	"strconv"

	"github.com/roce-k8s/roce-k8s/pkg/counters"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// nics are all that the last look saw, with the rails of those that are offered,
// and the pod that has one. Scrapes ask for them, and keep no claim waiting.
func (d *driver) nics(context.Context) []counters.NIC {
	v, _ := d.current()
	if v == nil {
		return nil
	}
	rails := map[string]string{}
	for _, of := range v.devices {
		rails[of.Key()] = strconv.Itoa(of.rail)
	}
	nics := make([]counters.NIC, len(v.seen))
	for i, of := range v.seen {
		nics[i] = counters.NIC{Device: of, Rail: rails[of.Key()]}
		if of.Holder != nil {
			nics[i].Pod = counters.Holder{Namespace: of.Holder.Pod.Namespace, Pod: of.Holder.Pod.Name}
		}
	}
	return nics
}

// counting says how to read what they count. host has the host's netdevs.
func (d *driver) counting(host *netdev.Namespace) counters.Options {
	o := counters.Options{Node: d.options.Node, NICs: d.nics, Statistics: counters.NetdevStatistics(host), Log: d.log}
	if d.options.CountersSocket != "" {
		o.Elsewhere = counters.AskEntrant(d.options.CountersSocket)
	}
	return o
}
