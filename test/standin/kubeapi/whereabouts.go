package kubeapi

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// WhereaboutsFolder is where Whereabouts looks for its flat file when the network's configuration does not say.
const WhereaboutsFolder = "/etc/cni/net.d/whereabouts.d"

// WhereaboutsConfig is what Whereabouts reads from files. It makes the short ipam sections of the operator's
// guide complete: they name a range and a gateway, and leave the rest to the flat file.
type WhereaboutsConfig struct {
	// Server is the API server's URL.
	Server string
	// Root comes before Folder when the files are written, but not inside them: the root folder of a virtual
	// machine's image, or of a chroot. Empty is this machine's.
	Root string
	// Folder is for both files, as Whereabouts will see it; empty is WhereaboutsFolder. With another folder the
	// ipam section needs a configuration_path: ConfigurationPath.
	Folder string
	// Lease is how Whereabouts elects the one process in the cluster that may hand out an address.
	Lease Lease
}

// Lease has Whereabouts' election timings. Zero is Whereabouts' own: 1.5 s, 1 s and 0.5 s. They must fall from
// each to the next. A slow machine needs longer ones: a leader whose renewal misses the deadline is deposed,
// and Whereabouts may then hang for ever.
type Lease struct{ Duration, RenewDeadline, RetryPeriod time.Duration }

// ConfigurationPath is the flat file, as Whereabouts will see it.
func (c WhereaboutsConfig) ConfigurationPath() string {
	return filepath.Join(c.folder(), "whereabouts.conf")
}

func (c WhereaboutsConfig) kubeconfigPath() string {
	return filepath.Join(c.folder(), "whereabouts.kubeconfig")
}

func (c WhereaboutsConfig) folder() string {
	if c.Folder == "" {
		return WhereaboutsFolder
	}
	return c.Folder
}

// Write makes the kubeconfig, then the flat file.
func (c WhereaboutsConfig) Write() error {
	kubeconfig := map[string]any{
		"apiVersion":      "v1",
		"kind":            "Config",
		"current-context": "standin",
		"clusters":        []any{map[string]any{"name": "standin", "cluster": map[string]any{"server": c.Server}}},
		"users":           []any{map[string]any{"name": "whereabouts", "user": map[string]any{}}},
		"contexts": []any{map[string]any{"name": "standin", "context": map[string]any{
			"cluster": "standin", "user": "whereabouts", "namespace": "kube-system"}}},
	}
	flat := map[string]any{
		"datastore":  "kubernetes",
		"kubernetes": map[string]any{"kubeconfig": c.kubeconfigPath()},
	}
	if c.Lease != (Lease{}) {
		flat["leader_lease_duration"] = c.Lease.Duration.Milliseconds()
		flat["leader_renew_deadline"] = c.Lease.RenewDeadline.Milliseconds()
		flat["leader_retry_period"] = c.Lease.RetryPeriod.Milliseconds()
	}
	if err := os.MkdirAll(filepath.Join(c.Root, c.folder()), 0o755); err != nil {
		return fmt.Errorf("whereabouts configuration: %w", err)
	}
	// The flat file comes last, and whole: who waits for it finds everything.
	if err := c.write(c.kubeconfigPath(), kubeconfig); err != nil {
		return err
	}
	return c.write(c.ConfigurationPath(), flat)
}

// write makes one file. Whereabouts reads a kubeconfig as YAML, which JSON is too.
func (c WhereaboutsConfig) write(path string, content map[string]any) error {
	encoded, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return fmt.Errorf("whereabouts configuration %s: %w", path, err)
	}
	path = filepath.Join(c.Root, path)
	if err := os.WriteFile(path+".new", append(encoded, '\n'), 0o600); err != nil {
		return fmt.Errorf("whereabouts configuration: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("whereabouts configuration: %w", err)
	}
	return nil
}
