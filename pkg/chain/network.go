package chain

import (
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/roce-k8s/roce-k8s/pkg/trusted"
)

const (
	// Plugin is the CNI plugin's type, and its program's name.
	Plugin = "roce-host-device"
	// element is what a list says of it.
	element = `{"type": "` + Plugin + `", "claims": true}`
)

// longest is the longest file that is read, in bytes.
const longest = 1 << 20

// A file is one of the folder's, as it was read.
type file struct {
	path string
	text []byte
	root *value
}

func readFile(path string) (*file, error) {
	text, err := trusted.ReadFile(path, longest)
	if err != nil {
		return nil, err
	}
	root, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s is no JSON: %w; the runtime cannot read it either", path, err)
	}
	return &file{path, text, root}, nil
}

// files are the paths of those that runtimes read, in the order in which they take
// the first.
// Source: loadFromConfDir in github.com/containerd/go-cni, opts.go; loadNetworks in
// github.com/cri-o/ocicni, pkg/ocicni/ocicni.go.
func files(dir string) ([]string, error) {
	paths, err := libcni.ConfFiles(dir, []string{".conf", ".conflist", ".json"})
	slices.Sort(paths)
	return paths, err
}

// isOurs tells whether an element of a list is this plugin, for claims.
func (f *file) isOurs(plugin *value) bool {
	var p struct {
		Type   string
		Claims bool
	}
	return json.Unmarshal(plugin.of(f.text), &p) == nil && p.Type == Plugin && p.Claims
}

// has tells whether a list has the plugin.
func (f *file) has(list *value) bool {
	return slices.ContainsFunc(list.elements, f.isOurs)
}

// A place is a list of plugins in a file.
type place struct {
	*file
	network *value // an object with the key plugins
}

func (p place) plugins() *value { return p.network.member("plugins") }

// chained tells whether the list has the plugin.
func (p place) chained() bool { return p.has(p.plugins()) }

// check tells whether the plugin can be at the list's end.
func (p place) check() error {
	list, err := libcni.ConfListFromBytes(p.network.of(p.text))
	if err != nil {
		return fmt.Errorf("%s: %w; the runtime cannot use it either", p.path, err)
	}
	if len(list.Plugins) == 0 {
		return fmt.Errorf(`%s: network %q has its plugins in a folder of its own; put %s as a file there`, p.path, list.Name, element)
	}
	// Before, a result had no interfaces to which others can be added.
	// Source: CNI specification 0.3.0, "Result".
	if chains, err := version.GreaterThanOrEqualTo(list.CNIVersion, "0.3.0"); err != nil || !chains {
		return fmt.Errorf(`%s: network %q is of "cniVersion" %q, which knows no chains; use "0.3.1" or later`, p.path, list.Name, list.CNIVersion)
	}
	return nil
}

// places are the lists from which a node's pods get their network. The first is
// the one that runs. Others are where Multus' own installer copies that from,
// whenever it thinks so.
func places(dir string) ([]place, error) {
	paths, err := files(dir)
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no network in %s: the cluster's own has to come first", dir)
	}
	first, err := readFile(paths[0])
	if err != nil {
		return nil, err
	}
	multus := first.multus()
	switch {
	case multus != nil:
		return delegated(first, multus, paths[1:])
	case first.isList():
		return []place{{first, first.root}}, nil
	}
	return nil, fmt.Errorf(`%s is a single plugin; make it a list, {"name": …, "cniVersion": …, "plugins": [ … ]}, in a file .conflist`, first.path)
}

// isList tells whether the runtime reads the file as a list of plugins.
func (f *file) isList() bool { return filepath.Ext(f.path) == ".conflist" }

// multus is Multus' configuration in the file, nil if there is none.
func (f *file) multus() *value {
	candidates := []*value{f.root}
	if f.isList() {
		candidates = f.root.member("plugins").elements
	}
	for _, c := range candidates {
		var plugin struct{ Type string }
		// The shim is the part of a thick Multus that the runtime runs.
		if json.Unmarshal(c.of(f.text), &plugin) == nil && (plugin.Type == "multus" || plugin.Type == "multus-shim") {
			return c
		}
	}
	return nil
}

// delegated are the lists to which Multus delegates the pod's own network.
// Source: LoadNetConf in Multus 4.2.4, pkg/types/conf.go, getNetDelegate in
// pkg/k8sclient/k8sclient.go.
func delegated(f *file, multus *value, others []string) ([]place, error) {
	var config struct{ ClusterNetwork string }
	if err := json.Unmarshal(multus.of(f.text), &config); err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	if config.ClusterNetwork != "" {
		p, err := find(others, config.ClusterNetwork)
		if err == nil && p == nil {
			err = fmt.Errorf(`%s has "clusterNetwork" %q, which is no list in this folder; put %s at the end of its plugins yourself`, f.path, config.ClusterNetwork, element)
		}
		if err != nil {
			return nil, err
		}
		return []place{*p}, nil
	}
	delegates := multus.member("delegates").elements
	if len(delegates) == 0 {
		return nil, fmt.Errorf("%s delegates to no network", f.path)
	}
	inline := place{f, delegates[0]}
	if len(inline.plugins().elements) == 0 {
		return nil, fmt.Errorf(`%s delegates to a single plugin; make it a list, {"name": …, "cniVersion": …, "plugins": [ … ]}`, f.path)
	}
	// Multus' thin installer writes a copy of the file that it found into its own.
	origin, err := find(others, nameOf(inline))
	if err != nil || origin == nil {
		return []place{inline}, err
	}
	return []place{inline, *origin}, nil
}

// find is the list among other files that Multus knows by a network's name, or by
// a path: it may see the folder at another one. It is nil if there is none.
func find(paths []string, name string) (*place, error) {
	for _, file := range paths {
		named := strings.Contains(name, "/") && path.Base(name) == filepath.Base(file)
		f, err := readFile(file)
		switch {
		case err != nil && named:
			return nil, err
		case err != nil: // nobody reads it
		case f.isList() && (named || f.name() == name):
			return &place{f, f.root}, nil
		}
	}
	return nil, nil
}

// name is that of the network in a file.
func (f *file) name() string { return nameOf(place{f, f.root}) }

func nameOf(p place) string {
	var network struct{ Name string }
	_ = json.Unmarshal(p.network.of(p.text), &network)
	return network.Name
}
