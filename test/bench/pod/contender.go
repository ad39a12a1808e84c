package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/roce-k8s/roce-k8s/test/e2e/cluster"
)

// A contender is what a pod gets: nothing, or eight rails by a plugin with one
// kind of IPAM, each by a network of its own, or all by one.
type contender struct {
	plugin, ipam string
	together     bool // one network, one call
}

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
		{theirs, hostLocal, false}, {ours, hostLocal, false}, {ours, hostLocal, true},
		{theirs, whereabouts, false}, {ours, whereabouts, false}, {ours, whereabouts, true},
		{ours, keep, false}, {ours, keep, true},
	}
}

func (c contender) String() string {
	if c.plugin == "" {
		return "no networks"
	}
	return c.plugin + ", " + c.gets()
}

// gets says what it gets, whoever gives it.
func (c contender) gets() string {
	if c.together {
		return c.ipam + ", one network"
	}
	return c.ipam
}

// networks is how many a pod has.
func (c contender) networks() int {
	switch {
	case c.plugin == "":
		return 0
	case c.together:
		return 1
	}
	return rails
}

// network is the name of one of them, which count from 1.
func (c contender) network(number int) string {
	if c.together {
		return strings.ToLower(fmt.Sprintf("%s-%s-all", c.plugin, c.ipam))
	}
	return strings.ToLower(fmt.Sprintf("%s-%s-%d", c.plugin, c.ipam, number))
}

// config is the configuration of one of them.
func (c contender) config(number int) map[string]any {
	config := map[string]any{"cniVersion": "1.0.0", "name": c.network(number), "type": c.plugin}
	if c.together {
		config["devices"] = cluster.Rails()
	} else {
		config["device"] = cluster.Rails()[number-1]
	}
	if c.plugin == ours {
		config["rdma"] = "none"
	}
	subnet := fmt.Sprintf("172.31.%d.0/24", number)
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
	for i := range c.networks() {
		config, err := json.Marshal(c.config(i + 1))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, `---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: %s}
spec: {config: '%s'}
`, c.network(i+1), config)
	}
	return b.String(), nil
}

// pod is a pod with the contender's networks.
func (c contender) pod(name, node string) map[string]any {
	metadata := map[string]any{"name": name}
	var networks []string
	for i := range c.networks() {
		networks = append(networks, c.network(i+1))
	}
	if len(networks) > 0 {
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
