package kubelet

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/roce-k8s/roce-k8s/test/fixtures/sockets"
	standin "github.com/roce-k8s/roce-k8s/test/standin/kubelet"
)

// units is a resource with a number of units that tests change.
type units struct {
	name string

	mu      sync.Mutex
	list    []*pluginapi.Device
	changed chan struct{}
}

func newUnits(name string, n int) *units {
	u := &units{name: name, changed: make(chan struct{})}
	u.set(n)
	return u
}

func (u *units) set(n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.list = nil
	for i := range n {
		u.list = append(u.list, &pluginapi.Device{ID: fmt.Sprint(i), Health: pluginapi.Healthy})
	}
	close(u.changed)
	u.changed = make(chan struct{})
}

func (u *units) Name() string { return u.name }

func (u *units) Devices() ([]*pluginapi.Device, <-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.list, u.changed
}

func (u *units) Allocate(ids []string) (*pluginapi.ContainerAllocateResponse, error) {
	if ids[0] == "none such" {
		return nil, errors.New("no device has this ID")
	}
	return &pluginapi.ContainerAllocateResponse{Envs: map[string]string{"IDS": strings.Join(ids, ",")}}, nil
}

// events counts what a plugin tells its observer.
type events struct {
	mu                             sync.Mutex
	registered, streams, allocated int
}

func (e *events) add(n *int, by int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	*n += by
}
func (e *events) Registered(string)                      { e.add(&e.registered, 1) }
func (e *events) StreamOpened(string)                    { e.add(&e.streams, 1) }
func (e *events) StreamEnded(string)                     { e.add(&e.streams, -1) }
func (e *events) Allocated(string, time.Duration, error) { e.add(&e.allocated, 1) }

const name = "rdma/hca_gpu"

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

// A node is a kubelet's root folder with plugins that run in it.
type node struct {
	*testing.T
	ctx    context.Context // of the test: ends long after everything should have happened
	dir    string
	folder *Folder
	events events
	log    *slog.Logger
	// removalWait is another one than plugins have.
	removalWait time.Duration
}

