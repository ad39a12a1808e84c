package kubelet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/roce-k8s/roce-k8s/pkg/watch"
)

const (
	// registerWait bounds a registration. The kubelet dials back, for up to
	// 10 s, before it answers.
	registerWait = 15 * time.Second
	// refusedWait bounds the last pause between attempts to reach a kubelet
	// that has its socket but does not listen yet; all of them take twice that.
	refusedWait = 100 * time.Millisecond
	// streamWait is how long the kubelet may take from its answer to opening
	// the stream. It does so at once.
	streamWait = 5 * time.Second
	// removalWait is how long our socket may be missing before it is replaced.
	removalWait = 100 * time.Millisecond
	// goodLife is how long a stream must have lived for its end not to count
	// as one more failure.
	goodLife = 10 * time.Second
)

// What ends a registration from outside.
var (
	errNewKubelet    = errors.New("the kubelet has a new socket")
	errSocketRemoved = errors.New("our socket was removed")
)

// A Plugin keeps one resource registered.
type Plugin struct {
	folder   *Folder
	resource Resource
	observer Observer
	log      *slog.Logger
	ready    atomic.Bool
	// streamWait is how long to wait for the stream after a registration.
	streamWait time.Duration
	// removalWait is how long our socket may be missing.
	removalWait time.Duration
}

// NewPlugin makes a plugin for a resource. Somebody must run the folder's Watch.
func NewPlugin(folder *Folder, r Resource, o Observer, log *slog.Logger) *Plugin {
	return &Plugin{folder: folder, resource: r, observer: o, log: log.With("resource", r.Name()), streamWait: streamWait, removalWait: removalWait}
}

// Ready tells whether the resource is registered and the kubelet listens.
func (p *Plugin) Ready() bool { return p.ready.Load() }

// Run keeps the resource registered until ctx ends, whatever the kubelet does.
func (p *Plugin) Run(ctx context.Context) {
	var pauses backoff
	for {
		kubelet, ok := p.awaitKubelet(ctx)
		if !ok {
			return
		}
		begin := time.Now()
		err := p.session(ctx, kubelet)
		if ctx.Err() != nil {
			return
		}
		if !isFailure(err, time.Since(begin)) {
			pauses.reset()
		}
		pause := pauses.next()
		p.log.Warn("registering again", "because", err, "in", pause.Round(time.Millisecond).String())
		if p.pause(ctx, pause, kubelet) {
			pauses.reset()
		}
	}
}

// isFailure tells whether the end of a session says something of the next one.
func isFailure(err error, lived time.Duration) bool {
	return lived <= goodLife && !errors.Is(err, errNewKubelet) && !errors.Is(err, errSocketRemoved)
}

// awaitKubelet waits for the kubelet's socket and returns its identity.
func (p *Plugin) awaitKubelet(ctx context.Context) (watch.FileID, bool) {
	for said := false; ; said = true {
		changed := p.folder.Changed()
		if id := p.folder.kubelet(); id != (watch.FileID{}) {
			return id, ctx.Err() == nil
		}
		if !said {
			p.log.Info("waiting for the kubelet", "socket", p.folder.path(kubeletSocket))
		}
		select {
		case <-ctx.Done():
			return watch.FileID{}, false
		case <-changed:
		}
	}
}

// pause waits, unless there is another kubelet than the one that failed us. It
// tells whether there is.
func (p *Plugin) pause(ctx context.Context, d time.Duration, failed watch.FileID) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		changed := p.folder.Changed()
		if p.folder.kubelet() != failed {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return false
		case <-changed:
		}
	}
}

// session is one registration, from the fresh socket to whatever ends it.
//
// The kubelet is dialled first of all: when it starts it removes all sockets
// in the folder and only then listens, so that a socket made after it answered
// is one that it will not remove.
func (p *Plugin) session(ctx context.Context, kubelet watch.FileID) error {
	conn, err := p.dial(ctx)
	if err != nil {
		return fmt.Errorf("the kubelet does not answer: %w", err)
	}
	defer func() { _ = conn.Close() }()
	s, err := serve(p.folder, p.resource, p.observer, p.log)
	if err != nil {
		return err
	}
	defer s.stop()
	if err := p.register(ctx, conn, s); err != nil {
		return err
	}
	p.log.Info("registered with the kubelet", "socket", p.folder.path(s.socket))
	p.observer.Registered(p.resource.Name())
	return p.attend(ctx, s, kubelet)
}

// dial connects to the kubelet. Between making its socket, which wakes us, and
// listening on it, a kubelet that starts refuses connections for a moment: that
// is not a failure yet.
func (p *Plugin) dial(ctx context.Context) (net.Conn, error) {
	for pause := time.Millisecond; ; pause *= 2 {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", p.folder.path(kubeletSocket))
		if !errors.Is(err, unix.ECONNREFUSED) || pause > refusedWait {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// register introduces a server to the kubelet over an open connection.
func (p *Plugin) register(ctx context.Context, conn net.Conn, s *server) error {
	ctx, cancel := context.WithTimeout(ctx, registerWait)
	defer cancel()
	once := make(chan net.Conn, 1)
	once <- conn
	client, err := grpc.NewClient("passthrough:///kubelet",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			select {
			case c := <-once:
				return c, nil
			default:
				return nil, errors.New("the kubelet closed the connection")
			}
		}))
	if err != nil {
		return fmt.Errorf("register with the kubelet: %w", err)
	}
	defer func() { _ = client.Close() }()
	_, err = pluginapi.NewRegistrationClient(client).Register(ctx, &pluginapi.RegisterRequest{
		Version: pluginapi.Version, Endpoint: s.socket, ResourceName: p.resource.Name(), Options: options(p.resource),
	})
	if err != nil {
		return fmt.Errorf("register with the kubelet: %w", err)
	}
	return nil
}

// attend stays with a registered server until the kubelet has lost it.
func (p *Plugin) attend(ctx context.Context, s *server, kubelet watch.FileID) error {
	defer p.ready.Store(false)
	socket := watch.Identify(p.folder.path(s.socket))
	late := time.NewTimer(p.streamWait)
	defer late.Stop()
	opened := s.opened
	var removed <-chan time.Time // our socket is not there, for some time
	for {
		changed := p.folder.Changed()
		switch now := p.folder.kubelet(); {
		case now == (watch.FileID{}):
			// Nobody to register with. If only the files were deleted, the
			// stream needs none and is all that there is: a living kubelet
			// makes no new socket. If the kubelet ended, so does the stream.
			removed = nil
		case now != kubelet:
			return errNewKubelet
		case socket == (watch.FileID{}) || watch.Identify(p.folder.path(s.socket)) != socket:
			// Whoever removes all files may have come to ours first.
			if removed == nil {
				removed = time.After(p.removalWait)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-opened:
			late.Stop()
			opened = nil
			p.ready.Store(true)
		case <-late.C:
			return fmt.Errorf("the kubelet opened no stream in %s", p.streamWait)
		case <-s.ended:
			return errors.New("the kubelet ended the stream")
		case err := <-s.failed:
			return fmt.Errorf("our server ended: %w", err)
		case <-removed:
			return errSocketRemoved
		case <-changed:
		}
	}
}
