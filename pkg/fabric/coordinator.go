package fabric

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// A Coordinator has nodes test the ways between them.
type Coordinator struct {
	Nodes int
	// Wait is how long the nodes may take to come. Those that did not are
	// reported.
	Wait time.Duration
	// Within bounds each run of perftest.
	Within time.Duration
	// AtOnce is how many rails of a pair are tested at the same time, 0 for all.
	AtOnce int
	Load   Load
	Limits Limits
	// Program is what the report says has made it.
	Program string
	Log     *slog.Logger
}

// grace is what a node may need beyond the time of a task, to end perftest and to
// say so.
const grace = 5 * time.Second

// Run waits for the nodes, one of which may be in this process, has them test each
// other and tells them what came of it. It closes the listener.
func (c *Coordinator) Run(ctx context.Context, in net.Listener) *Report {
	started := time.Now()
	peers := c.gather(ctx, in)
	r := c.newReport(started, peers)
	rounds := Rounds(c.Nodes)
	for number, round := range rounds {
		c.Log.Info("round", "number", number+1, "of", len(rounds))
		for _, step := range []step{{what: c.latency()}, {what: writeBandwidth}, {what: c.latency(), cross: true}} {
			c.all(ctx, peers, round, step, r)
		}
	}
	for rank, p := range peers {
		if p != nil {
			r.Nodes[rank].Rails = p.rails()
		}
	}
	r.judge(c.Limits)
	r.Seconds = time.Since(started).Round(time.Second / 10).Seconds()
	for _, p := range peers {
		if p != nil {
			_ = p.wire.send(message{End: &end{r.Verdict}})
			p.leave()
		}
	}
	return r
}

func (c *Coordinator) latency() string {
	if c.Load.ReadLatency {
		return readLatency
	}
	return writeLatency
}

// A step is one program over all rails of all pairs of a round: while latency is
// measured nobody measures bandwidth.
type step struct {
	what  string
	cross bool
}

func (c *Coordinator) all(ctx context.Context, peers []*peer, round []Pair, s step, r *Report) {
	var done sync.WaitGroup
	defer done.Wait()
	for _, pair := range round {
		tests := r.of(pair, s.cross)
		atOnce := c.AtOnce
		if atOnce == 0 {
			atOnce = len(tests)
		}
		turns := make(chan struct{}, max(1, atOnce))
		for _, t := range tests {
			if t.Error != "" {
				continue // its latency could not be measured
			}
			if ctx.Err() != nil {
				t.Error = "not tested: the test was ended"
				continue
			}
			done.Go(func() {
				turns <- struct{}{}
				defer func() { <-turns }()
				m, err := c.test(ctx, peers[t.From], peers[t.To], t, s.what)
				if err != nil {
					t.Error = err.Error()
					c.Log.Info("failed", "test", t.String(), "err", err)
				}
				t.take(m)
			})
		}
	}
}

// test runs both sides of one test. When it returns neither runs any more: the next
// test of these NICs must not meet them.
func (c *Coordinator) test(ctx context.Context, client, server *peer, t *Test, program string) (Measurement, error) {
	within := c.Within
	if t.Cross { // where there is no way, nobody may say so
		within /= 3
	}
	ctx, cancel := context.WithTimeoutCause(ctx, within+grace, fmt.Errorf("a node did not answer in %s", within+grace))
	defer cancel()
	at := server.addressFor(client)
	serving := server.begin(task{Program: program, Rail: t.ToRail, Load: c.Load, Serve: true, Server: at.String(), Within: within})
	defer serving.settle()
	var port int
	select {
	case port = <-serving.listening:
	case <-serving.done:
		if err := serving.failure(); err != nil {
			return Measurement{}, err
		}
		return Measurement{}, fmt.Errorf("%s: perftest's server ended before its client came", server.hello.Name)
	case <-ctx.Done():
		return Measurement{}, context.Cause(ctx)
	}
	asking := client.begin(task{Program: program, Rail: t.FromRail, Load: c.Load, Server: at.String(), Port: port, Within: within})
	defer asking.settle()
	select {
	case <-asking.done:
	case <-ctx.Done():
		return Measurement{}, context.Cause(ctx)
	}
	err := asking.failure()
	if err == nil {
		return asking.result.Measurement, nil
	}
	// Each side sees its own half of a failure.
	if serving.ends(patience) && serving.failure() != nil && serving.result.Error != asking.result.Error {
		err = fmt.Errorf("%w; %w", err, serving.failure())
	}
	return Measurement{}, err
}

// patience is how long one side may go on when the other has ended.
const patience = time.Second

// gather lets nodes in until all have come or the wait is over. A later one is
// turned away.
func (c *Coordinator) gather(ctx context.Context, in net.Listener) []*peer {
	ctx, cancel := context.WithTimeout(ctx, c.Wait)
	defer cancel()
	arrivals := make(chan *peer)
	go func() {
		for {
			conn, err := in.Accept()
			if err != nil {
				return // closed
			}
			go c.welcome(ctx, conn, arrivals)
		}
	}()
	defer func() { _ = in.Close() }()
	peers := make([]*peer, c.Nodes)
	for missing := c.Nodes; missing > 0; {
		select {
		case p := <-arrivals:
			if there := peers[p.hello.Rank]; there != nil && !there.isGone() {
				p.refuse(fmt.Sprintf("%s has rank %d already", there.hello.Name, p.hello.Rank))
				continue
			} else if there == nil {
				missing--
			}
			peers[p.hello.Rank] = p
			go p.listen()
			c.Log.Info("a node came", "rank", p.hello.Rank, "node", p.hello.Name, "rails", len(p.hello.Rails), "missing", missing)
		case <-ctx.Done():
			return peers
		}
	}
	return peers
}

