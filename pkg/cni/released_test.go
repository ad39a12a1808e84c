package cni

import (
	"encoding/json"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/document"
	"github.com/roce-k8s/roce-k8s/test/fixtures/released"
)

func TestTheNetworksOfEveryReleaseAreTaken(t *testing.T) {
	for _, file := range released.Files(t, "*.json") {
		c, err := parseConfig(released.Text(t, file))
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if c.Devices != nil || c.Claims {
			continue
		}
		sel, err := c.selector()
		if err != nil || sel.value == "" {
			t.Errorf("%s names no NIC: %v", file, err)
		}
	}
}

func TestEveryKeyIsInANetworkOfTheVersionThatBroughtIt(t *testing.T) {
	have := map[string]bool{}
	for _, file := range released.Files(t, "*.json") {
		var network map[string]json.RawMessage
		if err := json.Unmarshal(released.Text(t, file), &network); err != nil {
			t.Fatal(err)
		}
		for key, value := range network {
			have[key] = true
			var inner map[string]json.RawMessage
			if key == "runtimeConfig" && json.Unmarshal(value, &inner) == nil {
				for name := range inner {
					have[key+"."+name] = true
				}
			}
		}
	}
	for _, key := range document.FirstWords(t, readme, "| key | default | meaning |") {
		if !have[key] {
			t.Errorf("no network below testdata/released has %q: add one to the folder of the version that brings it", key)
		}
	}
}
