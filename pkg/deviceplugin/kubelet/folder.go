package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/watch"
)

const (
	folderName    = "device-plugins"
	kubeletSocket = "kubelet.sock"

	ownPrefix    = "rdma-device-plugin."
	socketSuffix = ".sock"

	// lookAgain is the pause between looks at the folder without an event.
	lookAgain = 5 * time.Second
)

// A Folder is the kubelet's device-plugins folder. It tells its users that
// something in it may have changed; they look for themselves what.
type Folder struct {
	dir   string
	log   *slog.Logger
	watch watch.Folder

	mu      sync.Mutex
	changed chan struct{}
}

// NewFolder is the device-plugins folder below the kubelet's root folder. It
// need not exist.
func NewFolder(kubeletDir string, log *slog.Logger) *Folder {
	dir := filepath.Join(kubeletDir, folderName)
	return &Folder{
		dir: dir, log: log, changed: make(chan struct{}),
		watch: watch.Folder{
			Dir: dir, Every: lookAgain, Log: log,
			// The kubelet writes its checkpoints here as well.
			Relevant: func(path string) bool { return strings.HasSuffix(path, socketSuffix) },
		},
	}
}

// Changed is closed when something changes. Take it before looking.
func (f *Folder) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *Folder) announce() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.changed)
	f.changed = make(chan struct{})
}

// Watch announces changes until ctx ends.
func (f *Folder) Watch(ctx context.Context) { f.watch.Run(ctx, f.announce) }

func (f *Folder) path(name string) string { return filepath.Join(f.dir, name) }

// kubelet identifies the kubelet's socket, and so its life.
func (f *Folder) kubelet() watch.FileID { return watch.Identify(f.path(kubeletSocket)) }

// RemoveStale removes the sockets that earlier lives of this program left
// behind. One that answers belongs to a program that is still alive.
func (f *Folder) RemoveStale() {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return // no folder, no sockets
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ownPrefix) || !strings.HasSuffix(e.Name(), socketSuffix) {
			continue
		}
		conn, err := net.Dial("unix", f.path(e.Name()))
		if err == nil {
			_ = conn.Close()
		}
		if !errors.Is(err, unix.ECONNREFUSED) {
			continue
		}
		err = os.Remove(f.path(e.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.log.Warn("could not remove a stale socket", "socket", f.path(e.Name()), "err", err)
		}
	}
}

// listen makes a socket with a name that was never used before. The kubelet
// keys plugins by it, and a name that it remembers may never work again
// (1.37.2: "device plugin already connected").
func (f *Folder) listen() (net.Listener, string, error) {
	name := ownPrefix + randomName() + socketSuffix
	if n := len(f.path(name)); n >= unixPathMax {
		return nil, "", fmt.Errorf("the socket's path %s has %d bytes, the kernel allows %d; use a shorter --kubelet-dir", f.path(name), n, unixPathMax-1)
	}
	l, err := net.Listen("unix", f.path(name))
	if err != nil {
		return nil, "", fmt.Errorf("make a socket for the kubelet: %w", err)
	}
	return l, name, nil
}

// unixPathMax is the size of sockaddr_un.sun_path, with the final NUL.
const unixPathMax = 108
