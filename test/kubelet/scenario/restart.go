package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func pluginFirst(t *testing.T, k Kubelet) {
	n := newNode(t, k, 8, shared(8, ""))
	n.ok(os.Remove(n.folder()))
	n.startPlugin()
	time.Sleep(300 * time.Millisecond)
	n.startKubelet()
	t.Logf("the resource is there %s after the kubelet's start", n.awaitCount(resource, Count{8, 8}))
}

// managerRestarts stops the manager in order and starts the next within the
// same process: faster than any kubelet, to meet races.
func managerRestarts(t *testing.T, k Kubelet) { restartManager(t, k, restarts(t)) }

func kubeletKilled(t *testing.T, k Kubelet) {
	restartManager(t, k.inOwnProcess(), max(5, restarts(t)/4))
}

func restartManager(t *testing.T, k Kubelet, times int) {
	n := newNode(t, k, 8, shared(8, ""))
	n.startKubelet()
	n.startPlugin()
	n.awaitCount(resource, Count{8, 8})
	resident := Pod{UID: "resident", Resource: resource, Units: 1, Running: true}
	n.admit(resident, n.allDevices())
	var back, use durations
	lost := 0
	for range times {
		n.restartKubelet(resident)
		begin := time.Now()
		n.served(resident, n.allDevices()) // also before the plugin is back
		n.awaitCount(resource, Count{8, 8})
		back = append(back, time.Since(begin))
		lost += n.settle(resource, 7, Count{8, 8})
		use = append(use, time.Since(begin)-quiet)
	}
	t.Logf("resource back after a restart of the manager: %s", back)
	t.Logf("... and to stay: %s; lost again %d times", use, lost)
	n.oneSocket()
}

// pluginRestarts ends the plugin with SIGTERM and starts it again at once. The
// next life offers another number of units, so that what is remembered of the
// last one is not taken for its own.
func pluginRestarts(t *testing.T, k Kubelet) {
	var ends durations
	restartPlugin(t, k, restarts(t), func(n *node) {
		ends = append(ends, n.plugin.terminate(t))
	})
	t.Logf("SIGTERM to exit: %s", ends)
}

func pluginKilled(t *testing.T, k Kubelet) {
	restartPlugin(t, k, max(5, restarts(t)/4), func(n *node) { n.plugin.kill() })
}

func restartPlugin(t *testing.T, k Kubelet, times int, end func(*node)) {
	n := newNode(t, k, 8, shared(8, ""))
	n.startKubelet()
	n.startPlugin()
	n.awaitCount(resource, Count{8, 8})
	resident := Pod{UID: "resident", Resource: resource, Units: 1}
	n.admit(resident, n.allDevices())
	var back, use durations
	lost := 0
	for life := range times {
		end(n)
		units := 9 + life%7
		n.configure(shared(units, ""))
		begin := time.Now()
		n.startPlugin()
		n.awaitCount(resource, Count{units, units})
		back = append(back, time.Since(begin))
		lost += n.settle(resource, units-1, Count{units, units})
		use = append(use, time.Since(begin)-quiet)
		n.served(resident, n.allDevices())
	}
	t.Logf("resource back after a restart of the plugin: %s", back)
	t.Logf("... and to stay: %s; lost again %d times", use, lost)
	n.oneSocket()
}

// quiet is how long a resource that came back must stay to be called back.
const quiet = 50 * time.Millisecond

// settle waits until the count has not changed for a while and a pod can have
// so many units. It says how often the resource was lost on the way: in 1.36
// the end of an old connection can take the new one along, and the plugin has
// to see that and register again.
func (n *node) settle(resource string, units int, want Count) int {
	n.t.Helper()
	lost := 0
	n.await(fmt.Sprintf("%s to stay at %+v", resource, want), func() bool {
		for end := time.Now().Add(quiet); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if n.count(resource) != want {
				lost++
				n.awaitCount(resource, want)
				return false
			}
		}
		return true
	})
	n.awaitUse(resource, units)
	return lost
}

// oneSocket checks that the lives before left no socket behind.
func (n *node) oneSocket() {
	n.t.Helper()
	if found := n.sockets(); len(found) != 1 {
		n.t.Errorf("the plugin has the sockets %v, want one", found)
	}
}

// pluginsOverlap is a DaemonSet's update with maxSurge.
func pluginsOverlap(t *testing.T, k Kubelet) {
	n := newNode(t, k, 8, shared(8, ""))
	n.startKubelet()
	n.startPlugin()
	n.awaitCount(resource, Count{8, 8})
	lost := 0
	for life := range max(3, restarts(t)/10) {
		old, units := n.plugin, 9+life%7
		n.startSuccessor(units)
		n.awaitCount(resource, Count{units, units})
		old.terminate(t)
		lost += n.settle(resource, units, Count{units, units})
	}
	t.Logf("lost again %d times", lost)
	n.oneSocket()
}

// startSuccessor starts another plugin. It has a configuration file of its
// own: the one that runs would follow a change of the other.
func (n *node) startSuccessor(units int) {
	n.t.Helper()
	dir := filepath.Join(n.dir, fmt.Sprint("successor-", units))
	file := filepath.Join(dir, "config.json")
	n.ok(os.MkdirAll(dir, 0o755))
	n.ok(os.WriteFile(file, []byte(shared(units, "")), 0o600))
	// end knows one plugin only.
	n.t.Cleanup(n.plugin.kill)
	n.plugin = startPlugin(n.t, append(n.pluginArgs(), "--config-file="+file)...)
}

func kubeletHangs(t *testing.T, k Kubelet) {
	n := newNode(t, k.inOwnProcess(), 8, shared(8, ""))
	n.startKubelet()
	n.startPlugin()
	n.awaitCount(resource, Count{8, 8})
	kubelet := n.manager.(*process)
	n.ok(kubelet.freeze())
	n.plugin.terminate(t)
	n.configure(shared(9, ""))
	n.startPlugin()
	time.Sleep(8 * time.Second) // longer than the plugin waits for a stream
	n.ok(kubelet.thaw())
	t.Logf("the resource is back %s after the kubelet goes on", n.awaitCount(resource, Count{9, 9}))
	n.settle(resource, 9, Count{9, 9})
	n.ok(kubelet.freeze())
	time.Sleep(8 * time.Second)
	n.ok(kubelet.thaw())
	n.settle(resource, 9, Count{9, 9})
}
