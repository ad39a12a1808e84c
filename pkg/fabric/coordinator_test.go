package fabric

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestSettingsThatCannotBeAreRefused(t *testing.T) {
	good := Coordinator{Nodes: 2, Within: 4 * time.Second, Limits: Limits{Cross: CrossOff}, Load: Load{Iterations: 5, Seconds: 3, Size: 64, QPTimeout: 14}}
	for _, cross := range []string{CrossTold, CrossWorks, CrossApart, CrossOff} {
		c := good
		if c.Limits.Cross = cross; c.Check() != nil {
			t.Error(c.Check())
		}
	}
	for want, change := range map[string]func(*Coordinator){
		`"never" is nothing to make of a way between rails: use told, works, apart or off`: func(c *Coordinator) { c.Limits.Cross = "never" },
		"3s for a run of perftest is too short: its bandwidth takes 3s":                    func(c *Coordinator) { c.Within = 3 * time.Second },
		"how many rails, and how slow, cannot be negative":                                 func(c *Coordinator) { c.AtOnce = -1 },
		"how many rails, and how slow, cannot be negative ":                                func(c *Coordinator) { c.Limits.Latency = -0.5 },
		"0 is no size: use 1 to 8388608":                                                   func(c *Coordinator) { c.Load.Size = 0 },
	} {
		c := good
		change(&c)
		if err := c.Check(); err == nil || err.Error() != strings.TrimSpace(want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// A fakeConn is one whose ends have these addresses.
type fakeConn struct {
	net.Conn
	local, remote string
}

func (c fakeConn) LocalAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.local))
}
func (c fakeConn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.remote))
}

// The first node is in the coordinator's own process, and so comes from this machine.
func TestANodeIsReachedWhereItCameFromOrWhereTheOtherOneFoundThisMachine(t *testing.T) {
	here := &peer{wire: newWire(fakeConn{nil, "127.0.0.1:7471", "127.0.0.1:40001"})}
	a := &peer{wire: newWire(fakeConn{nil, "[::ffff:10.0.0.1]:7471", "[::ffff:10.0.0.2]:40002"})}
	b := &peer{wire: newWire(fakeConn{nil, "[fd00::1]:7471", "[fd00::3]:40003"})}
	for _, tt := range []struct {
		server, client *peer
		want           string
	}{{a, b, "10.0.0.2"}, {b, a, "fd00::3"}, {a, here, "10.0.0.2"}, {here, a, "10.0.0.1"}, {here, b, "fd00::1"}} {
		if got := tt.server.addressFor(tt.client); got.String() != tt.want {
			t.Errorf("%s, want %s", got, tt.want)
		}
	}
}

// What a test began with may be another NIC by its end.
func TestAReportHasEachNICAsItWasAfterItsLastTest(t *testing.T) {
	s := newSite(t, 2, 2)
	one, other := net.Pipe()
	defer one.Close()
	at := &taking{s.nodes[0], []string{"net1", "net2"}}
	s.must(s.trees[0].SetPort(hca(1), "DOWN", "Disabled"))
	go func() {
		defer other.Close()
		at.work(t.Context(), newWire(other), task{Number: 7, Program: writeLatency, Rail: 1, Load: s.coordinator.Load, Server: "10.0.0.1", Port: 1})
	}()
	m, err := newWire(one).receive()
	s.must(err)
	if r := m.Result; r == nil || r.Number != 7 || r.Rail == nil || r.Rail.Netdev != "net2" || r.Rail.State != "DOWN" || !strings.HasPrefix(r.Error, "net2: the port of mlx5_1 is DOWN") {
		t.Fatalf("%+v", m.Result)
	}
	p := &peer{hello: hello{Rails: []Rail{{Netdev: "net1"}, {Netdev: "net2", State: "ACTIVE"}}}, jobs: map[int]*job{}}
	j := &job{peer: p, number: 7, rail: 1, done: make(chan struct{})}
	p.jobs[7] = j
	p.finish(*m.Result)
	if rails := p.rails(); rails[1].State != "DOWN" || rails[0].State != "" || len(p.jobs) != 0 || !j.ends(0) && j.result.Number != 7 {
		t.Errorf("%+v", rails)
	}
}

