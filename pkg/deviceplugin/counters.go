package deviceplugin

import (
	"context"
	"slices"
	"strconv"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/counters"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
	"github.com/roce-k8s/roce-k8s/pkg/endpoint"
	"github.com/roce-k8s/roce-k8s/pkg/exporter"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// A view is what the last look saw and offered, for those who read it in their
// own time. Nobody may change it.
type view struct {
	devices []inventory.Device
	chosen  map[string][]inventory.Device // by resource
	offers  map[string]offer.Offer
	mode    map[string]config.Mode
}

// show replaces the view.
func (m *manager) show(seen inventory.Snapshot, chosen map[string][]inventory.Device) {
	v := &view{seen.Devices, chosen, map[string]offer.Offer{}, map[string]config.Mode{}}
	for _, r := range m.config.Resources {
		v.offers[r.Name], v.mode[r.Name] = m.entries[r.Name].resource.Offer(), r.Mode
	}
	m.view.Store(v)
}

// tellCounters has scrapes tell of what NICs count, until ctx ends. They read for
// themselves: of the manager they need the view of the last look only, so that
// neither looks nor Allocate ever wait for a scrape.
func (m *manager) tellCounters(ctx context.Context, units func(context.Context) []heldUnit) {
	o := counters.Options{Node: m.options.Node, Log: m.log, NICs: func(ctx context.Context) []counters.NIC {
		v := m.view.Load()
		if v == nil {
			return nil
		}
		return v.nics(m.options.Node, units(ctx))
	}}
	// The looks have sockets of their own.
	host, err := netdev.CurrentNamespace()
	if err == nil {
		o.Statistics = counters.NetdevStatistics(host)
	}
	if m.options.CountersSocket != "" {
		o.Elsewhere = counters.AskEntrant(m.options.CountersSocket)
	}
	c := counters.NewCollector(o)
	m.metrics.registry.MustRegister(c)
	context.AfterFunc(ctx, func() {
		c.End()
		if host != nil {
			host.Close()
		}
	})
}

// nics are the devices with their rails and who has them; units are those that
// containers hold.
func (v *view) nics(node rdma.Node, units []heldUnit) []counters.NIC {
	var offered []inventory.Device
	for _, devices := range v.chosen {
		offered = append(offered, devices...)
	}
	rails := inventory.Rails(node, offered)
	held := map[string][]heldUnit{} // by the device's key
	for _, u := range units {
		for _, c := range v.offers[u.resource].Behind(u.id) {
			held[c.Key()] = append(held[c.Key()], u)
		}
	}
	nics := make([]counters.NIC, len(v.devices))
	for i, d := range v.devices {
		nics[i] = counters.NIC{Device: d, Pod: v.holder(d, held[d.Key()])}
		if rail, ok := rails[d.Key()]; ok {
			nics[i].Rail = strconv.Itoa(rail)
		}
	}
	return nics
}

// holder says who has a device for itself: the pod that has the netdev, as the
// journal says, and otherwise whoever has the units of this device alone. Units
// that each give all devices do not say whose one of them is.
func (v *view) holder(d inventory.Device, units []heldUnit) counters.Holder {
	pod := attachment.Pod{}
	if d.Holder != nil {
		pod = attachment.Pod{Namespace: d.Holder.Pod.Namespace, Name: d.Holder.Pod.Name}
	}
	var holders []counters.Holder
	for _, u := range units {
		h := counters.Holder{Namespace: u.namespace, Pod: u.pod, Container: u.container, Resource: u.resource}
		its := pod == attachment.Pod{Namespace: u.namespace, Name: u.pod}
		if its || pod.Name == "" && v.mode[u.resource] == config.PerDevice {
			if !slices.Contains(holders, h) {
				holders = append(holders, h)
			}
		}
	}
	if len(holders) == 1 {
		return holders[0]
	}
	return counters.Holder{Namespace: pod.Namespace, Pod: pod.Name}
}

// Counters reads counters in the namespaces of the pods that hold NICs for the
// instance that asks at o.CountersSocket, until ctx ends. It takes SYS_ADMIN.
func Counters(ctx context.Context, o Options) error {
	journal, err := attachment.Open(o.StateDir, o.Proc)
	if err != nil {
		return err
	}
	host, err := netdev.CurrentNamespace()
	if err != nil {
		return err
	}
	// The host's namespace stays open: a driver that hangs may keep a reader.
	exporter.Serve(ctx, endpoint.Unix(o.CountersSocket), exporter.Access{}, counters.NewEntrant(o.Node, journal, host, o.Log), o.Log)
	return nil
}
