package fabric

import (
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
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

func TestANodeOfAnotherVersionIsTurnedAway(t *testing.T) {
	one, other := net.Pipe()
	defer one.Close()
	c := Coordinator{Nodes: 2}
	go func() {
		c.welcome(t.Context(), other, make(chan *peer, 1))
		_ = other.Close()
	}()
	w := newWire(one)
	if err := w.send(message{Hello: &hello{Version: wireVersion + 1, Nodes: 2}}); err != nil {
		t.Fatal(err)
	}
	if m, err := w.receive(); err != nil || m.Refused != "its version speaks 2, and this one 1: use one image for all" {
		t.Errorf("%+v, %v", m, err)
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
