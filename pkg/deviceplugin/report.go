package deviceplugin

import (
	"context"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// reportMode logs which mode the RDMA subsystem is in. Both are fine; users
// ask.
func (m *manager) reportMode() {
	mode, err := rdma.SystemMode()
	now := string(mode)
	if err != nil {
		now = err.Error()
	}
	if !m.said.News("RDMA mode", now) {
		return
	}
	if err != nil {
		m.log.Warn("unknown RDMA namespace mode", "err", err)
		return
	}
	m.log.Info("RDMA namespace mode", "mode", mode)
}

// reportKernel logs the features that the kernel lacks.
func (m *manager) reportKernel(ctx context.Context) {
	if m.host == nil {
		return
	}
	missing, err := rdma.Missing(ctx, m.host)
	if err != nil {
		m.log.Warn("cannot tell which features the kernel has", "err", err)
	}
	for _, f := range missing {
		m.log.Info("the kernel lacks a feature", "what", f.Name, "since", "Linux "+f.Since, "cost", f.Cost)
	}
}

// reportFaults logs what is wrong with a configuration that comes into force.
func (m *manager) reportFaults(file *configFile) {
	for _, f := range file.Faults {
		switch f.Cost {
		case config.LeftOut:
			m.log.Error("a resource of the configuration is left out", "err", f)
		case config.Ignored:
			m.log.Error("a mistake in the configuration is ignored", "err", f)
		case config.Nothing:
			m.log.Warn("a note on the configuration", "note", f)
		}
	}
	m.metrics.mistakes.Set(float64(len(file.Faults.Mistakes())))
}

// reportMissing logs which character devices containers will lack, when that
// changes.
func (m *manager) reportMissing(r config.Resource, missing []string) {
	now := strings.Join(missing, "; ")
	switch {
	case !m.said.News("missing for "+r.Name, now):
	case now != "":
		m.log.Warn("containers will lack character devices of the resource", "resource", r.Name, "missing", now)
	default:
		m.log.Info("all character devices of the resource are present", "resource", r.Name)
	}
}

// report logs the devices of a resource: all of them at first, and then each
// that comes, leaves or moves.
func (m *manager) report(e *entry, devices []offer.Candidate) {
	before, now := e.reported, map[string]offer.Candidate{}
	for _, c := range devices {
		now[c.Key()] = c
	}
	e.reported = now
	if before == nil {
		m.reportAll(e.config, devices)
		return
	}
	log := m.log.With("resource", e.config.Name)
	for _, c := range devices {
		switch was, known := before[c.Key()]; {
		case !known:
			log.Info("device joined the resource", "device", c.String(), "place", c.Place)
		case was.Place != c.Place && c.Holder != nil:
			log.Info("device moved", "device", c.String(), "place", c.Place, "was", was.Place, "holder", c.Holder.Holder())
		case was.Place != c.Place:
			log.Info("device moved", "device", c.String(), "place", c.Place, "was", was.Place)
		}
	}
	for key, was := range before {
		if _, stays := now[key]; !stays {
			log.Info("device left the resource", "device", was.String(), "was", was.Place)
		}
	}
}

func (m *manager) reportAll(r config.Resource, devices []offer.Candidate) {
	places := map[inventory.Place][]string{}
	for _, c := range devices {
		places[c.Place] = append(places[c.Place], c.String())
	}
	if len(devices) == 0 {
		m.log.Warn("the resource selects no device on this node; `rdma-device-plugin explain` tells why", "resource", r.Name)
	}
	list := func(p inventory.Place) string { return strings.Join(places[p], " ") }
	m.log.Info("devices", "resource", r.Name, "mode", r.Mode, "devices", len(devices),
		"onHost", list(inventory.OnHost), "inPods", list(inventory.InPod), "gone", list(inventory.Gone))
}

// reportClashes logs devices that two resources select: each stays with the
// first. It is a mistake that only the hardware shows, and one file serves many
// nodes: refusing it would take all other devices away.
func (m *manager) reportClashes(clashes []offer.Clash) {
	m.metrics.clashes.Set(float64(len(clashes)))
	now := ""
	for _, c := range clashes {
		now += c.Err(m.config.path).Error() + "\n"
	}
	if !m.said.News("clashes", now) {
		return
	}
	for _, c := range clashes {
		m.log.Error("only the first of two resources gets a device that both select", "err", c.Err(m.config.path))
	}
}

// warnGIDs warns of more units than a GID table has room for.
func (m *manager) warnGIDs() {
	for _, r := range m.config.Resources {
		if r.Mode == config.Shared {
			m.warnGIDsOf(r, m.entries[r.Name].resource.Offer().Devices())
		}
	}
}

func (m *manager) warnGIDsOf(r config.Resource, devices []offer.Candidate) {
	// A pod's macvlan on an HCA takes an entry of RoCE v1 and v2 for its
	// link-local address, and for its IPv4 address.
	const entriesPerPod = 4
	for _, c := range devices {
		if size := m.options.Node.GIDTableSize(c.Device.Device); size > 0 && r.Units*entriesPerPod > size {
			m.log.Warn("rdmaHcaMax is more than the GID table of a device has room for, if each pod has a macvlan or ipvlan on it",
				"resource", r.Name, "rdmaHcaMax", r.Units, "device", c.String(), "gidTable", size, "roomFor", size/entriesPerPod)
			return
		}
	}
}
