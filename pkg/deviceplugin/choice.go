package deviceplugin

import (
	"errors"
	"io/fs"
	"os"
	"slices"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
)

// A Choice is which devices the resources of a configuration have.
type Choice struct{ resources []config.Resource }

// ReadChoice reads it from a configuration file; it is nil where there is none.
func ReadChoice(file string) (*Choice, error) {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	c, err := readConfigFile(file)
	if err != nil {
		return nil, err
	}
	return &Choice{c.Resources}, nil
}

// Of are those of some devices that a resource has.
func (c *Choice) Of(devices []inventory.Device) []inventory.Device {
	chosen, _ := offer.Assign(c.resources, devices)
	return slices.DeleteFunc(slices.Clone(devices), func(d inventory.Device) bool {
		for _, some := range chosen {
			if slices.ContainsFunc(some, func(s inventory.Device) bool { return s.Key() == d.Key() }) {
				return false
			}
		}
		return true
	})
}

// Together tells whether each unit gives all devices, in all resources.
func (c *Choice) Together() bool {
	return !slices.ContainsFunc(c.resources, func(r config.Resource) bool { return r.Mode == config.PerDevice })
}
