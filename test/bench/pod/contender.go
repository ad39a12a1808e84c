package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/roce-k8s/roce-k8s/test/e2e/cluster"
)

// A contender is what a pod gets: nothing, or eight rails by a plugin with one
// kind of IPAM.
type contender struct{ plugin, ipam string }

const (
	ours   = "roce-host-device"
	theirs = "host-device"

	hostLocal   = "host-local"
	whereabouts = "whereabouts"
	keep        = "keepAddresses" // none: what the host has
)

// contenders are all of them, in the order of the report; the first is a pod
// without networks.
func contenders() []contender {
	return []contender{
		{},
		{theirs, hostLocal}, {ours, hostLocal},
		{theirs, whereabouts}, {ours, whereabouts},
		{ours, keep},
	}
}

func (c contender) String() string {
	switch {
	case c.plugin == "":
		return "no networks"
	case c.ipam == keep:
		return c.plugin + ", `keepAddresses`"
	}
	return c.plugin + ", " + c.ipam
}

// network is the name of a rail's network, which counts from 1.
func (c contender) network(rail int) string {
	return strings.ToLower(fmt.Sprintf("%s-%s-%d", c.plugin, c.ipam, rail))
}

// config is the configuration of a rail's network.
func (c contender) config(rail int) map[string]any {
	config := map[string]any{"cniVersion": "1.0.0", "name": c.network(rail), "type": c.plugin, "device": cluster.Rails()[rail-1]}
	if c.plugin == ours {
		config["rdma"] = "none"
	}
	subnet := fmt.Sprintf("172.31.%d.0/24", rail)
	switch c.ipam {
	case hostLocal:
		config["ipam"] = map[string]any{"type": c.ipam, "subnet": subnet}
	case whereabouts:
		config["ipam"] = map[string]any{"type": c.ipam, "range": subnet}
	case keep:
		config["keepAddresses"] = true
	}
	return config
}

// manifests are the contender's networks.
func (c contender) manifests() (string, error) {
	var b strings.Builder
	for rail := range cluster.Rails() {
		config, err := json.Marshal(c.config(rail + 1))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, `---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: %s}
spec: {config: '%s'}
`, c.network(rail+1), config)
	}
	return b.String(), nil
}

// pod is a pod with the contender's networks.
func (c contender) pod(name, node string) map[string]any {
	metadata := map[string]any{"name": name}
	if c.plugin != "" {
		var networks []string
		for rail := range cluster.Rails() {
			networks = append(networks, c.network(rail+1))
		}
		metadata["annotations"] = map[string]any{"k8s.v1.cni.cncf.io/networks": strings.Join(networks, ",")}
	}
	return map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": metadata,
		"spec": map[string]any{
			"nodeName": node,
			// A volume less to wait for; that it is all the same to the networks.
			"automountServiceAccountToken": false,
			"containers":                   []any{map[string]any{"name": "pause", "image": "localhost/pause:1"}},
		},
	}
}
