// Package durable makes changes of files survive a loss of power.
//
// It knows what the kernel may still have to write. It must not know what the
// files are for.
package durable

import "os"

// SyncFolder makes a folder's names survive: those that files have got in it, by
// being made or renamed, and that they have lost. The files' content is for
// os.File.Sync.
func SyncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