func newNode(t *testing.T) *node {
	dir := sockets.Folder(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return &node{T: t, ctx: ctx, dir: dir, folder: NewFolder(dir, silent), log: silent}
}

func (n *node) sockets() string { return filepath.Join(n.dir, "device-plugins") }

func (n *node) kubelet() *standin.Kubelet {
	n.Helper()
	k, err := standin.Start(n.sockets(), silent)
	if err != nil {
		n.Fatal(err)
	}
	n.Cleanup(k.Close)
	return k
}

// restart starts the kubelet again. It may trip over a socket that the plugin
// removes at the same time.
func (n *node) restart(k *standin.Kubelet) {
	n.Helper()
	err := k.Restart()
	for errors.Is(err, fs.ErrNotExist) {
		err = k.Restart()
	}
	if err != nil {
		n.Fatal(err)
	}
}

// run starts plugins, and at the end of the test checks that nothing of them is
// left running.
func (n *node) run(resources ...Resource) []*Plugin {
	ctx, stop := context.WithCancel(n.ctx)
	var running sync.WaitGroup
	running.Go(func() { n.folder.Watch(ctx) })
	var plugins []*Plugin
	for _, r := range resources {
		p := NewPlugin(n.folder, r, &n.events, n.log)
		p.removalWait = cmp.Or(n.removalWait, p.removalWait)
		plugins = append(plugins, p)
		running.Go(func() { p.Run(ctx) })
	}
	n.Cleanup(func() {
		stop()
		running.Wait()
		noneLeft(n.T)
	})
	return plugins
}

// noneLeft fails the test if goroutines of this package outlive it. Streams
// end a moment after their server.
func noneLeft(t *testing.T) {
	stacks := make([]byte, 1<<20)
	var left string
	for range 500 {
		left = ""
		for stack := range bytes.SplitSeq(stacks[:runtime.Stack(stacks, true)], []byte("\n\n")) {
			for _, frame := range []string{"kubelet.(*server).", "kubelet.serve.", "kubelet.(*Plugin).", "kubelet.(*Folder)."} {
				if bytes.Contains(stack, []byte("pkg/deviceplugin/"+frame)) {
					left = string(stack)
				}
			}
		}
		if left == "" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("a goroutine outlives the plugin:\n%s", left)
}

func (n *node) wait(k *standin.Kubelet, resource string, allocatable int) {
	n.Helper()
	if err := k.Wait(n.ctx, resource, allocatable); err != nil {
		n.Fatal(err)
	}
}

// until waits for a condition that nothing announces.
func (n *node) until(what string, ok func() bool) {
	n.Helper()
	for !ok() {
		if n.ctx.Err() != nil {
			n.Fatalf("still not: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (n *node) ownSockets() []string {
	n.Helper()
	paths, err := filepath.Glob(filepath.Join(n.sockets(), ownPrefix+"*"))
	if err != nil {
		n.Fatal(err)
	}
	return paths
}

func TestAResourceIsAllocatableOnceThePluginRuns(t *testing.T) {
	n := newNode(t)
	k := n.kubelet()
	plugin := n.run(newUnits(name, 8))[0]
	n.wait(k, name, 8)
	n.until("ready", plugin.Ready)
	response, ids, err := k.Allocate(name, 2)
	if err != nil || response.Envs["IDS"] != "0,1" || len(ids) != 2 {
		t.Errorf("got %v %v %v", response, ids, err)
	}
	n.events.mu.Lock()
	defer n.events.mu.Unlock()
	if n.events.registered != 1 || n.events.streams != 1 || n.events.allocated != 1 {
		t.Errorf("events: %d registered, %d streams, %d allocated", n.events.registered, n.events.streams, n.events.allocated)
	}
}

func TestAKubeletThatDoesNotListenYetIsGivenAMoment(t *testing.T) {
	n := newNode(t)
	if err := os.MkdirAll(n.sockets(), 0o755); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(n.sockets(), kubeletSocket)}); err != nil {
		t.Fatal(err)
	}
	go func() {
		time.Sleep(10 * time.Millisecond)
		_ = unix.Listen(fd, 1)
	}()
	p := NewPlugin(n.folder, newUnits(name, 8), &n.events, silent)
	conn, err := p.dial(n.ctx)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestAMissingKubeletIsWaitedFor(t *testing.T) {
	for name, prepare := range map[string]func(n *node) error{
		"when the folder is there":             func(n *node) error { return os.MkdirAll(n.sockets(), 0o755) },
		"when even its root folder is missing": func(n *node) error { return os.RemoveAll(n.dir) },
		"when a dead one left its socket": func(n *node) error {
			k := n.kubelet()
			k.Close()
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			if err := prepare(n); err != nil {
				t.Fatal(err)
			}
			n.run(newUnits("rdma/a", 3))
			time.Sleep(50 * time.Millisecond) // let it wait for a while
			n.wait(n.kubelet(), "rdma/a", 3)
		})
	}
}

func TestAKubeletThatRestartsGetsTheResourceBackEachTime(t *testing.T) {
	n := newNode(t)
	k := n.kubelet()
	n.run(newUnits(name, 8))
	for i := range 50 {
		n.wait(k, name, 8)
		n.until("registered", func() bool { return k.Registrations(name) > i })
		n.restart(k)
	}
	n.wait(k, name, 8)
	n.until("one socket", func() bool { return len(n.ownSockets()) == 1 })
}

func TestARemovedSocketIsReplacedByOneOfAnotherName(t *testing.T) {
	n := newNode(t)
	k := n.kubelet()
	n.run(newUnits(name, 8))
	seen := map[string]bool{}
	for i := range 20 {
		n.until("registered again", func() bool { return k.Registrations(name) > i && len(n.ownSockets()) == 1 })
		n.wait(k, name, 8)
		socket := n.ownSockets()[0]
		if seen[socket] {
			t.Fatalf("%s was used before", socket)
		}
		seen[socket] = true
		if err := os.Remove(socket); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFolderThatIsDeletedAndMadeAgainIsFollowed(t *testing.T) {
	n := newNode(t)
	k := n.kubelet()
	n.run(newUnits(name, 8))
	for i := range 5 {
		n.wait(k, name, 8)
		k.Close()
		if err := os.RemoveAll(n.sockets()); err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 {
			time.Sleep(20 * time.Millisecond) // sometimes the plugin sees it missing
		}
		n.restart(k)
	}
	n.wait(k, name, 8)
}

// Somebody tidies up; the kubelet lives on and does not notice.
func TestAStreamOutlivesTheKubeletsSocket(t *testing.T) {
	const notice = 50 * time.Millisecond // for the plugin
	for how, tt := range map[string]struct{ removalWait, between, behind time.Duration }{
		"removed with ours":  {0, 0, notice},
		"removed after ours": {time.Second, 2 * notice, time.Second},
	} {
		t.Run(how, func(t *testing.T) {
			n := newNode(t)
			n.removalWait = tt.removalWait
			k := n.kubelet()
			u := newUnits(name, 8)
			n.run(u)
			n.wait(k, name, 8)
			for _, path := range append(n.ownSockets(), filepath.Join(n.sockets(), kubeletSocket)) {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				time.Sleep(tt.between)
			}
			time.Sleep(tt.behind)
			u.set(3)
			n.wait(k, name, 3)
			n.restart(k)
			n.wait(k, name, 3)
			if k.Registrations(name) != 2 {
				t.Errorf("%d registrations", k.Registrations(name))
			}
		})
	}
}

func TestTheFolderIsLookedAtWithoutNotifications(t *testing.T) {
	n := newNode(t)
	n.folder.watch.Every = 10 * time.Millisecond
	n.folder.watch.NewWatcher = func() (*fsnotify.Watcher, error) { return nil, errors.New("too many open files") }
	k := n.kubelet()
	n.run(newUnits(name, 8))
	n.wait(k, name, 8)
	if err := os.Remove(n.ownSockets()[0]); err != nil {
		t.Fatal(err)
	}
	n.until("registered again", func() bool { return k.Registrations(name) == 2 })
}

func TestOnlyChangesAreSent(t *testing.T) {
	n := newNode(t)
	k := n.kubelet()
	u := newUnits(name, 8)
	n.run(u)
	n.wait(k, name, 8)
	for i := 1; i <= 3; i++ {
		u.set(i)
		n.wait(k, name, i)
	}
	if k.Messages(name) != 4 {
		t.Errorf("%d messages, want 4", k.Messages(name))
	}
}

func TestTwoResourcesDoNotDisturbEachOther(t *testing.T) {
	n := newNode(t)
	k := n.kubelet()
	n.run(newUnits("rdma/hca", 8), newUnits("example.com/hca", 4))
	n.wait(k, "rdma/hca", 8)
	n.wait(k, "example.com/hca", 4)
	if k.Registrations("rdma/hca")+k.Registrations("example.com/hca") != 2 {
		t.Error("registered more than once")
	}
}

func TestTheEndOfThePluginTakesItsSocketAway(t *testing.T) {
	n := newNode(t)
	k := n.kubelet()
	ctx, stop := context.WithCancel(n.ctx)
	defer stop()
	var running sync.WaitGroup
	running.Go(func() { NewPlugin(n.folder, newUnits(name, 8), &n.events, silent).Run(ctx) })
	n.wait(k, name, 8)
	stop()
	running.Wait()
	if left := n.ownSockets(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	n.until("the stream has ended", func() bool {
		n.events.mu.Lock()
		defer n.events.mu.Unlock()
		return n.events.streams == 0
	})
	n.wait(k, name, 0)
}

func TestStaleSocketsAreRemovedAndLiveOnesAreNot(t *testing.T) {
	n := newNode(t)
	if err := os.MkdirAll(n.sockets(), 0o755); err != nil {
		t.Fatal(err)
	}
	listen := func(name string) *net.UnixListener {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(n.sockets(), name)})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		t.Cleanup(func() { l.Close() })
		return l
	}
	listen(ownPrefix + "live.sock")
	listen(ownPrefix + "stale.sock").Close()
	listen("another-plugin.sock").Close()
	n.folder.RemoveStale()
	entries, err := os.ReadDir(n.sockets())
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 || entries[0].Name() != "another-plugin.sock" || entries[1].Name() != ownPrefix+"live.sock" {
		t.Errorf("left: %v", entries)
	}
}

// registrar is a kubelet that does with registrations what a test wants.
type registrar struct {
	pluginapi.UnimplementedRegistrationServer
	requests chan *pluginapi.RegisterRequest
	err      error
	wait     atomic.Int64 // how long the last one may take, 0 for no end
}

func (r *registrar) Register(ctx context.Context, request *pluginapi.RegisterRequest) (*pluginapi.Empty, error) {
	r.wait.Store(0)
	if end, ok := ctx.Deadline(); ok {
		r.wait.Store(int64(time.Until(end)))
	}
	r.requests <- request
	return &pluginapi.Empty{}, r.err
}

func (n *node) registrar(err error) *registrar {
	n.Helper()
	if err := os.MkdirAll(n.sockets(), 0o755); err != nil {
		n.Fatal(err)
	}
	l, listenErr := net.Listen("unix", filepath.Join(n.sockets(), kubeletSocket))
	if listenErr != nil {
		n.Fatal(listenErr)
	}
	r := &registrar{requests: make(chan *pluginapi.RegisterRequest, 100), err: err}
	s := grpc.NewServer()
	pluginapi.RegisterRegistrationServer(s, r)
	go func() { _ = s.Serve(l) }()
	n.Cleanup(s.Stop)
	return r
}

func (n *node) next(r *registrar) *pluginapi.RegisterRequest {
	n.Helper()
	select {
	case request := <-r.requests:
		return request
	case <-n.ctx.Done():
		n.Fatal("no registration")
	}
	return nil
}

// dial is what a kubelet does after a registration.
func (n *node) dial(endpoint string) pluginapi.DevicePluginClient {
	n.Helper()
	c, err := grpc.NewClient("unix://"+filepath.Join(n.sockets(), endpoint), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		n.Fatal(err)
	}
	n.Cleanup(func() { c.Close() })
	return pluginapi.NewDevicePluginClient(c)
}

// preferring has units that differ: the last ones are the best.
type preferring struct{ *units }

func (preferring) Preferred(available, must []string, size int) ([]string, error) {
	if slices.Contains(available, "none such") {
		return nil, errors.New("no device has this ID")
	}
	slices.Reverse(available)
	return slices.Concat(must, available)[:size], nil
}

func TestARegistrationSaysWhatTheResourceCan(t *testing.T) {
	for prefers, r := range map[bool]Resource{false: newUnits(name, 8), true: preferring{newUnits(name, 8)}} {
		t.Run(fmt.Sprint(prefers), func(t *testing.T) {
			n := newNode(t)
			kubelet := n.registrar(nil)
			n.run(r)
			got := n.next(kubelet)
			if got.Version != "v1beta1" || got.ResourceName != name || len(n.ownSockets()) != 1 || got.Endpoint != filepath.Base(n.ownSockets()[0]) ||
				got.Options.GetGetPreferredAllocationAvailable() != prefers || got.Options.GetPreStartRequired() {
				t.Errorf("%+v, sockets %v", got, n.ownSockets())
			}
			if wait := time.Duration(kubelet.wait.Load()); wait <= 0 || wait > registerWait {
				t.Errorf("it waits for %s", wait)
			}
			o, err := n.dial(got.Endpoint).GetDevicePluginOptions(n.ctx, &pluginapi.Empty{})
			if err != nil || o.GetPreferredAllocationAvailable != prefers {
				t.Errorf("%v, %v", o, err)
			}
		})
	}
}

// A kubelet that starts removes all sockets before it listens.
func TestThereIsNoSocketBeforeTheKubeletListens(t *testing.T) {
	n := newNode(t)
	if err := os.MkdirAll(n.sockets(), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(n.sockets(), kubeletSocket)})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	long := time.Unix(1, 0)
	if err := errors.Join(l.Close(), os.Chtimes(n.sockets(), long, long)); err != nil {
		t.Fatal(err)
	}
	err = NewPlugin(n.folder, newUnits(name, 8), &n.events, silent).session(n.ctx, n.folder.kubelet())
	if err == nil || !strings.Contains(err.Error(), "the kubelet does not answer") {
		t.Errorf("%v", err)
	}
	if info, err := os.Stat(n.sockets()); err != nil || !info.ModTime().Equal(long) {
		t.Errorf("something was made in the folder: %v, %v", info.ModTime(), err)
	}
}

func TestThatTheKubeletIsWaitedForIsSaidOnce(t *testing.T) {
	n := newNode(t)
	var log bytes.Buffer
	p := NewPlugin(n.folder, newUnits(name, 8), &n.events, slog.New(slog.NewTextHandler(&log, nil)))
	synctest.Test(t, func(t *testing.T) {
		p.folder.changed = make(chan struct{}) // of the test's own clock
		ctx, stop := context.WithCancel(t.Context())
		go p.awaitKubelet(ctx)
		for range 3 {
			synctest.Wait()
			p.folder.announce()
		}
		synctest.Wait()
		stop()
		synctest.Wait()
	})
	if strings.Count(log.String(), "waiting for the kubelet") != 1 {
		t.Errorf("logged:\n%s", &log)
	}
}

func TestAStreamThatDoesNotComeIsAnsweredByANewSocket(t *testing.T) {
	n := newNode(t)
	r := n.registrar(nil)
	p := NewPlugin(n.folder, newUnits(name, 8), &n.events, silent)
	p.streamWait = 10 * time.Millisecond
	ctx, stop := context.WithCancel(n.ctx)
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	defer running.Wait()
	defer stop()
	first, second := n.next(r), n.next(r)
	if first.Endpoint == second.Endpoint {
		t.Errorf("%s twice", first.Endpoint)
	}
}

func TestAStreamThatEndsIsAnsweredByANewSocket(t *testing.T) {
	n := newNode(t)
	r := n.registrar(nil)
	p := n.run(newUnits(name, 8))[0]
	first := n.next(r)
	ctx, hangUp := context.WithCancel(n.ctx)
	stream, err := n.dial(first.Endpoint).ListAndWatch(ctx, &pluginapi.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := stream.Recv(); err != nil || len(m.Devices) != 8 {
		t.Fatalf("got %v %v", m, err)
	}
	n.until("it is ready", p.Ready)
	hangUp()
	if second := n.next(r); second.Endpoint == first.Endpoint {
		t.Errorf("%s twice", first.Endpoint)
	}
	if p.Ready() {
		t.Error("it is ready, and nobody listens")
	}
}

// A channel that is closed is ready for ever.
func TestAStreamIsNewsOnce(t *testing.T) {
	n := newNode(t)
	k := n.kubelet()
	p := n.run(newUnits(name, 8))[0]
	n.wait(k, name, 8)
	n.until("it is ready", p.Ready)
	p.ready.Store(false)
	time.Sleep(50 * time.Millisecond)
	if p.Ready() {
		t.Error("it learns of the same stream again")
	}
}

func TestAServerThatEndsByItselfEndsItsSession(t *testing.T) {
	n := newNode(t)
	broken := errors.New("accept: too many open files")
	s := &server{socket: "s", failed: make(chan error, 1)}
	s.failed <- broken
	p := NewPlugin(n.folder, newUnits(name, 8), &n.events, silent)
	if err := p.attend(n.ctx, s, n.folder.kubelet()); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

func TestARefusedRegistrationIsTriedAgainOnANewSocket(t *testing.T) {
	n := newNode(t)
	r := n.registrar(errors.New("not now"))
	n.run(newUnits(name, 8))
	seen := map[string]bool{}
	for range 4 {
		seen[n.next(r).Endpoint] = true
	}
	if len(seen) != 4 {
		t.Errorf("%d sockets for 4 attempts", len(seen))
	}
}

// The old kubelet's process may outlive its socket for a while.
func TestANewKubeletIsRegisteredWithThoughAStreamToTheOldOneLives(t *testing.T) {
	n := newNode(t)
	old := n.registrar(nil)
	n.run(newUnits(name, 8))
	stream, err := n.dial(n.next(old).Endpoint).ListAndWatch(n.ctx, &pluginapi.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	n.replaceKubelet()
	n.next(n.registrar(nil))
}

// replaceKubelet takes the socket away from a kubelet that goes on.
func (n *node) replaceKubelet() {
	n.Helper()
	if err := os.Rename(filepath.Join(n.sockets(), kubeletSocket), filepath.Join(n.sockets(), "old-kubelet")); err != nil {
		n.Fatal(err)
	}
}

func TestANewKubeletIsNotMadeToWaitForWhatTheOldOneDid(t *testing.T) {
	n := newNode(t)
	old := n.registrar(errors.New("not now"))
	n.run(newUnits(name, 8))
	for range 6 { // by now a pause has seconds
		n.next(old)
	}
	n.replaceKubelet()
	young := n.registrar(errors.New("not now"))
	n.next(young)
	first := time.Now()
	n.next(young)
	if pause := time.Since(first); pause > time.Second {
		t.Errorf("its second chance came after %s", pause)
	}
}

func TestAnyNumberOfStreamsGetEveryChange(t *testing.T) {
	n := newNode(t)
	r := n.registrar(nil)
	u := newUnits(name, 1)
	n.run(u)
	client := n.dial(n.next(r).Endpoint)
	var streams []grpc.ServerStreamingClient[pluginapi.ListAndWatchResponse]
	for range 10 {
		s, err := client.ListAndWatch(n.ctx, &pluginapi.Empty{})
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, s)
	}
	for _, want := range []int{1, 5} {
		for _, s := range streams {
			if m, err := s.Recv(); err != nil || len(m.Devices) != want {
				t.Fatalf("got %v %v, want %d devices", m, err, want)
			}
		}
		u.set(5)
	}
}

func TestEveryCallIsSafe(t *testing.T) {
	n := newNode(t)
	r := n.registrar(nil)
	n.run(newUnits(name, 8))
	c := n.dial(n.next(r).Endpoint)
	if o, err := c.GetDevicePluginOptions(n.ctx, &pluginapi.Empty{}); err != nil || o.GetPreferredAllocationAvailable || o.PreStartRequired {
		t.Errorf("options %v %v", o, err)
	}
	if _, err := c.PreStartContainer(n.ctx, &pluginapi.PreStartContainerRequest{}); err != nil {
		t.Errorf("PreStartContainer: %v", err)
	}
	if a, err := c.Allocate(n.ctx, &pluginapi.AllocateRequest{}); err != nil || len(a.ContainerResponses) != 0 {
		t.Errorf("Allocate of nothing: %v %v", a, err)
	}
	_, err := c.Allocate(n.ctx, &pluginapi.AllocateRequest{ContainerRequests: []*pluginapi.ContainerAllocateRequest{{DevicesIds: []string{"none such"}}}})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), name) {
		t.Errorf("Allocate of an unknown device: %v", err)
	}
	for request, want := range map[*pluginapi.ContainerPreferredAllocationRequest]string{
		{}: "[]",
		{AvailableDeviceIDs: []string{"3", "1", "2"}, MustIncludeDeviceIDs: []string{"2"}, AllocationSize: 2}: "[2 3]",
		{AvailableDeviceIDs: []string{"3", "1"}, MustIncludeDeviceIDs: []string{"2", "2"}, AllocationSize: 2}: "[2 3]",
		{AvailableDeviceIDs: []string{"1"}, AllocationSize: 2}:                                                "error",
		{AvailableDeviceIDs: []string{"1"}, MustIncludeDeviceIDs: []string{"nope"}, AllocationSize: 1}:        "error",
		{AvailableDeviceIDs: []string{"1"}, AllocationSize: -1}:                                               "error",
	} {
		p, err := c.GetPreferredAllocation(n.ctx, &pluginapi.PreferredAllocationRequest{ContainerRequests: []*pluginapi.ContainerPreferredAllocationRequest{request}})
		got := "error"
		if err == nil {
			got = fmt.Sprint(p.ContainerResponses[0].DeviceIDs)
		}
		if got != want {
			t.Errorf("GetPreferredAllocation(%v) = %s, %v; want %s", request, got, err, want)
		}
	}
}

func TestAPathTooLongForASocketIsExplained(t *testing.T) {
	n := newNode(t)
	for length, fits := range map[int]bool{unixPathMax - 1: true, unixPathMax: false, unixPathMax + 1: false} {
		shortest := len(n.folder.path(ownPrefix + randomName() + socketSuffix))
		dir := filepath.Join(n.dir, strings.Repeat("a", length-shortest-1))
		if err := os.MkdirAll(filepath.Join(dir, folderName), 0o755); err != nil {
			t.Fatal(err)
		}
		l, _, err := NewFolder(dir, silent).listen()
		if fits && err == nil {
			l.Close()
			continue
		}
		if fits || err == nil || !strings.Contains(err.Error(), "use a shorter --kubelet-dir") {
			t.Errorf("%d bytes: %v", length, err)
		}
	}
}

func TestASessionThatLivedOrEndedFromOutsideHasNotFailed(t *testing.T) {
	refused := errors.New("the kubelet ended the stream")
	for _, tt := range []struct {
		err    error
		lived  time.Duration
		failed bool
	}{{refused, time.Second, true}, {refused, time.Hour, false}, {errNewKubelet, 0, false}, {errSocketRemoved, 0, false}} {
		if isFailure(tt.err, tt.lived) != tt.failed {
			t.Errorf("after %s: %v: %v", tt.lived, tt.err, !tt.failed)
		}
	}
}

func TestPausesGrowAndEndSomewhere(t *testing.T) {
	var b backoff
	longest := time.Duration(0)
	for range 100 {
		p := b.next()
		if p < firstPause/2 || p > lastPause {
			t.Fatalf("pause of %s", p)
		}
		longest = max(longest, p)
	}
	if longest < lastPause/2 {
		t.Errorf("longest pause %s", longest)
	}
	early, late := 0, 0
	for range 100 { // of the plugins of as many nodes
		if b.next() < lastPause*3/4 {
			early++
		} else {
			late++
		}
	}
	if early < 20 || late < 20 {
		t.Errorf("%d pauses are in the first half of their time, %d in the second", early, late)
	}
}

func TestALogLineRepeatsALittleOfARequest(t *testing.T) {
	for name, ids := range map[string][]string{
		"many IDs":  strings.Split(strings.Repeat("0,", 100_000), ","),
		"a long ID": {strings.Repeat("x", 1<<20)},
	} {
		if got := list(ids); len(got) > 2*longestText {
			t.Errorf("%s: %d bytes: %.80s", name, len(got), got)
		}
	}
	if got := list([]string{"0", "1"}); got != "0,1" {
		t.Errorf("got %s", got)
	}
}
