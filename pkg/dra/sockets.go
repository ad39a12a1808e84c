package dra

import (
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The folders below the kubelet's, with the sockets for registrations and with
// those that are registered.
func registryDir(kubeletDir string) string { return filepath.Join(kubeletDir, "plugins_registry") }
func dataDir(kubeletDir string) string     { return filepath.Join(kubeletDir, "plugins", DriverName) }

// removeStale removes the sockets that instances left which were killed: their
// names have the UID of a pod that does not come back, and the kubelet would try
// them for ever. One that answers belongs to an instance that is still alive.
func removeStale(kubeletDir string, log *slog.Logger) {
	for _, pattern := range []string{
		filepath.Join(registryDir(kubeletDir), DriverName+"-*reg.sock"), filepath.Join(dataDir(kubeletDir), "dra*.sock"),
	} {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			conn, err := net.Dial("unix", path)
			if err == nil {
				_ = conn.Close()
			}
			if !errors.Is(err, unix.ECONNREFUSED) {
				continue
			}
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				log.Warn("could not remove a stale socket", "socket", path, "err", err)
			}
		}
	}
}
