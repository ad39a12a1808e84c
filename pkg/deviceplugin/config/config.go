// Package config reads the device plugin's configuration file: the one that
// users of k8s-rdma-shared-dev-plugin have, as JSON or YAML, and the keys that
// this plugin adds.
//
// It knows the file and what is wrong with it, down to line and column. It
// must not know what the node has.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// DefaultFile is where the ConfigMap of k8s-rdma-shared-dev-plugin is mounted.
const DefaultFile = "/k8s-rdma-shared-dev-plugin/config.json"

// The defaults of k8s-rdma-shared-dev-plugin.
const (
	defaultPeriodicUpdateInterval = 60 * time.Second
	defaultResourcePrefix         = "rdma"
)

// A Config is what can be used of a configuration file.
type Config struct {
	// PeriodicUpdateInterval is the pause between two looks at the node, in
	// case no event announced a change. 0 turns them off. Default: 60 s.
	PeriodicUpdateInterval time.Duration
	// Resources in the order of the file, at least one.
	Resources []Resource
	// Faults are what is wrong with the file, or worth a note.
	Faults Errors
}

// A Resource is one extended resource of the node and what belongs to it.
type Resource struct {
	// Name with its prefix, as pods ask for it: "rdma/hca_gpu". The prefix's
	// default: "rdma".
	Name string
	// At is where the resource is in the file, for messages.
	At Position
	// Mode is what a unit stands for. Default: Shared.
	Mode Mode
	// Units is how many units to offer: in all (rdmaHcaMax, default: 0), or of
	// each device (unitsPerDevice, default: 1).
	Units int
	// Selectors choose the devices, with at least one list. Exclude takes some
	// out again. Default: none.
	Selectors Selectors
	Exclude   Selectors
	// CharDevices are the kinds of character devices to give. Default: all in
	// mode Shared; Uverbs and RDMACM in mode PerDevice.
	CharDevices []CharDevice
	// Named tells whether the file names CharDevices: only then is a missing
	// one a fault.
	Named bool
	// Env asks for environment variables that describe the devices. Default:
	// false.
	Env bool
	// HealthPolicy is what makes a device unhealthy. Default: HealthPresent.
	HealthPolicy HealthPolicy
}

// A Mode is what a unit of a resource stands for.
type Mode string

// In mode Shared, the default and the only one of k8s-rdma-shared-dev-plugin,
// each unit gives all devices. In mode PerDevice it gives one, and is named by
// the device's bus address.
const (
	Shared    Mode = "shared"
	PerDevice Mode = "perDevice"
)

// A CharDevice is a kind of character device, by the name that the kernel
// numbers.
type CharDevice string

// The kinds of character devices that RDMA devices have.
const (
	Uverbs CharDevice = "uverbs"  // verbs: what every RDMA program opens
	Umad   CharDevice = "umad"    // management datagrams
	Issm   CharDevice = "issm"    // for subnet managers
	RDMACM CharDevice = "rdma_cm" // connection manager, one for all devices
)

// A HealthPolicy says what makes a device unhealthy.
type HealthPolicy string

// With HealthIgnore nothing does; with HealthPresent, the default, missing
// hardware, driver or character device; with HealthLink a port without a link
// as well.
const (
	HealthIgnore  HealthPolicy = "ignore"
	HealthPresent HealthPolicy = "present"
	HealthLink    HealthPolicy = "link"
)

// Selectors choose devices: one must match an entry of every list that is not
// empty. Nothing is set by default.
type Selectors struct {
	// Vendors and DeviceIDs are PCI IDs, lower-case hexadecimal without "0x".
	Vendors   []string
	DeviceIDs []string
	// Drivers are kernel drivers: "mlx5_core".
	Drivers []string
	// IfNames are shell patterns for the netdevs' names on the host.
	IfNames []string
	// LinkTypes are "ether" and "infiniband".
	LinkTypes []string
	// PCIAddresses are shell patterns for PCI or auxiliary addresses, in
	// lower case.
	PCIAddresses []string
	// RDMADevices are shell patterns for names such as mlx5_0.
	RDMADevices []string
	// NUMANodes are node numbers, -1 for devices without one.
	NUMANodes []int
	// IsRoCE is whether the device must run on Ethernet or must not; nil if
	// either will do.
	IsRoCE *bool
}

// Load reads a configuration file, and returns its text as well. There is an
// error only if nothing of it can be used: an Errors with all that is wrong with
// its content, or why the file cannot be read. Other mistakes are in Faults.
func Load(file string) (c *Config, text string, err error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("%s: no such configuration file; mount the ConfigMap there or name the file with --config-file", file)
	}
	if err != nil {
		return nil, "", fmt.Errorf("read the configuration: %w", err)
	}
	c, err = parse(file, data)
	return c, string(data), err
}

// parse checks a configuration. file is for the messages only.
func parse(file string, data []byte) (*Config, error) {
	document, err := parseDocument(data)
	if err != nil {
		err.File = file
		return nil, Errors{err}
	}
	d := &decoder{file: file}
	c := d.config(document)
	if len(c.Resources) == 0 {
		return nil, d.errs.Mistakes()
	}
	c.Faults = d.errs
	return c, nil
}
