package delegate

import (
	"fmt"
	"os"

	"github.com/containernetworking/cni/pkg/invoke"
)

// FindInPath looks for a plugin's file. It refuses the file of this program,
// which would wait for the locks that we hold.
func (e *Exec) FindInPath(plugin string, paths []string) (string, error) {
	path, err := invoke.FindInPath(plugin, paths)
	if err != nil {
		return "", &notFoundError{err.Error()}
	}
	found, err := os.Stat(path)
	if err != nil {
		return "", &notFoundError{err.Error()}
	}
	// The link leads to the file itself, whatever it is called by now.
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("find plugin %s: %w", plugin, err)
	}
	if os.SameFile(found, self) {
		return "", &notFoundError{fmt.Sprintf("plugin %s is this program itself, which cannot delegate to itself", plugin)}
	}
	return path, nil
}
