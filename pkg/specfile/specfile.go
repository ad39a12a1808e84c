// Package specfile is a CDI spec of ours as a file on the node.
//
// It knows the folder that runtimes read and how to write there in one step. It
// must not know what is in a spec.
package specfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"tags.cncf.io/container-device-interface/pkg/cdi"
	specs "tags.cncf.io/container-device-interface/specs-go"
)

// A File is a spec on the node. It stays when the program ends: containers that
// have its devices may start again before the program does.
type File struct{ Dir, Name string }

// Of is the file with all devices of a kind.
func Of(dir, vendor, class string) File {
	return File{dir, cdi.GenerateSpecName(vendor, class) + ".json"}
}

// ForOne is the file with those devices of a kind that are for one claim or
// container alone.
func ForOne(dir, vendor, class, id string) File {
	return File{dir, cdi.GenerateTransientSpecName(vendor, class, id) + ".json"}
}

// Path is where the file is.
func (f File) Path() string { return filepath.Join(f.Dir, f.Name) }

// Write makes the file say what a spec says. It writes in one step, and only if
// the file says something else.
func (f File) Write(spec *specs.Spec) error {
	if len(spec.Devices) == 0 {
		return f.Remove() // a spec without devices is not valid
	}
	want, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("write the CDI spec: %w", err)
	}
	if has, err := os.ReadFile(f.Path()); err == nil && bytes.Equal(has, want) {
		return nil
	}
	cache, err := cdi.NewCache(cdi.WithSpecDirs(f.Dir), cdi.WithAutoRefresh(false))
	if err != nil {
		return fmt.Errorf("write the CDI spec: %w", err)
	}
	if err := cache.WriteSpec(spec, f.Name); err != nil {
		return fmt.Errorf("write the CDI spec: %w", err)
	}
	return nil
}

// Remove removes the file, if it is there.
func (f File) Remove() error {
	if err := os.Remove(f.Path()); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove the CDI spec: %w", err)
	}
	return nil
}
