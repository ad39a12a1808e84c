package deviceplugin

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/kubelet"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
	"github.com/roce-k8s/roce-k8s/pkg/exporter"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/logging"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// Options say where everything is and what to do besides offering devices.
type Options struct {
	Version    string
	ConfigFile string
	KubeletDir string // with the kubelet's device-plugins and pod-resources below it
	StateDir   string // the CNI plugin's, with the journal
	Proc       string // where proc is mounted
	Node       rdma.Node
	Log        *slog.Logger

	// Rescue gives a NIC that came back without a DEL its state back.
	Rescue bool
	// MetricsAddress is where to serve metrics and probes, "" for nowhere.
	MetricsAddress string
	// MetricsAccess says who may have them.
	MetricsAccess exporter.Access
	// ProbeSocket is a unix socket that serves the same, "" for none. The
	// network address may be another instance's, the socket is not.
	ProbeSocket string
	// CountersSocket is a unix socket at which somebody reads counters in the
	// namespaces of pods, "" if nobody does.
	CountersSocket string
	// MemlockSocket is a unix socket at which the memlock plugin says how it is, ""
	// if there is none.
	MemlockSocket string
	// CDIDir is where to write the CDI spec; "" gives character devices
	// themselves instead.
	CDIDir string
	// Reload asks to read the configuration again; nil never does. Changes of
	// the file are noticed anyway.
	Reload <-chan os.Signal
}

// A ConfigError says that the configuration cannot be used: there is no point
// in trying again without changing it.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }
func (e *ConfigError) Unwrap() error { return e.Err }

// Run offers the configured resources to the kubelet until ctx ends, which is
// not an error. Errors come only from the start; afterwards whatever fails is
// logged and tried again.
func Run(ctx context.Context, o Options) error {
	file, err := readConfigFile(o.ConfigFile)
	if err != nil {
		return &ConfigError{err}
	}
	journal, err := attachment.Open(o.StateDir, o.Proc)
	if err != nil {
		return err
	}
	host, err := netdev.CurrentNamespace()
	if err != nil {
		return fmt.Errorf("see the host's links: %w", err)
	}
	i := newInventory(o, journal, host)
	m := newManager(o, i)
	defer closeLater(host, i, &m.abandoned)
	// The offers are there before the kubelet can ask for them.
	if m.apply(ctx, file); ctx.Err() != nil {
		return nil
	}
	m.host = host
	if o.Rescue {
		m.rescuer = &rescuer{host: host, journal: journal, log: o.Log, done: m.metrics.rescued}
	}
	m.run(ctx)
	o.Log.Info("stopped")
	return nil
}

// newInventory makes the inventory of a node; host is nil if the host's links
// cannot be seen.
func newInventory(o Options, journal *attachment.Journal, host *netdev.Namespace) *inventory.Inventory {
	i := inventory.Options{Node: o.Node, Journal: journal, StateDir: o.StateDir, Log: o.Log}
	if host != nil {
		i.Links, i.Elsewhere = host.LinkReader().Links, host.LinksElsewhere
	}
	return inventory.New(i)
}

// closeLater closes the host's namespace, if there is one, when those who may
// still look at it are done. It does not wait for them.
func closeLater(host *netdev.Namespace, users ...interface{ Wait() }) {
	if host == nil {
		return
	}
	go func() {
		for _, u := range users {
			u.Wait()
		}
		host.Close()
	}()
}

// newManager makes a manager without resources.
func newManager(o Options, i *inventory.Inventory) *manager {
	return &manager{
		options:   o,
		log:       o.Log,
		inventory: i,
		folder:    kubelet.NewFolder(o.KubeletDir, o.Log),
		metrics:   newMetrics(o.Version),
		health:    offer.NewHealth(offer.SettleTime),
		entries:   map[string]*entry{},
		events:    make(chan struct{}, 1),
		forgets:   make(chan forgetting),
		said:      logging.Once{},
	}
}

// PodResourcesSocket is where the kubelet has it.
func PodResourcesSocket(kubeletDir string) string {
	return filepath.Join(kubeletDir, "pod-resources/kubelet.sock")
}

// A configFile is a configuration with the text that it was read from.
type configFile struct {
	*config.Config
	path string
	text string
}

func readConfigFile(path string) (*configFile, error) {
	c, text, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	return &configFile{c, path, text}, nil
}
