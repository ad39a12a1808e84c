package deviceplugin

import (
	"errors"
	"io/fs"
	"os"
	"slices"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
)

// Choice returns what chooses the devices that the resources of a configuration
// have, nil where there is no such file.
func Choice(file string) (func([]inventory.Device) []inventory.Device, error) {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	c, err := readConfigFile(file)
	if err != nil {
		return nil, err
	}
	return func(devices []inventory.Device) []inventory.Device {
		chosen, _ := offer.Assign(c.Resources, devices)
		return slices.DeleteFunc(slices.Clone(devices), func(d inventory.Device) bool {
			for _, some := range chosen {
				if slices.ContainsFunc(some, func(s inventory.Device) bool { return s.Key() == d.Key() }) {
					return false
				}
			}
			return true
		})
	}, nil
}
