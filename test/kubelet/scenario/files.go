package scenario

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func ownSocketDeleted(t *testing.T, k Kubelet) {
	n := newNode(t, k, 8, shared(8, ""))
	n.startKubelet()
	n.startPlugin()
	n.awaitCount(resource, Count{8, 8})
	lost := 0
	var back durations
	for range max(3, restarts(t)/2) {
		old := n.sockets()
		begin := time.Now()
		n.ok(os.Remove(old[0]))
		n.await("another socket", func() bool {
			found := n.sockets()
			return len(found) == 1 && found[0] != old[0]
		})
		n.awaitCount(resource, Count{8, 8})
		back = append(back, time.Since(begin))
		lost += n.settle(resource, 8, Count{8, 8})
	}
	t.Logf("resource back: %s; lost again %d times", back, lost)
}

// allSocketsDeleted takes the kubelet's as well. A living kubelet does not
// make another; until its next start there is only the connection that is
// open, which serves as well as ever.
func allSocketsDeleted(t *testing.T, k Kubelet) {
	n := newNode(t, k, 8, shared(8, ""))
	n.startKubelet()
	n.startPlugin()
	n.awaitCount(resource, Count{8, 8})
	all, err := filepath.Glob(filepath.Join(n.folder(), "*.sock"))
	n.ok(err)
	for _, socket := range all {
		n.ok(os.Remove(socket))
	}
	n.stays(resource, Count{8, 8}, unsettled)
	n.awaitUse(resource, 8)
	n.restartKubelet()
	n.awaitCount(resource, Count{8, 8})
	n.settle(resource, 8, Count{8, 8})
}

func folderDeleted(t *testing.T, k Kubelet) {
	n := newNode(t, k, 8, shared(8, ""))
	n.startKubelet()
	n.startPlugin()
	n.awaitCount(resource, Count{8, 8})
	for range max(3, restarts(t)/20) {
		n.manager.Stop()
		n.ok(os.RemoveAll(n.folder()))
		n.ok(os.Mkdir(n.folder(), 0o750))
		n.startKubelet()
		n.awaitCount(resource, Count{8, 8})
		n.settle(resource, 8, Count{8, 8})
	}
	n.oneSocket()
}
