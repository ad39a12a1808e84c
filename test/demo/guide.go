package main

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// documents are the guide's own. In the networks' "type" host-device has
// become roce-host-device; nothing else is changed.
//
//go:embed guide
var documents embed.FS

// A network is a NetworkAttachmentDefinition.
type network struct {
	name   string // "roce-net-1"
	config string // spec.config, what the CNI plugin reads
	device string // its "device"
	text   string // the whole document
}

// readGuide reads config.json and the networks.
func readGuide() (config string, networks []network, err error) {
	content, err := documents.ReadFile("guide/config.json")
	if err != nil {
		return "", nil, err
	}
	all, err := documents.ReadFile("guide/roce-network.yaml")
	if err != nil {
		return "", nil, err
	}
	for _, text := range strings.Split(string(all), "---\n") {
		n, err := parseNetwork(text)
		if err != nil {
			return "", nil, fmt.Errorf("roce-network.yaml: %w", err)
		}
		networks = append(networks, n)
	}
	return string(content), networks, nil
}

func parseNetwork(text string) (network, error) {
	var document struct {
		Kind     string
		Metadata struct{ Name string }
		Spec     struct{ Config string }
	}
	if err := yaml.NewDecoder(strings.NewReader(text)).Decode(&document); err != nil && !errors.Is(err, io.EOF) {
		return network{}, err
	}
	var config struct{ Device string }
	if err := json.Unmarshal([]byte(document.Spec.Config), &config); err != nil {
		return network{}, fmt.Errorf("%s: spec.config: %w", document.Metadata.Name, err)
	}
	return network{name: document.Metadata.Name, config: document.Spec.Config, device: config.Device, text: text}, nil
}

// renamed is the network with another NIC.
func (n network) renamed(rename func(string) string) network {
	return network{name: n.name, config: rename(n.config), device: rename(n.device), text: rename(n.text)}
}

// A pluginConfig is what the story needs to know of a config.json.
type pluginConfig struct {
	ConfigList []struct {
		ResourceName string
		RdmaHcaMax   int
		Selectors    struct{ IfNames []string }
	}
}

func parsePluginConfig(text string) (pluginConfig, error) {
	var c pluginConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return c, fmt.Errorf("config.json: %w", err)
	}
	if len(c.ConfigList) != 1 {
		return c, fmt.Errorf("config.json: %d resources, not 1", len(c.ConfigList))
	}
	return c, nil
}
