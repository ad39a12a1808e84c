package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/roce-k8s/roce-k8s/pkg/kernelfile"
	"github.com/roce-k8s/roce-k8s/pkg/netmanager"
)

// memlock reads what the container runtime's own process may lock: containers
// inherit it, unless a plugin of the runtime raises the limit of those with RDMA.
func memlock(p *patient) (found []symptom, err error) {
	if plugin, err := p.memlock(); err == nil && plugin.Wanted {
		return nil, nil
	}
	processes, _ := filepath.Glob(filepath.Join(p.Roots.Proc, "[0-9]*/comm"))
	seen := false
	for _, comm := range processes {
		name, _ := kernelfile.Read(comm)
		if !slices.Contains([]string{"containerd", "crio", "dockerd"}, name) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(filepath.Dir(comm), "limits"))
		if err != nil {
			continue // it ended since
		}
		seen = true
		for line := range strings.Lines(string(b)) {
			limit, ok := strings.CutPrefix(line, "Max locked memory")
			if fields := strings.Fields(limit); ok && len(fields) > 0 && fields[0] != "unlimited" {
				process := filepath.Base(filepath.Dir(comm))
				found = append(found, symptom{fmt.Sprintf("%s (process %s)", name, process), "its containers may lock " + fields[0] + " bytes", name})
			}
		}
	}
	if !seen {
		return nil, errors.New("no containerd, crio or dockerd is among the processes that can be seen")
	}
	return found, nil
}

// memlockPlugin finds one that shall be there, and that the runtime does not know.
func memlockPlugin(p *patient) ([]symptom, error) {
	plugin, err := p.memlock()
	if err != nil || !plugin.Wanted || plugin.Connected {
		return nil, err
	}
	return []symptom{{where: "the node", what: "the memlock plugin is not connected to the container runtime"}}, nil
}

func networkManager(p *patient) (found []symptom, err error) {
	roots := netmanager.Roots{Run: p.Roots.Run, Etc: p.Roots.Etc, Lib: p.Roots.Lib, Sys: p.Roots.Sys}
	for _, d := range p.onHost() {
		nic := d.Netdevs[0]
		index, ok := p.number("class/net", nic, "ifindex")
		if !ok {
			continue
		}
		manager := roots.Of(nic, index)
		if lacks := roots.Lacks(manager, index); len(lacks) > 0 {
			found = append(found, symptom{where: nic, what: string(manager) + " lacks " + list(lacks)})
		}
	}
	return found, nil
}

// topology reads the kubelet's configuration, as its file has it or as its
// configz answers.
func topology(p *patient) ([]symptom, error) {
	nodes := map[int]bool{}
	for _, d := range p.rails {
		if d.NUMANode >= 0 {
			nodes[d.NUMANode] = true
		}
	}
	if len(nodes) < 2 || p.Together {
		return nil, nil
	}
	b, err := os.ReadFile(p.KubeletConfig)
	if err != nil {
		return nil, fmt.Errorf("read the kubelet's configuration: %w", err)
	}
	type configuration struct {
		Policy string `yaml:"topologyManagerPolicy"`
	}
	var c struct {
		configuration `yaml:",inline"`
		Configz       *configuration `yaml:"kubeletconfig"`
	}
	if err := yaml.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("read the kubelet's configuration: %w", err)
	}
	policy := c.Policy
	if c.Configz != nil {
		policy = c.Configz.Policy
	}
	if policy != "" && policy != "none" {
		return nil, nil
	}
	return []symptom{{where: p.KubeletConfig, what: fmt.Sprintf("topologyManagerPolicy is none, and the rails are on %d NUMA nodes", len(nodes))}}, nil
}
