// Package kubelet is a stand-in for the kubelet's device manager: it speaks the real v1beta1 gRPC API, over
// real sockets, with device plugins in a folder. It is for tests and demonstrations that have no time or place
// for a node. That a device plugin works with it does not show that it works with a kubelet: the tests against
// the real device manager show that.
//
// What it does as kubelet 1.37 does it:
//   - at a start, it deletes every socket in the folder and keeps the other files;
//   - Register checks the version and the resource name, then dials the plugin before it answers;
//   - it refuses a second registration on a socket that is still connected;
//   - it takes every ListAndWatch message as the whole truth about the resource, whoever sent it;
//   - when the last stream of a resource ends, its devices are unhealthy: capacity stays, allocatable is 0;
//   - devices that containers hold outlive a restart, and are not given away again until they are freed;
//   - Allocate follows GetPreferredAllocation if the plugin has it, as far as the devices are free;
//   - when it ends, its socket stays behind as a file that nobody listens on.
//
// What it does not do: pods and containers, PreStartContainer, topology hints and NUMA alignment, checkpoint
// files, forgetting a resource five minutes after its plugin, plugins_registry, pod resources and device health
// in the pod's status, CDI, and the races that real kubelets have when a plugin registers again.
package kubelet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"google.golang.org/grpc"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// Kubelet is a running stand-in.
type Kubelet struct {
	dir string
	log *slog.Logger

	power sync.Mutex // held while starting and stopping
	run   *run       // nil when stopped

	mu        sync.Mutex
	resources map[string]*resource
	changed   chan struct{} // closed, and replaced, with every change of a resource
}

// run is what ends with the kubelet's process: its server, and its streams from plugins.
type run struct {
	server *grpc.Server
	ctx    context.Context // ends the streams
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Start deletes the sockets in dir, which is made if need be, and serves on kubelet.sock there. A socket's path
// has a limit of 108 bytes: test folders must be short.
func Start(dir string, log *slog.Logger) (*Kubelet, error) {
	k := &Kubelet{dir: dir, log: log, resources: map[string]*resource{}, changed: make(chan struct{})}
	if err := k.start(); err != nil {
		return nil, fmt.Errorf("stand-in kubelet: %w", err)
	}
	return k, nil
}

// Restart ends everything as the end of the process does, and starts again.
func (k *Kubelet) Restart() error {
	k.stop()
	if err := k.start(); err != nil {
		return fmt.Errorf("stand-in kubelet: restart: %w", err)
	}
	return nil
}

// Close ends the stand-in. It leaves kubelet.sock behind, as the real one does.
func (k *Kubelet) Close() { k.stop() }

func (k *Kubelet) start() error {
	k.power.Lock()
	defer k.power.Unlock()
	if k.run != nil {
		return errors.New("already running")
	}
	if err := os.MkdirAll(k.dir, 0o750); err != nil {
		return err
	}
	if err := removeSockets(k.dir); err != nil {
		return err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(k.dir, filepath.Base(pluginapi.KubeletSocket)), Net: "unix"})
	if err != nil {
		return err
	}
	listener.SetUnlinkOnClose(false)
	k.forget()
	r := &run{server: grpc.NewServer(grpc.WaitForHandlers(true))}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	pluginapi.RegisterRegistrationServer(r.server, &registration{kubelet: k, run: r})
	r.wg.Go(func() {
		if err := r.server.Serve(listener); err != nil {
			k.log.Error("stand-in kubelet ended", "error", err)
		}
	})
	k.run = r
	return nil
}

func (k *Kubelet) stop() {
	k.power.Lock()
	defer k.power.Unlock()
	if k.run == nil {
		return
	}
	k.run.cancel()
	k.run.server.Stop()
	k.run.wg.Wait()
	k.run = nil
}

// forget drops what a new process does not know: the devices. It still knows which ones are held, from its
// checkpoint; the counters are the tests' and go on too.
func (k *Kubelet) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.resources {
		r.healthy = map[string]bool{}
	}
	k.notify()
}

// removeSockets does as the kubelet's start does.
func removeSockets(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var failed error
	for _, entry := range entries {
		if entry.Type()&os.ModeSocket != 0 {
			// RemoveAll, as in the kubelet: a plugin may be faster with its own.
			failed = errors.Join(failed, os.RemoveAll(filepath.Join(dir, entry.Name())))
		}
	}
	return failed
}

