package dra

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"

	"github.com/roce-k8s/roce-k8s/pkg/watch"
)

// The folders below the kubelet's, with the sockets for registrations and with
// those that are registered.
func registryDir(kubeletDir string) string { return filepath.Join(kubeletDir, "plugins_registry") }
func dataDir(kubeletDir string) string     { return filepath.Join(kubeletDir, "plugins", DriverName) }

// ownSockets are those of the instance that runs in a pod, as the helper calls them:
// the one that the kubelet finds the driver by, and the one that it calls.
func ownSockets(kubeletDir, podUID string) []string {
	if podUID == "" {
		return []string{filepath.Join(registryDir(kubeletDir), DriverName+"-reg.sock"), filepath.Join(dataDir(kubeletDir), "dra.sock")}
	}
	registration := kubeletplugin.RollingUpdateRegistrarSocketFile(registryDir(kubeletDir), DriverName, types.UID(podUID))
	return []string{filepath.Join(registryDir(kubeletDir), registration), filepath.Join(dataDir(kubeletDir), "dra-"+podUID+".sock")}
}

// guard ends the program when somebody has removed a socket of its own: the helper
// does not make it again, and without it the kubelet has no driver.
func (d *driver) guard(ctx context.Context, socket string) {
	folder := watch.Folder{Dir: filepath.Dir(socket), Every: watchAgain, Log: d.log}
	folder.Run(ctx, func() {
		if _, err := os.Lstat(socket); errors.Is(err, fs.ErrNotExist) {
			d.end(fmt.Errorf("somebody removed the socket %s; a new start makes it again", socket))
		}
	})
}

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