func TestLatencyIsMeasuredByReadsIfTheLoadSaysSo(t *testing.T) {
	for reads, want := range map[bool]Measurement{true: {Typical: 3582.16, Tail: 15489.69}, false: {Typical: 5012.65, Tail: 25747.74}} {
		s := newSite(t, 2, 1)
		s.coordinator.Load.ReadLatency = reads
		if m := s.test().Tests[0]; m.Typical != want.Typical || m.Tail != want.Tail || m.Bandwidth != 0.077603 {
			t.Errorf("reads %v: %+v", reads, *m)
		}
	}
}

func TestNoMoreRailsAreTestedAtOnceThanTheSettingsSay(t *testing.T) {
	s := newSite(t, 2, 4)
	s.coordinator.AtOnce, s.coordinator.Limits.Cross = 1, CrossOff
	s.expect(s.test(), Passed)
	for rank := range s.nodes {
		if beside, _ := filepath.Glob(filepath.Join(s.nodes[rank].Programs, "beside *")); len(beside) > 0 {
			t.Errorf("rails at the same time as others: %q", beside)
		}
	}
}

func TestWhoMayTakePartIsOneOfTheNodesWithNoMoreRailsThanCanBeTested(t *testing.T) {
	most := make([]Rail, mostRails)
	for want, h := range map[string]*hello{
		"":                     {Version: wireVersion, Nodes: 2, Rank: 1, Rails: most},
		"it did not say hello": nil,
		"its version speaks 2, and this one 1: use one image for all": {Version: wireVersion + 1, Nodes: 2},
		"it is 2 of 2 nodes, and there are 2":                         {Version: wireVersion, Nodes: 2, Rank: 2},
		"it is -1 of 2 nodes, and there are 2":                        {Version: wireVersion, Nodes: 2, Rank: -1},
		"it is 1 of 3 nodes, and there are 2":                         {Version: wireVersion, Nodes: 3, Rank: 1},
		"it has 65 rails, and 64 are the most: name those to test":    {Version: wireVersion, Nodes: 2, Rails: append(most, Rail{})},
		"the test has begun":                                          {Version: wireVersion, Nodes: 2},
	} {
		one, other := net.Pipe()
		ctx, end := context.WithCancel(t.Context())
		arrivals := make(chan *peer, 1)
		if want == "the test has begun" {
			end()
			arrivals = nil // nobody waits any more
		}
		go (&Coordinator{Nodes: 2}).welcome(ctx, other, arrivals)
		w := newWire(one)
		if err := errors.Join(one.SetDeadline(time.Now().Add(time.Minute)), w.send(message{Hello: h})); err != nil {
			t.Fatal(err)
		}
		if want == "" {
			select {
			case <-arrivals:
			case <-time.After(20 * time.Second):
				t.Error("a node that may take part is not let in")
			}
		} else if m, err := w.receive(); m.Refused != want || err != nil {
			t.Errorf("%+v, %v, want %q", m, err, want)
		} else if m, err := w.receive(); !errors.Is(err, io.EOF) { // the connection ends
			t.Errorf("%q: then %+v, %v", want, m, err)
		}
		end()
		one.Close()
	}
}

func TestANodeThatTalksNonsenseIsGone(t *testing.T) {
	one, other := net.Pipe()
	p := &peer{wire: newWire(other), jobs: map[int]*job{}}
	jobs := []*job{{peer: p, done: make(chan struct{})}, {peer: p, done: make(chan struct{})}}
	for number, j := range jobs {
		p.jobs[number] = j
	}
	go func() {
		_, _ = one.Write([]byte("GET / HTTP/1.1\r\n"))
		_ = one.Close()
	}()
	if p.listen(); p.gone == nil || !strings.HasPrefix(p.gone.Error(), "not a message: ") {
		t.Errorf("%v", p.gone)
	}
	for _, j := range jobs {
		<-j.done
		if !strings.HasPrefix(j.result.Error, "it went away: not a message: ") {
			t.Errorf("%+v", j.result)
		}
	}
}

// A fakeNode answers each message of the coordinator as a test says, and notes it.
type fakeNode struct {
	*peer
	heard []string
}