// Allocatable gives a resource's numbers as the node's status has them. Devices that are held count.
func (k *Kubelet) Allocatable(resource string) (capacity, allocatable int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, ok := k.resources[resource]
	if !ok {
		return 0, 0
	}
	return len(r.healthy), len(r.healthyIDs())
}

// Wait returns when a resource has n allocatable devices, or with an error that says how many it had when ctx
// ended.
func (k *Kubelet) Wait(ctx context.Context, resource string, n int) error {
	for {
		k.mu.Lock()
		changed := k.changed
		k.mu.Unlock()
		capacity, allocatable := k.Allocatable(resource)
		if allocatable == n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s: %d allocatable of %d, not %d: %w", resource, allocatable, capacity, n, context.Cause(ctx))
		}
	}
}

// Registrations is how often a plugin of the resource was registered, refusals not counted.
func (k *Kubelet) Registrations(resource string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r, ok := k.resources[resource]; ok {
		return r.registrations
	}
	return 0
}

// Messages is how many ListAndWatch messages came for the resource. For each one, a real kubelet writes a file.
func (k *Kubelet) Messages(resource string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r, ok := k.resources[resource]; ok {
		return r.messages
	}
	return 0
}

// Allocate asks the plugin for n devices for a container, which holds them from then on. It gives the plugin's
// answer and the devices' IDs, sorted.
func (k *Kubelet) Allocate(resource string, n int) (*pluginapi.ContainerAllocateResponse, []string, error) {
	response, ids, err := k.allocate(resource, n)
	if err != nil {
		return nil, nil, fmt.Errorf("allocating %d of %s: %w", n, resource, err)
	}
	return response, ids, nil
}

func (k *Kubelet) allocate(resource string, n int) (*pluginapi.ContainerAllocateResponse, []string, error) {
	p, free, err := k.available(resource, n)
	if err != nil {
		return nil, nil, err
	}
	preferred, err := p.preferred(free, n)
	if err != nil {
		return nil, nil, err
	}
	ids, err := k.hold(resource, preferred, n)
	if err != nil {
		return nil, nil, err
	}
	response, err := p.allocate(ids)
	if err != nil {
		k.Free(resource, ids...)
		return nil, nil, err
	}
	return response, ids, nil
}

// available finds the plugin to ask, and the devices that it may choose from.
func (k *Kubelet) available(resource string, n int) (*plugin, []string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, ok := k.resources[resource]
	switch {
	case !ok || r.primary == nil:
		return nil, nil, errors.New("cannot allocate unregistered device")
	case len(r.healthyIDs()) == 0:
		return nil, nil, errors.New("no healthy devices present")
	case len(r.free()) < n:
		return nil, nil, fmt.Errorf("requested number of devices unavailable: %d available", len(r.free()))
	}
	return r.primary, r.free(), nil
}

// hold takes n devices, the preferred ones first as far as they are still free.
func (k *Kubelet) hold(resource string, preferred []string, n int) ([]string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.resources[resource]
	free := r.free()
	ids := []string{}
	for _, id := range slices.Concat(preferred, free) {
		if len(ids) < n && slices.Contains(free, id) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if len(ids) < n {
		return nil, errors.New("the devices were taken meanwhile")
	}
	for _, id := range ids {
		r.held[id] = true
	}
	slices.Sort(ids)
	return ids, nil
}

// Free gives devices back, as the end of their container does. The plugin is not told: the API has no way to.
func (k *Kubelet) Free(resource string, ids ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r, ok := k.resources[resource]; ok {
		for _, id := range ids {
			delete(r.held, id)
		}
	}
}

// resource is what is known of one; the Kubelet's mu protects it.
type resource struct {
	healthy map[string]bool    // every device, by ID
	held    map[string]bool    // by containers
	plugins map[string]*plugin // the connected ones, by socket
	primary *plugin            // the one that is asked for devices; nil if none is connected

	registrations, messages int
}

func (r *resource) healthyIDs() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(r.healthy)), func(id string) bool { return !r.healthy[id] })
}

func (r *resource) free() []string {
	return slices.DeleteFunc(r.healthyIDs(), func(id string) bool { return r.held[id] })
}

// notify wakes those who wait for a change. The caller holds mu.
func (k *Kubelet) notify() {
	close(k.changed)
	k.changed = make(chan struct{})
}