// mostRails bounds what a node may say of itself.
const mostRails = 64

// welcome hears who has connected. Who says nothing has no place here.
func (c *Coordinator) welcome(ctx context.Context, conn net.Conn, arrivals chan<- *peer) {
	p := &peer{wire: newWire(conn), jobs: map[int]*job{}}
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	m, err := p.wire.receive()
	switch {
	case err != nil || m.Hello == nil:
		p.refuse("it did not say hello")
		return
	case m.Hello.Version != wireVersion:
		p.refuse(fmt.Sprintf("its version speaks %d, and this one %d: use one image for all", m.Hello.Version, wireVersion))
		return
	case m.Hello.Nodes != c.Nodes || m.Hello.Rank < 0 || m.Hello.Rank >= c.Nodes:
		p.refuse(fmt.Sprintf("it is %d of %d nodes, and there are %d", m.Hello.Rank, m.Hello.Nodes, c.Nodes))
		return
	case len(m.Hello.Rails) > mostRails:
		p.refuse(fmt.Sprintf("it has %d rails, and %d are the most: name those to test", len(m.Hello.Rails), mostRails))
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	p.hello = *m.Hello
	select {
	case arrivals <- p:
	case <-ctx.Done():
		p.refuse("the test has begun")
	}
}

// A peer is a node as the coordinator knows it.
type peer struct {
	wire  *wire
	hello hello

	mu   sync.Mutex // guards all following fields, and hello.Rails
	gone error
	jobs map[int]*job
	last int
}

// A job is a task at a node.
type job struct {
	peer      *peer
	number    int
	rail      int
	listening chan int
	done      chan struct{}
	result    result // once done is closed
}

// begin gives the node a task. Whatever happens, there is a result, unless the node
// does not answer.
func (p *peer) begin(t task) *job {
	p.mu.Lock()
	p.last++
	t.Number = p.last
	j := &job{peer: p, number: t.Number, rail: t.Rail, listening: make(chan int, 1), done: make(chan struct{})}
	p.jobs[j.number] = j
	gone := p.gone
	p.mu.Unlock()
	if gone == nil {
		gone = p.wire.send(message{Task: &t})
	}
	if gone != nil {
		p.finish(result{Number: j.number, Error: "it went away: " + gone.Error()})
	}
	return j
}

// ends tells whether a job is done, or is so within a time.
func (j *job) ends(within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-j.done:
		return true
	case <-timer.C:
		return false
	}
}

// settle has a job end, by itself or not.
func (j *job) settle() {
	if !j.ends(patience) {
		_ = j.peer.wire.send(message{Stop: j.number})
		_ = j.ends(grace) // what a node does that does not answer nobody knows
	}
}

// failure is why a job that is done failed.
func (j *job) failure() error {
	if j.result.Error == "" {
		return nil
	}
	return fmt.Errorf("%s: %s", j.peer.hello.Name, j.result.Error)
}

// listen takes what the node says until it leaves.
func (p *peer) listen() {
	for {
		m, err := p.wire.receive()
		switch {
		case err != nil:
			p.left(err)
			return
		case m.Listening != nil:
			p.mu.Lock()
			j := p.jobs[m.Listening.Number]
			p.mu.Unlock()
			if j != nil {
				select {
				case j.listening <- m.Listening.Port:
				default: // said twice
				}
			}
		case m.Result != nil:
			p.finish(*m.Result)
		}
	}
}

func (p *peer) finish(r result) {
	p.mu.Lock()
	j := p.jobs[r.Number]
	delete(p.jobs, r.Number)
	p.mu.Unlock()
	if j == nil {
		return
	}
	if r.Rail != nil {
		p.update(j.rail, *r.Rail)
	}
	j.result = r
	close(j.done)
}

func (p *peer) left(why error) {
	p.mu.Lock()
	p.gone = why
	var open []int
	for number := range p.jobs {
		open = append(open, number)
	}
	p.mu.Unlock()
	for _, number := range open {
		p.finish(result{Number: number, Error: "it went away: " + why.Error()})
	}
}

func (p *peer) isGone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone != nil
}

func (p *peer) refuse(why string) {
	_ = p.wire.send(message{Refused: why})
	p.leave()
}

func (p *peer) leave() { _ = p.wire.conn.Close() }

func (p *peer) rails() []Rail {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.hello.Rails)
}

// update is how a NIC is now that the node had a task for.
func (p *peer) update(rail int, now Rail) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hello.Rails[rail] = now
}

// addressFor is where another node reaches this one: where it came from; or, if
// that is this machine, where the other one found this machine.
func (p *peer) addressFor(other *peer) netip.Addr {
	at := addressOf(p.wire.conn.RemoteAddr())
	if at.IsLoopback() {
		return addressOf(other.wire.conn.LocalAddr())
	}
	return at
}

func addressOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// Check says what of the settings cannot be.
func (c *Coordinator) Check() error {
	if !slices.Contains([]string{CrossTold, CrossWorks, CrossApart, CrossOff}, c.Limits.Cross) {
		return fmt.Errorf("%q is nothing to make of a way between rails: use told, works, apart or off", c.Limits.Cross)
	}
	if least := time.Duration(c.Load.Seconds) * time.Second; c.Within <= least {
		return fmt.Errorf("%s for a run of perftest is too short: its bandwidth takes %s", c.Within, least)
	}
	if c.AtOnce < 0 || c.Limits.Latency < 0 {
		return errors.New("how many rails, and how slow, cannot be negative")
	}
	return c.Load.check()
}
