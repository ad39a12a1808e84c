package deviceplugin

import (
	"context"
	"reflect"
	"sync"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/kubelet"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
)

// An entry is a resource with the plugin that keeps it registered.
type entry struct {
	config   config.Resource
	resource *offer.Resource
	plugin   *kubelet.Plugin
	stop     context.CancelFunc         // nil while the plugin is not running
	reported map[string]offer.Candidate // the devices as last logged, by key; nil if never
}

// refused is the subject of why a configuration was refused.
const refused = "configuration"

// reload takes a changed configuration. One with a mistake in it is reported
// once, and the old one stays in force. asked is whether somebody waits for an
// answer.
func (m *manager) reload(ctx context.Context, running *sync.WaitGroup, asked bool) {
	file, err := readConfigFile(m.config.path)
	switch {
	case err == nil && file.text == m.config.text:
		if m.said.News(refused, "") || asked {
			m.log.Info("the configuration is the one in force", "file", file.path)
		}
		return
	case err == nil && len(file.Faults.Mistakes()) > 0:
		err = file.Faults.Mistakes()
	case err == nil:
		m.apply(ctx, file)
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		if m.said.News(refused, err.Error()) || asked {
			m.metrics.reloadFailures.Inc()
			m.log.Error("the changed configuration is invalid; the old one stays in force", "err", err)
		}
		return
	}
	delete(m.said, refused)
	m.log.Info("configuration reloaded", "file", file.path)
	m.startPlugins(ctx, running)
	m.warnGIDs()
}

// apply puts a configuration in force, as far as it can be served. Resources
// that are in the old one too, in the same mode, keep their sockets.
func (m *manager) apply(ctx context.Context, file *configFile) {
	m.reportFaults(file)
	m.mu.Lock()
	old := m.entries
	m.entries = map[string]*entry{}
	for _, r := range file.Resources {
		e := old[r.Name]
		if e == nil || e.config.Mode != r.Mode {
			e = &entry{resource: offer.NewResource(r.Name)}
			e.plugin = kubelet.NewPlugin(m.folder, e.offered(r.Mode), m.metrics, m.log)
			m.metrics.introduce(r.Name)
		}
		if !reflect.DeepEqual(e.config, r) {
			e.reported = nil // log its devices again
		}
		e.config = r
		m.entries[r.Name] = e
	}
	m.config = file
	m.mu.Unlock()
	for name, e := range old {
		if m.entries[name] != e {
			e.end()
		}
		if m.entries[name] == nil {
			m.metrics.forget(name)
		}
	}
	m.metrics.generation.Inc()
	m.rescan(ctx)
}

// end ends a resource's plugin, if it runs.
func (e *entry) end() {
	if e.stop != nil {
		e.stop()
	}
}

// offered is the resource with the abilities that its mode gives it.
func (e *entry) offered(mode config.Mode) kubelet.Resource {
	if mode == config.PerDevice {
		return offer.Preferring{Resource: e.resource}
	}
	return e.resource
}

// startPlugins starts those that do not run yet, once there is something to
// say: a list that is empty because nobody could look would take the kubelet's
// units away.
func (m *manager) startPlugins(ctx context.Context, running *sync.WaitGroup) {
	for _, e := range m.entries {
		if e.stop != nil || e.reported == nil {
			continue
		}
		var pluginCtx context.Context
		pluginCtx, e.stop = context.WithCancel(ctx)
		running.Go(func() { e.plugin.Run(pluginCtx) })
	}
}
