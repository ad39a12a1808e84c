package memlock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	nrilog "github.com/containerd/nri/pkg/log"
	"github.com/containerd/nri/pkg/stub"

	"github.com/roce-k8s/roce-k8s/pkg/logging"
)

// DefaultSocket is where container runtimes have their NRI.
const DefaultSocket = "/var/run/nri/nri.sock"

const (
	// name and index are what the runtime calls the plugin by. It asks in the order
	// of the indices: the last one sees the limits that others give, and two that
	// give one would fail the container.
	name, index = "roce-k8s-memlock", "99"
	// again is the pause before the next try to connect. Containers that are made
	// while a runtime restarts do not wait for it.
	again = time.Second / 2
	// longestStart is more than a runtime gives a plugin to be configured.
	longestStart = 10 * time.Second
)

// Options say which containers get what.
type Options struct {
	Socket string // the runtime's NRI
	Limit  Limit
	Log    *slog.Logger
}

// A Plugin is one of a runtime's. Whatever goes wrong with it, containers start:
// with the limit that they would have without it.
type Plugin struct {
	Options
	patience time.Duration // with a runtime that does not configure it

	mu     sync.Mutex // guards report
	report Report
}

// New makes a plugin.
func New(o Options) *Plugin {
	return &Plugin{Options: o, patience: longestStart, report: Report{Why: "it has just started"}}
}

// Run keeps the plugin connected until ctx ends.
func (p *Plugin) Run(ctx context.Context) {
	said := logging.Once{}
	for {
		err := p.connect(ctx, func() { said.News(p.Socket, "") })
		if ctx.Err() != nil {
			return
		}
		p.tell(func(r *Report) { r.Connected, r.Why = false, err.Error() })
		if said.News(p.Socket, err.Error()) {
			p.Log.Warn("not connected to the container runtime: containers start with its own memlock limit", "socket", p.Socket, "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(again):
		}
	}
}

// connect serves the runtime for as long as it is there, and returns why it is
// not, or not any more.
func (p *Plugin) connect(ctx context.Context, connected func()) error {
	conn, err := (&net.Dialer{Timeout: p.patience}).DialContext(ctx, "unix", p.Socket)
	if err != nil {
		return err
	}
	// The stub waits without end for a runtime that goes away in the middle of a
	// start. It is left alone then, without its connection.
	defer func() { _ = conn.Close() }()
	here, gone := context.WithCancel(ctx)
	defer gone()
	s, err := stub.New(&handler{p}, stub.WithPluginName(name), stub.WithPluginIdx(index), stub.WithConnection(conn),
		stub.WithOnClose(gone), stub.WithLogger(quiet{p.Log}))
	if err != nil {
		return err
	}
	started := make(chan error, 1)
	go func() { started <- s.Start(ctx) }()
	select {
	case err := <-started:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(p.patience):
		return fmt.Errorf("it has not configured this plugin within %s", p.patience)
	}
	connected()
	p.tell(func(r *Report) { r.Connected, r.Why = true, "" })
	p.Log.Info("connected to the container runtime", "socket", p.Socket, "limit", string(p.Limit))
	<-here.Done()
	return errors.New("the container runtime ended the connection")
}

func (p *Plugin) tell(change func(*Report)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.report)
}

// quiet is the stub's log: what matters of it is said here.
type quiet struct{ log *slog.Logger }

var _ nrilog.Logger = quiet{}

func (q quiet) say(ctx context.Context, format string, args []any) {
	if q.log.Enabled(ctx, slog.LevelDebug) {
		q.log.DebugContext(ctx, fmt.Sprintf(format, args...))
	}
}

func (q quiet) Debugf(ctx context.Context, format string, args ...any) { q.say(ctx, format, args) }
func (q quiet) Infof(ctx context.Context, format string, args ...any)  { q.say(ctx, format, args) }
func (q quiet) Warnf(ctx context.Context, format string, args ...any)  { q.say(ctx, format, args) }
func (q quiet) Errorf(ctx context.Context, format string, args ...any) { q.say(ctx, format, args) }
