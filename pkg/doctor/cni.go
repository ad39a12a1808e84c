package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/roce-k8s/roce-k8s/pkg/policy"
)

// pluginName is the CNI plugin's.
const pluginName = "roce-host-device"

// pluginFolder looks for our plugin, and for those that the networks need.
func pluginFolder(p *patient) (found []symptom, err error) {
	if _, err := os.Stat(p.PluginDir); err != nil {
		return nil, fmt.Errorf("look into the folder of CNI plugins: %w", err)
	}
	needed := map[string]string{pluginName: ""} // by whom
	names := []string{pluginName}
	need := func(name, network string) {
		if _, ok := needed[name]; !ok && name != "" {
			needed[name] = ", which network " + network + " needs"
			names = append(names, name)
		}
	}
	for _, n := range p.networks {
		for _, c := range n.plugins {
			if slices.ContainsFunc(n.plugins, func(c pluginConfig) bool { return c.Type == pluginName }) {
				need(c.Type, n.name)
				need(c.IPAM.Type, n.name)
			}
		}
	}
	for _, name := range names {
		path := filepath.Join(p.PluginDir, filepath.Base(name))
		switch info, err := os.Stat(path); {
		case err != nil:
			found = append(found, symptom{where: path, what: "is not there" + needed[name]})
		case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
			found = append(found, symptom{where: path, what: "is no program" + needed[name]})
		}
	}
	return found, nil
}

func pluginVersion(p *patient) ([]symptom, error) {
	path := filepath.Join(p.PluginDir, pluginName)
	if _, err := os.Stat(path); err != nil || p.PluginVersion == nil {
		return nil, errors.New("there is no plugin to ask")
	}
	version, err := p.PluginVersion(p.ctx, path)
	if err != nil {
		return nil, fmt.Errorf("ask %s for its version: %w", path, err)
	}
	if version == p.Version {
		return nil, nil
	}
	return []symptom{{where: path, what: fmt.Sprintf("is version %s, this program is %s", version, p.Version)}}, nil
}

func policyFile(p *patient) ([]symptom, error) {
	path := filepath.Join(p.Roots.Etc, "cni", filepath.Base(policy.File))
	_, err := policy.Load(path)
	return complaint(policy.File, err), nil
}
