package memlock

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/net/multiplex"
	"github.com/containerd/nri/pkg/stub"
	"github.com/containerd/ttrpc"

	"github.com/roce-k8s/roce-k8s/test/fixtures/sockets"
)

// A runtime is NRI's own half of a container runtime.
type runtime struct {
	*adaptation.Adaptation
	front net.Listener
	conns chan net.Conn
}

func startRuntime(t *testing.T, socket string) *runtime {
	t.Helper()
	sync := func(ctx context.Context, f adaptation.SyncCB) error {
		_, err := f(ctx, nil, nil)
		return err
	}
	update := func(context.Context, []*adaptation.ContainerUpdate) ([]*adaptation.ContainerUpdate, error) {
		return nil, nil
	}
	behind := filepath.Join(sockets.Folder(t), "nri.sock")
	a, err := adaptation.New("containerd", "v2.4.2", sync, update, adaptation.WithSocketPath(behind), adaptation.WithPluginPath(behind+".none"), adaptation.WithPluginConfigPath(behind+".none"))
	if err == nil {
		err = a.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	r := &runtime{Adaptation: a, conns: make(chan net.Conn, 10)}
	if r.front, err = net.Listen("unix", socket); err != nil {
		t.Fatal(err)
	}
	go r.forward(behind)
	t.Cleanup(r.die)
	return r
}

// forward has plugins talk to the runtime. It stands for what the kernel does with
// the connections of a process that ends: the runtime's half alone keeps them.
func (r *runtime) forward(behind string) {
	for {
		plugin, err := r.front.Accept()
		if err != nil {
			return
		}
		runtime, err := net.Dial("unix", behind)
		if err != nil {
			_ = plugin.Close()
			continue
		}
		r.conns <- plugin
		r.conns <- runtime
		for from, to := range map[net.Conn]net.Conn{plugin: runtime, runtime: plugin} {
			go func() {
				_, _ = io.Copy(to, from)
				_ = to.Close()
			}()
		}
	}
}

// die ends the runtime and what it is connected to.
func (r *runtime) die() {
	_ = r.front.Close()
	for len(r.conns) > 0 {
		_ = (<-r.conns).Close()
	}
	r.Stop()
}

// create makes a container with a verbs device and returns the limits that plugins
// give it.
func (r *runtime) create(t *testing.T) []*api.POSIXRlimit {
	t.Helper()
	answer, err := r.CreateContainer(t.Context(), &api.CreateContainerRequest{
		Pod: &api.PodSandbox{}, Container: container([]*api.LinuxDevice{device("/dev/infiniband/uverbs0", 231, 192)}, 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	return answer.GetAdjust().GetRlimits()
}

func start(t *testing.T, socket string) (p *Plugin, stop func()) {
	t.Helper()
	p = New(Options{Socket: socket, Limit: Unlimited, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return p, stop
}

func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited for ", what)
		}
	}
}

func (p *Plugin) now() Report {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.report
}

func TestTheRuntimeIsServedWheneverItIsThere(t *testing.T) {
	socket := filepath.Join(sockets.Folder(t), "nri.sock")
	p, stop := start(t, socket)
	until(t, "a runtime that is not there", func() bool { return strings.Contains(p.now().Why, "no such file") })
	for lives := range 3 {
		r := startRuntime(t, socket)
		until(t, "the plugin", func() bool { return len(r.create(t)) == 1 })
		if now := p.now(); !now.Connected || now.Why != "" || now.Raised < lives+1 {
			t.Errorf("%+v", now)
		}
		r.die()
		until(t, "the runtime's end", func() bool { return !p.now().Connected })
	}
	r := startRuntime(t, socket)
	until(t, "the plugin", func() bool { return len(r.create(t)) == 1 })
	stop()
	until(t, "the plugin's end", func() bool { return len(r.create(t)) == 0 })
}

// another is a plugin that gives every container a limit.
type another struct{}

func (another) CreateContainer(context.Context, *api.PodSandbox, *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	a := &api.ContainerAdjustment{}
	a.AddRlimit(rlimit, 1, 1)
	return a, nil, nil
}

func TestTheLimitOfAnotherPluginStaysAndTheContainerStarts(t *testing.T) {
	socket := filepath.Join(sockets.Folder(t), "nri.sock")
	r := startRuntime(t, socket)
	p, _ := start(t, socket)
	until(t, "the plugin", func() bool { return len(r.create(t)) == 1 })
	s, err := stub.New(another{}, stub.WithSocketPath(socket), stub.WithPluginName("z"), stub.WithPluginIdx("98"), stub.WithLogger(quiet{slog.New(slog.DiscardHandler)}))
	if err == nil {
		err = s.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	until(t, "the other plugin", func() bool {
		limits := r.create(t)
		return len(limits) == 1 && limits[0].Soft == 1
	})
	if p.now().Kept == 0 {
		t.Errorf("%+v", p.now())
	}
}

func TestWhileAnUpdateHasTwoInstancesOneGivesTheLimit(t *testing.T) {
	socket := filepath.Join(sockets.Folder(t), "nri.sock")
	r := startRuntime(t, socket)
	first, _ := start(t, socket)
	second, _ := start(t, socket)
	until(t, "both", func() bool { return first.now().Connected && second.now().Connected && len(r.create(t)) == 1 })
	before := first.now().Raised + second.now().Raised
	for range 10 {
		if limits := r.create(t); len(limits) != 1 {
			t.Fatalf("%v", limits)
		}
		time.Sleep(10 * time.Millisecond) // one may be in the middle of its start
	}
	if raised := first.now().Raised + second.now().Raised; raised != before+10 || first.now().Kept+second.now().Kept > 0 {
		t.Errorf("%+v, %+v", first.now(), second.now())
	}
}

// dying is a runtime that takes a plugin's registration and is gone.
type dying struct {
	api.RuntimeService
	conn net.Conn
	name chan string
}

func (d dying) RegisterPlugin(_ context.Context, r *api.RegisterPluginRequest) (*api.Empty, error) {
	d.name <- r.PluginIdx + "-" + r.PluginName
	time.AfterFunc(50*time.Millisecond, func() { _ = d.conn.Close() })
	return &api.Empty{}, nil
}

func TestARuntimeThatEndsInTheMiddleOfAStartIsTriedAgain(t *testing.T) {
	socket := filepath.Join(sockets.Folder(t), "nri.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := New(Options{Socket: socket, Limit: Unlimited, Log: slog.New(slog.DiscardHandler)})
	p.patience = time.Second
	went := make(chan error, 1)
	go func() { went <- p.connect(t.Context(), func() { t.Error("it is connected") }) }()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	service, err := multiplex.Multiplex(conn).Listen(multiplex.RuntimeServiceConn)
	if err != nil {
		t.Fatal(err)
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	name := make(chan string, 1)
	api.RegisterRuntimeService(server, dying{conn: conn, name: name})
	go func() { _ = server.Serve(t.Context(), service) }()
	select {
	case err := <-went:
		if err == nil {
			t.Error("no reason")
		}
	case <-time.After(20 * time.Second):
		t.Error("it waits without end")
	}
	if got := <-name; got != "99-roce-k8s-memlock" { // the last to be asked
		t.Errorf("it is called %s", got)
	}
}

// A node may have no NRI at all.
func TestThatThereIsNoRuntimeIsSaidOnce(t *testing.T) {
	socket := filepath.Join(sockets.Folder(t), "nri.sock")
	var log bytes.Buffer
	p := New(Options{Socket: socket, Limit: Unlimited, Log: slog.New(slog.NewTextHandler(&log, nil))})
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		go p.Run(ctx)
		time.Sleep(10 * again) // of the test's own clock
		stop()
		synctest.Wait()
	})
	if strings.Count(log.String(), "not connected to the container runtime") != 1 || !strings.Contains(p.now().Why, "no such file") {
		t.Errorf("%+v, logged:\n%s", p.now(), &log)
	}
}

func TestThePluginSaysHowItIs(t *testing.T) {
	socket := filepath.Join(sockets.Folder(t), "memlock.sock")
	if _, err := Ask(t.Context(), socket); err == nil {
		t.Error("nobody answers")
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	p := New(Options{})
	if now := p.now(); now != (Report{Why: "it has just started"}) {
		t.Errorf("at first %+v", now)
	}
	mux := http.NewServeMux()
	mux.Handle("/", p)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	for _, want := range []Report{{Connected: true, Raised: 3, Kept: 1}, {Why: "no such file", Raised: 4}} {
		p.tell(func(r *Report) { *r = want })
		if r, err := Ask(t.Context(), socket); err != nil || r != want {
			t.Errorf("%+v, %v; want %+v", r, err, want)
		}
	}
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	if _, err := Ask(t.Context(), socket); err == nil || !strings.Contains(err.Error(), "no memlock plugin") {
		t.Errorf("%v", err)
	}
	mux.HandleFunc("GET /{$}", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }) // it hangs
	if r, err := Ask(t.Context(), socket); err == nil {
		t.Errorf("%+v", r)
	}
}
