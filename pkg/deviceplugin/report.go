package deviceplugin

import (
	"fmt"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// reportMode logs in which mode the RDMA subsystem is. Both are good; users ask.
func (m *manager) reportMode() {
	mode, err := rdma.SystemMode()
	now := string(mode)
	if err != nil {
		now = err.Error()
	}
	if now == m.mode {
		return
	}
	m.mode = now
	if err != nil {
		m.log.Warn("unknown RDMA namespace mode", "error", err)
		return
	}
	m.log.Info("RDMA namespace mode", "mode", mode)
}

// report logs the devices of a resource when they are others, or elsewhere.
func (m *manager) report(e *entry, devices []candidate) {
	places := map[Place][]string{}
	for _, c := range devices {
		places[c.Place] = append(places[c.Place], c.String())
	}
	list := func(p Place) string { return strings.Join(places[p], " ") }
	now := fmt.Sprint(list(OnHost), "|", list(InPod), "|", list(Gone))
	if e.reported == now {
		return
	}
	e.reported = now
	m.log.Info("devices", "resource", e.config.Name, "mode", e.config.Mode, "devices", len(devices),
		"onHost", list(OnHost), "inPods", list(InPod), "gone", list(Gone))
}

// reportClashes logs clashes that a device brought which was not there when
// the configuration came into force. The device stays with the first resource.
func (m *manager) reportClashes(clashes []clash) {
	now := ""
	for _, c := range clashes {
		now += c.err(m.config.path).Error() + "\n"
	}
	if now != m.clashes {
		for _, c := range clashes {
			m.log.Error("only the first of two resources gets a device that both select", "error", c.err(m.config.path))
		}
	}
	m.clashes = now
}

// warnGIDs warns of more units than a GID table has room for.
func (m *manager) warnGIDs() {
	for _, r := range m.config.Resources {
		if r.Mode == config.Shared {
			m.warnGIDsOf(r, m.entries[r.Name].resource.snapshot().devices())
		}
	}
}

func (m *manager) warnGIDsOf(r config.Resource, devices []candidate) {
	// A pod's macvlan on an HCA takes an entry of RoCE v1 and v2 for its
	// link-local address, and for its IPv4 address.
	const entriesPerPod = 4
	for _, c := range devices {
		if size := gidTableSize(m.options.Node, c.Device.Device); size > 0 && r.Units*entriesPerPod > size {
			m.log.Warn("rdmaHcaMax is more than the GID table of a device has room for, if each pod has a macvlan or ipvlan on it",
				"resource", r.Name, "rdmaHcaMax", r.Units, "device", c.String(), "gidTable", size, "roomFor", size/entriesPerPod)
			return
		}
	}
}
