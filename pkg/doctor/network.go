package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

var errNoNetworks = errors.New("no networks were given (--networks)")

// A network is a NetworkAttachmentDefinition.
type network struct {
	name    string // with its namespace
	plugins []pluginConfig
	broken  error
}

// reference is the network with its namespace, as one word for a remedy.
func (n network) reference() string {
	if strings.Contains(n.name, "/") {
		return n.name
	}
	return "default/" + n.name
}

// A pluginConfig is what matters here of one plugin's configuration.
type pluginConfig struct {
	Type       string
	Device     string
	HWAddr     string
	KernelPath string
	PCIBusID   string
	RDMAMode   rdma.Mode
	IPAM       struct{ Type string }
}

// longestNetworks is in bytes: a cluster has hundreds of networks, of some
// hundred bytes each.
const longestNetworks = 16 << 20

// readNetworks reads what `kubectl get net-attach-def -A -o json` prints, or the
// manifests themselves.
func readNetworks(r io.Reader) (networks []network, err error) {
	if r == nil {
		return nil, nil
	}
	type object struct {
		Kind     string
		Metadata struct{ Namespace, Name string }
		Spec     struct{ Config string }
		Items    []yaml.Node
	}
	documents := yaml.NewDecoder(io.LimitReader(r, longestNetworks))
	for {
		var list object
		err := documents.Decode(&list)
		if errors.Is(err, io.EOF) {
			return networks, nil
		}
		objects := []object{list}
		for _, item := range list.Items {
			var o object
			if err == nil {
				err = item.Decode(&o)
			}
			objects = append(objects, o)
		}
		if err != nil {
			return nil, fmt.Errorf("read the networks: %w; give what `kubectl get net-attach-def -A -o json` prints", err)
		}
		for _, o := range objects {
			if o.Kind == "NetworkAttachmentDefinition" {
				networks = append(networks, parseNetwork(strings.TrimPrefix(o.Metadata.Namespace+"/"+o.Metadata.Name, "/"), o.Spec.Config))
			}
		}
	}
}

// parseNetwork reads a network's configuration, of one plugin or of a list. One
// without any is in a file on the node.
func parseNetwork(name, config string) network {
	n := network{name: name}
	if config == "" {
		return n
	}
	var c struct {
		pluginConfig
		Plugins []pluginConfig
	}
	if n.broken = json.Unmarshal([]byte(config), &c); n.broken != nil {
		return n
	}
	if n.plugins = c.Plugins; len(n.plugins) == 0 {
		n.plugins = []pluginConfig{c.pluginConfig}
	}
	return n
}

func networkConfigs(p *patient) (found []symptom, err error) {
	if len(p.networks) == 0 {
		return nil, errNoNetworks
	}
	for _, n := range p.networks {
		if n.broken != nil {
			found = append(found, symptom{"network " + n.name, "spec.config cannot be read: " + n.broken.Error(), n.reference()})
		}
	}
	return found, nil
}

// missingNICs looks for the NICs that networks of ours name, on the host and in
// pods. A network that leaves the choice to the device plugin names none.
func missingNICs(p *patient) (found []symptom, err error) {
	if len(p.networks) == 0 {
		return nil, errNoNetworks
	}
	for _, n := range p.networks {
		for _, c := range n.plugins {
			if c.Type != pluginName {
				continue
			}
			for _, named := range []struct {
				key, value string
				is         func(string) bool
			}{{"device", c.Device, p.hasNIC}, {"hwaddr", c.HWAddr, p.hasMAC}, {"kernelpath", c.KernelPath, p.hasPath}, {"pciBusID", c.PCIBusID, p.hasFunction}} {
				if named.value == "" {
					continue
				}
				if !named.is(named.value) {
					found = append(found, symptom{"network " + n.name, fmt.Sprintf("%s %q is not on this node", named.key, named.value), n.reference()})
				}
				break // the first that is set counts, as in the plugin
			}
		}
	}
	return found, nil
}

func (p *patient) hasNIC(name string) bool {
	if _, err := os.Stat(filepath.Join(p.Roots.Sys, "class/net", filepath.Base(name))); err == nil {
		return true
	}
	for _, d := range p.seen.Devices {
		if slices.Contains(d.Netdevs, name) || slices.Contains(d.AltNames, name) {
			return true
		}
	}
	for _, r := range p.seen.Held {
		if r.Host.Name == name || slices.Contains(r.Host.AltNames, name) {
			return true
		}
	}
	for _, link := range p.seen.HostLinks {
		if slices.Contains(link.Attrs().AltNames, name) {
			return true
		}
	}
	return false
}

func (p *patient) hasMAC(mac string) bool {
	files, _ := filepath.Glob(filepath.Join(p.Roots.Sys, "class/net/*/address"))
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil && strings.EqualFold(strings.TrimSpace(string(b)), mac) {
			return true
		}
	}
	for _, r := range p.seen.Held {
		if strings.EqualFold(r.NIC.Netdev.PermanentMAC, mac) {
			return true
		}
	}
	return false
}

// hasPath knows a folder below /sys/devices. A NIC's function stays there while
// the netdev is in a pod.
func (p *patient) hasPath(path string) bool {
	_, below, _ := strings.Cut(filepath.Clean(path), "/devices/")
	_, err := os.Stat(filepath.Join(p.Roots.Sys, "devices", below))
	return err == nil
}

func (p *patient) hasFunction(address string) bool {
	return p.node.HasFunction(rdma.BusPCI, address) || p.node.HasFunction(rdma.BusAuxiliary, address)
}
