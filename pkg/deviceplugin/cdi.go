package deviceplugin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"tags.cncf.io/container-device-interface/pkg/cdi"
	specs "tags.cncf.io/container-device-interface/specs-go"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
)

// A cdiFile is our CDI spec on the node: one file with the devices of all
// resources. It stays when the plugin ends: containers that have its devices
// may start again before the plugin does.
type cdiFile struct {
	dir string
}

func (c cdiFile) path() string {
	return filepath.Join(c.dir, cdi.GenerateSpecName(offer.CDIVendor, offer.CDIClass)+".json")
}

// write makes the file say what a spec says. It writes in one step, and only if
// the file says something else.
func (c cdiFile) write(spec *specs.Spec) error {
	if len(spec.Devices) == 0 {
		// A spec without devices is not valid.
		if err := os.Remove(c.path()); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("remove the CDI spec: %w", err)
		}
		return nil
	}
	want, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("write the CDI spec: %w", err)
	}
	if has, err := os.ReadFile(c.path()); err == nil && bytes.Equal(has, want) {
		return nil
	}
	cache, err := cdi.NewCache(cdi.WithSpecDirs(c.dir), cdi.WithAutoRefresh(false))
	if err != nil {
		return fmt.Errorf("write the CDI spec: %w", err)
	}
	if err := cache.WriteSpec(spec, filepath.Base(c.path())); err != nil {
		return fmt.Errorf("write the CDI spec: %w", err)
	}
	return nil
}
