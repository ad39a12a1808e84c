// Package policy is what the node's administrator lets networks do: one file on
// the node, which no network overrides.
//
// It knows the file, what is wrong with it, and whether a request keeps to it.
// It must not know the CNI protocol, the journal or the kernel's links: what a
// network asks for comes as a Request.
package policy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/roce-k8s/roce-k8s/pkg/trusted"
)

// File is where the policy is. The path is part of the program: whoever could
// choose it would choose the policy.
const File = "/etc/cni/roce-host-device.json"

// What applies where the file says nothing.
const (
	// DefaultStateDir is the folder of journal and locks.
	DefaultStateDir = "/var/lib/cni/roce-host-device"
	// DefaultDeviceInfoDir is Multus's. Source: Device Information
	// Specification 1.1.0 of the Kubernetes Network Plumbing Working Group.
	DefaultDeviceInfoDir = "/var/run/k8s.cni.cncf.io/devinfo"
)

// maxSize bounds the file: a ConfigMap has at most 1 MiB.
const maxSize = 1 << 20

// A Policy is what networks may do on this node.
type Policy struct {
	// StateDir is the folder of journal and locks.
	StateDir string
	// DeviceInfoDir is the folder below which device information files are
	// written and removed.
	DeviceInfoDir string

	file       string // where it was read; "" if there is no file
	rules      rules  // for all namespaces
	namespaces []namespace
	broken     error // why it cannot be relied upon
}

// Default is the policy without a file.
func Default() *Policy {
	return &Policy{
		StateDir:      DefaultStateDir,
		DeviceInfoDir: DefaultDeviceInfoDir,
		rules: rules{
			tables:     bounds{min: 1, max: maxTable, byDefault: true},
			priorities: bounds{min: 1, max: maxEarlyPriority, byDefault: true},
			mtu:        bounds{min: minMTU, max: maxMTU, byDefault: true},
		},
	}
}

// Load reads the node's policy; without a file it is the default. The file must
// belong to root, not be writable by others, and not be a link.
//
// With an error the policy is not nil. It allows nothing, and its folders are
// those of the file as far as they could be read: a DEL needs them, because it
// must close its attachment all the same. The error is one line; Mistakes has
// all that is wrong with the content.
func Load(path string) (*Policy, error) {
	data, err := trusted.ReadFile(path, maxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return Default(), nil
	}
	if err != nil {
		return closed(fmt.Errorf("read the node's policy: %w", err))
	}
	return Parse(path, data)
}

// Parse reads a policy from memory; file is its name in messages. It returns
// what Load does.
func Parse(file string, data []byte) (*Policy, error) {
	d := &decoder{file: file, data: data}
	p := d.policy()
	p.file = file
	if len(d.mistakes) > 0 {
		p.broken = d.mistakes
	}
	return p, p.broken
}

// closed is the policy of a file that cannot be read at all.
func closed(err error) (*Policy, error) {
	p := Default()
	p.broken = err
	return p, err
}

// Validate checks the content of a policy file that is yet to be installed,
// whoever owns it. The error has all mistakes, one a line.
func Validate(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the policy: %w", err)
	}
	_, err = Parse(path, data)
	return Each(err)
}

// Each turns an error of this package into one with a mistake a line.
func Each(err error) error {
	var all Mistakes
	if errors.As(err, &all) {
		return errors.Join(all.Unwrap()...)
	}
	return err
}
