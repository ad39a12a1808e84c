package fabric

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/retry"
)

// A Node takes part in a test.
type Node struct {
	Rank, Nodes int
	Name        string
	// Coordinator is host and port of the node that coordinates.
	Coordinator string
	// Wait is how long the coordinator may take to come.
	Wait time.Duration
	// Rails are the netdevs to test; all if there are none.
	Rails []string
	Place Place
	// Programs is the folder of perftest's programs, "" for those in PATH.
	Programs string
	// FirstPort is the TCP port on which perftest serves over the first rail; the
	// others follow.
	FirstPort int
	Log       *slog.Logger
}

// Run takes part until the coordinator says how the test ended.
func (n *Node) Run(ctx context.Context) (Verdict, error) {
	rails, err := n.Place.Rails(n.Rails)
	if err != nil {
		return "", err
	}
	// From now on a rail has its number, whatever becomes of its address.
	at := &taking{Node: n}
	for _, r := range rails {
		at.names = append(at.names, r.Netdev)
	}
	conn, err := n.dial(ctx)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	w := newWire(conn)
	if err := w.send(message{Hello: &hello{wireVersion, n.Rank, n.Nodes, n.Name, rails}}); err != nil {
		return "", err
	}
	n.Log.Info("with the coordinator", "coordinator", n.Coordinator, "rails", len(rails))
	running := tasks{ends: map[int]context.CancelFunc{}}
	var jobs sync.WaitGroup
	defer jobs.Wait()
	defer cancel()
	for {
		m, err := w.receive()
		switch {
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		case err != nil:
			return "", fmt.Errorf("the coordinator went away: %w", err)
		case m.Refused != "":
			return "", errors.New("the coordinator does not want this node: " + m.Refused)
		case m.End != nil:
			return m.End.Verdict, nil
		case m.Stop != 0:
			running.end(m.Stop)
		case m.Task != nil:
			ctx, cancel := context.WithTimeoutCause(ctx, m.Task.Within, fmt.Errorf("%s was not done in %s", m.Task.Program, m.Task.Within))
			running.begin(m.Task.Number, cancel)
			jobs.Go(func() {
				defer running.end(m.Task.Number)
				at.work(ctx, w, *m.Task)
			})
		}
	}
}

// dial connects as soon as there is something to connect to: a name of a pod is
// known some time after the pod has started, and nothing says when.
func (n *Node) dial(ctx context.Context) (conn net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, n.Wait)
	defer cancel()
	dialer := net.Dialer{Timeout: 10 * time.Second}
	told := false
	ended := retry.Until(ctx, 100*time.Millisecond, 2*time.Second, func() (bool, error) {
		var failed error
		if conn, failed = dialer.DialContext(ctx, "tcp", n.Coordinator); failed != nil {
			// The last one is about the end of the wait.
			if ctx.Err() == nil {
				err = failed
			}
			if !told {
				n.Log.Info("waiting for the coordinator", "err", failed)
				told = true
			}
		}
		return failed == nil, nil
	})
	if ended != nil {
		return nil, fmt.Errorf("the coordinator %s did not come in %s: %w", n.Coordinator, n.Wait, err)
	}
	return conn, nil
}

// A taking is a node's part in one test.
type taking struct {
	*Node
	names []string // of the rails
}

// work does one task, and tells the coordinator.
func (n *taking) work(ctx context.Context, w *wire, t task) {
	r := result{Number: t.Number}
	err := n.do(ctx, w, t, &r.Measurement)
	if err != nil {
		r.Error = err.Error()
	}
	if now, err := n.rail(t.Rail); err == nil {
		r.Rail = &now
	}
	// If it cannot be sent the connection ends, which Run notices.
	_ = w.send(message{Result: &r})
}

// rail is a NIC as it is now.
func (n *taking) rail(number int) (Rail, error) {
	if number < 0 || number >= len(n.names) {
		return Rail{}, fmt.Errorf("there is no rail %d here", number)
	}
	rails, err := n.Place.Rails(n.names[number : number+1])
	if err != nil {
		return Rail{}, err
	}
	return rails[0], nil
}

func (n *taking) do(ctx context.Context, w *wire, t task, m *Measurement) error {
	// What is run, and with what, is not the coordinator's choice alone.
	if !slices.Contains([]string{writeLatency, readLatency, writeBandwidth}, t.Program) {
		return fmt.Errorf("%q is no test", t.Program)
	}
	if err := t.Load.check(); err != nil {
		return err
	}
	server, err := netip.ParseAddr(t.Server)
	if err != nil {
		return err
	}
	rail, err := n.rail(t.Rail)
	if err != nil {
		return err
	}
	if rail.Problem != "" {
		return errors.New(rail.Netdev + ": " + rail.Problem)
	}
	c := command{t.Program, rail, t.Load, t.Port, server.Unmap(), t.Serve}
	if t.Serve {
		c.port = n.FirstPort + t.Rail
	}
	if c.port < 1 || c.port > 65535 {
		return errors.New("no port " + strconv.Itoa(c.port))
	}
	*m, err = c.run(ctx, n.Programs, func() {
		_ = w.send(message{Listening: &listening{t.Number, c.port}})
	})
	return err
}

// tasks are those that a node is at, and what ends each.
type tasks struct {
	mu   sync.Mutex // guards ends
	ends map[int]context.CancelFunc
}

func (t *tasks) begin(number int, end context.CancelFunc) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ends[number] = end
}

func (t *tasks) end(number int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if end, ok := t.ends[number]; ok {
		end()
		delete(t.ends, number)
	}
}