func newFakeNode(name string, done *sync.WaitGroup, answers func(message) []message) *fakeNode {
	one, other := net.Pipe()
	n := &fakeNode{peer: &peer{wire: newWire(one), hello: hello{Name: name}, jobs: map[int]*job{}}}
	done.Go(n.listen)
	done.Go(func() {
		for w := newWire(other); ; {
			m, err := w.receive()
			if err != nil {
				return
			}
			if m.Task != nil {
				n.heard = append(n.heard, fmt.Sprintf("%s %d rail %d serve %v port %d within %s", m.Task.Program, m.Task.Number, m.Task.Rail, m.Task.Serve, m.Task.Port, m.Task.Within))
			} else {
				n.heard = append(n.heard, fmt.Sprint("stop ", m.Stop))
			}
			for i, answer := range answers(m) {
				if i > 0 {
					time.Sleep(100 * time.Millisecond) // of the test's own time
				}
				_ = w.send(answer)
			}
		}
	})
	return n
}

func TestATestIsWhatItsTwoSidesSay(t *testing.T) {
	listens, ends := message{Listening: &listening{1, 777}}, message{Result: &result{Number: 1}}
	failed := func(why string) message { return message{Result: &result{Number: 1, Error: why}} }
	measured := message{Result: &result{Number: 1, Measurement: Measurement{Typical: 2}}}
	const serve, ask = "ib_write_lat 1 rail 2 serve true port 0 within 30s", "ib_write_lat 1 rail 1 serve false port 777 within 30s"
	for name, tt := range map[string]struct {
		server, client []message // to their tasks; both end when they are told to stop
		want           string
		serves, asks   string // what they are told
	}{
		"all is well":              {[]message{listens}, []message{measured}, "{2 0 0 0} <nil>", serve + ", stop 1", ask},
		"it listens, and says so":  {[]message{listens, listens, listens, ends}, []message{measured}, "{2 0 0 0} <nil>", serve, ask},
		"the client fails":         {[]message{listens}, []message{failed("no way")}, "{0 0 0 0} a: no way", serve + ", stop 1", ask},
		"both fail":                {[]message{listens, failed("no answer")}, []message{failed("no way")}, "{0 0 0 0} a: no way; b: no answer", serve, ask},
		"both fail, in one word":   {[]message{listens, failed("no way")}, []message{failed("no way")}, "{0 0 0 0} a: no way", serve, ask},
		"the server fails":         {[]message{failed("no device")}, nil, "{0 0 0 0} b: no device", serve, ""},
		"the server ends":          {[]message{ends}, nil, "{0 0 0 0} b: perftest's server ended before its client came", serve, ""},
		"the server does nothing":  {nil, nil, "{0 0 0 0} a node did not answer in 35s", serve + ", stop 1", ""},
		"the client does nothing":  {[]message{listens}, nil, "{0 0 0 0} a node did not answer in 35s", serve + ", stop 1", ask + ", stop 1"},
		"a server of another task": {[]message{{Listening: &listening{2, 7}}, {Result: &result{Number: 2}}, listens}, []message{measured}, "{2 0 0 0} <nil>", serve + ", stop 1", ask},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var done sync.WaitGroup
				side := func(name string, answers []message) *fakeNode {
					return newFakeNode(name, &done, func(m message) []message {
						if m.Stop != 0 {
							return []message{ends}
						}
						return answers
					})
				}
				client, server := side("a", tt.client), side("b", tt.server)
				c := Coordinator{Within: 30 * time.Second}
				m, err := c.test(t.Context(), client.peer, server.peer, &Test{FromRail: 1, ToRail: 2}, writeLatency)
				client.leave()
				server.leave()
				done.Wait()
				if got := fmt.Sprint(m, " ", err); got != tt.want {
					t.Errorf("%s, want %s", got, tt.want)
				}
				if serves, asks := strings.Join(server.heard, ", "), strings.Join(client.heard, ", "); serves != tt.serves || asks != tt.asks {
					t.Errorf("the server heard %q, the client %q", serves, asks)
				}
			})
		})
	}
}

func TestThisMachinesOwnNetdevsAreSeen(t *testing.T) {
	lo, err := Here().Netdev("lo")
	if err != nil {
		t.Skip(err)
	}
	mtu, err := os.ReadFile("/sys/class/net/lo/mtu")
	if err != nil {
		t.Fatal(err)
	}
	var want int
	if err := json.Unmarshal(mtu, &want); err != nil {
		t.Fatal(err)
	}
	all, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	addresses, err := all.Addrs()
	if err != nil || lo.MTU != want || len(lo.Addresses) != len(addresses) {
		t.Errorf("%+v, %v, %v", lo, addresses, err)
	}
	if _, err := Here().Netdev("none"); err == nil {
		t.Error("a netdev that is not there is seen")
	}
}
