package offer

import (
	"fmt"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
)

// A Clash is a device that two resources select. The kubelet would give it to
// two containers that both think they have it.
type Clash struct {
	device        inventory.Device
	first, second config.Resource
}

// Err is the clash as a mistake in a configuration file.
func (c Clash) Err(file string) *config.Error {
	return &config.Error{File: file, At: c.second.At, Text: fmt.Sprintf(
		`resources %s (line %d) and %s both select %s; a device can be in one only: narrow the selectors, or use "exclude"`,
		c.first.Name, c.first.At.Line, c.second.Name, c.device)}
}

// Assign distributes devices over resources, in the order of both. A device
// that several select stays with the first of them.
func Assign(resources []config.Resource, devices []inventory.Device) (chosen map[string][]inventory.Device, clashes []Clash) {
	chosen = map[string][]inventory.Device{}
	for _, d := range devices {
		var first *config.Resource
		for n, r := range resources {
			switch {
			case Mismatch(r, d) != "":
			case first == nil:
				first = &resources[n]
				chosen[r.Name] = append(chosen[r.Name], d)
			default:
				clashes = append(clashes, Clash{d, *first, r})
			}
		}
	}
	return chosen, clashes
}
