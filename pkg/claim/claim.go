// Package claim is what Kubernetes has allotted to a pod: written by the DRA
// driver before the pod's sandbox begins, read by the CNI plugin.
//
// It knows the files in the state folder and what makes one of them valid. It
// must not know how devices are chosen, or how they are moved.
package claim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/durable"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/pkg/trusted"
)

// A Claim is one ResourceClaim of one pod.
type Claim struct {
	Version   int    `json:"version"`
	UID       string `json:"uid"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Pod is the pod that the claim is reserved for. Its name is for messages,
	// its UID for finding it.
	Pod     attachment.Pod `json:"pod"`
	Devices []Device       `json:"devices"`
}

// A Device is a NIC that a claim allots.
type Device struct {
	// Request is that of the claim which the device answers, Name the device's
	// in the ResourceSlice.
	Request string `json:"request"`
	Name    string `json:"name"`
	// Bus and Address are the NIC's function, "pci" and "0000:08:00.0".
	Bus     string `json:"bus"`
	Address string `json:"address"`
	// Rail is the NIC's place among the node's, by PCIe order, from 0; virtual
	// functions have that of their physical one. The interfaces in the pod have
	// their names and their order by it.
	Rail int `json:"rail"`
	// Network has keys of a network of roce-host-device, but none that names a
	// NIC. Empty are the defaults.
	Network json.RawMessage `json:"network,omitempty"`
}

func (c Claim) String() string { return c.Namespace + "/" + c.Name }

// Has tells whether a NIC is among the devices.
func (c Claim) Has(bus, address string) bool {
	return slices.ContainsFunc(c.Devices, func(d Device) bool { return d.Bus == bus && d.Address == address })
}

// formatVersion is that of the files. A file of another version is foreign.
const formatVersion = 1

func (c Claim) validate() error {
	switch {
	case c.Version != formatVersion:
		return fmt.Errorf("format version %d, this program reads %d", c.Version, formatVersion)
	case !isUID(c.UID) || !isUID(c.Pod.UID):
		return fmt.Errorf("UID %q of the claim or %q of the pod is none", c.UID, c.Pod.UID)
	case len(c.Devices) == 0:
		return errors.New("no devices")
	}
	addresses := map[string]bool{}
	for _, d := range c.Devices {
		if err := d.validate(); err != nil {
			return err
		}
		if addresses[d.Address] {
			return fmt.Errorf("device %s is there twice", d.Address)
		}
		addresses[d.Address] = true
	}
	return nil
}

func (d Device) validate() error {
	valid := false
	switch d.Bus {
	case rdma.BusPCI:
		valid = rdma.IsPCIAddress(d.Address)
	case rdma.BusAuxiliary:
		valid = rdma.IsAuxiliaryAddress(d.Address)
	}
	if !valid {
		return fmt.Errorf("device %q: %q is no address on bus %q", d.Name, d.Address, d.Bus)
	}
	if d.Rail < 0 {
		return fmt.Errorf("device %s has rail %d", d.Address, d.Rail)
	}
	if keys := map[string]json.RawMessage(nil); len(d.Network) > 0 && (json.Unmarshal(d.Network, &keys) != nil || keys == nil) {
		return fmt.Errorf("the network of device %s is no JSON object", d.Address)
	}
	return nil
}

// isUID tells whether a string is a UID of Kubernetes, and so can be part of a
// file's name.
func isUID(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdefABCDEF-") == ""
}

const (
	folder = "claims"
	suffix = ".json"
	// newSuffix marks a file that is being written. The next write of it
	// replaces what a crash leaves, and Remove removes it.
	newSuffix = ".new"
	// longest is in bytes. A claim has at most 32 devices, and their parameters
	// at most 10 KiB each.
	longest = 1 << 20
)

// Dir is the folder with the files, for whoever watches it.
func Dir(stateDir string) string { return filepath.Join(stateDir, folder) }

// file is the name of a claim's file. Both parts have been checked.
func file(podUID, claimUID string) string { return podUID + "." + claimUID + suffix }

// Write writes a claim down, in place of what is there of it, also for another
// pod: a claim that outlives its pods is one's at a time. When it returns, the
// claim is on disk.
//
// One process writes at a time: the driver.
func Write(stateDir string, c Claim) error {
	c.Version = formatVersion
	err := c.validate()
	if err == nil {
		err = write(Dir(stateDir), file(c.Pod.UID, c.UID), c)
	}
	if err == nil {
		err = remove(stateDir, c.UID, file(c.Pod.UID, c.UID))
	}
	if err != nil {
		return fmt.Errorf("write down claim %s: %w", c, err)
	}
	return nil
}

func write(dir, name string, c Claim) error {
	content, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if len(content) >= longest {
		return fmt.Errorf("it is %d bytes long and must be shorter than %d", len(content), longest)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := trusted.CheckDir(dir); err != nil {
		return err
	}
	path := filepath.Join(dir, name)
	if err := os.Remove(path + newSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path+newSuffix, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(content, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return durable.SyncFolder(dir)
}

// Remove removes all that is written of a claim. A claim of which nothing is
// there is not an error.
func Remove(stateDir, claimUID string) error {
	if !isUID(claimUID) {
		return fmt.Errorf("remove a claim: %q is no UID", claimUID)
	}
	return remove(stateDir, claimUID, "")
}

// remove removes the files of a claim but the one that is to stay.
func remove(stateDir, claimUID, stays string) error {
	entries, err := entries(stateDir)
	if err != nil {
		return fmt.Errorf("remove claim %s: %w", claimUID, err)
	}
	var errs []error
	for _, e := range entries {
		if _, claim, ok := strings.Cut(strings.TrimSuffix(e.Name(), newSuffix), "."); !ok || claim != claimUID+suffix || e.Name() == stays {
			continue
		}
		if err := os.Remove(filepath.Join(Dir(stateDir), e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove claim %s: %w", claimUID, err))
		}
	}
	return errors.Join(errs...)
}

// List returns all claims, in the order of their files' names. Bad are the files
// that are not claims, which do not hide the others.
func List(stateDir string) (claims []Claim, bad []error, err error) {
	return list(stateDir, "")
}

// OfPod returns the claims of a pod. A file of the pod that is not a claim is an
// error: it may be what the pod waits for.
func OfPod(stateDir, podUID string) ([]Claim, error) {
	if !isUID(podUID) {
		return nil, nil // no file can have the name
	}
	claims, bad, err := list(stateDir, podUID+".")
	if err == nil {
		err = errors.Join(bad...)
	}
	if err != nil {
		return nil, err
	}
	return claims, nil
}

func list(stateDir, prefix string) (claims []Claim, bad []error, err error) {
	entries, err := entries(stateDir)
	if err != nil {
		return nil, nil, fmt.Errorf("list the claims: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) || !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		path := filepath.Join(Dir(stateDir), e.Name())
		c, err := read(path)
		switch {
		case err == nil:
			claims = append(claims, c)
		case trusted.Transient(err):
			return nil, nil, fmt.Errorf("read a claim: %w", err)
		case !errors.Is(err, fs.ErrNotExist): // else it was removed while we were reading
			bad = append(bad, fmt.Errorf("claim file %s: %w", path, err))
		}
	}
	return claims, bad, nil
}

func read(path string) (c Claim, err error) {
	b, err := trusted.ReadFile(path, longest)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, err
	}
	if err := c.validate(); err != nil {
		return c, err
	}
	if want := file(c.Pod.UID, c.UID); want != filepath.Base(path) {
		return c, fmt.Errorf("it belongs into %s", want)
	}
	return c, nil
}

// entries lists the folder, in which nobody but root may have put files. One
// that is not there is empty.
func entries(stateDir string) ([]fs.DirEntry, error) {
	dir := Dir(stateDir)
	if err := trusted.CheckDir(dir); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return entries, err
}
