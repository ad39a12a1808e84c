package fabric

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// The test's own program stands in for perftest where it is called so. It does what
// perftest does as far as others see it: the server listens and waits for one
// client, the client writes a report.
func TestMain(m *testing.M) {
	if name := filepath.Base(os.Args[0]); strings.HasPrefix(name, "ib_") {
		os.Exit(standIn(name, filepath.Dir(os.Args[0]), os.Args[1:]))
	}
	os.Exit(m.Run())
}

// standIn finds in the node's folder what is to happen: the file "fail DEVICE" for a
// failure, "hang DEVICE" for a client that does not end, "first DEVICE" and "second
// DEVICE" for two that wait for each other. A NIC that is in two tests at once leaves
// the file "twice DEVICE", one that is in a test at the same time as another "beside
// DEVICE". The file "runs" has what was run.
func standIn(name, folder string, args []string) int {
	value := func(flag string) string { return args[slices.Index(args, flag)+1] }
	device, port := value("-d"), value("-p")
	if runs, err := os.OpenFile(filepath.Join(folder, "runs"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err == nil {
		_, _ = fmt.Fprintln(runs, name, strings.Join(args, " "))
		_ = runs.Close()
	}
	busy := filepath.Join(folder, "busy "+device)
	if other, err := os.ReadFile(busy); err == nil && len(other) > 0 {
		if _, err := os.Stat("/proc/" + string(other)); err == nil { // not killed
			_ = os.WriteFile(filepath.Join(folder, "twice "+device), nil, 0o600)
		}
	}
	_ = os.WriteFile(busy, []byte(strconv.Itoa(os.Getpid())), 0o600)
	defer os.Remove(busy)
	others, _ := filepath.Glob(filepath.Join(folder, "busy *"))
	for _, other := range others {
		pid, _ := os.ReadFile(other)
		if _, err := os.Stat("/proc/" + string(pid)); other != busy && len(pid) > 0 && err == nil {
			_ = os.WriteFile(filepath.Join(folder, "beside "+device), nil, 0o600)
		}
	}
	there := func(what string) bool {
		_, err := os.Stat(filepath.Join(folder, what+" "+device))
		return err == nil
	}
	report := slices.IndexFunc(args, func(a string) bool { return strings.HasPrefix(a, "--out_json_file=") })
	if report < 0 {
		in, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		conn, err := in.Accept()
		if err == nil {
			_, _ = bufio.NewReader(conn).ReadString('\n')
			conn.Close()
		}
		return 0
	}
	conn, err := net.Dial("tcp", net.JoinHostPort(args[len(args)-1], port))
	if err != nil {
		fmt.Println("Couldn't connect to", args[len(args)-1]+":"+port)
		return 1
	}
	defer conn.Close()
	if there("hang") {
		time.Sleep(time.Minute)
	}
	for what, flag := range map[string]int{"first": os.O_WRONLY, "second": os.O_RDONLY} {
		if there(what) {
			_, _ = os.OpenFile(filepath.Join(folder, "meeting"), flag, 0)
		}
	}
	if there("fail") {
		fmt.Print("-----\n table\n-----\n")
		fmt.Fprint(os.Stderr, " Completion with error at client\n Failed status 12: wr_id 0 syndrom 0x81\n")
		return 1
	}
	b, err := os.ReadFile(filepath.Join(folder, "testdata", name+".json"))
	if err == nil {
		err = os.WriteFile(strings.TrimPrefix(args[report], "--out_json_file="), b, 0)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// A site is nodes on this machine, with simulated NICs.
type site struct {
	*testing.T
	nodes       []*Node
	trees       []*sysfs.Tree
	netdevs     []map[string]Netdev
	coordinator Coordinator
	log         *strings.Builder
	errs        []error
}

func newSite(t *testing.T, nodes, rails int) *site {
	t.Helper()
	s := &site{T: t, log: &strings.Builder{}}
	log := slog.New(slog.NewTextHandler(&lockedWriter{w: s.log}, nil))
	s.coordinator = Coordinator{Nodes: nodes, Wait: time.Minute, Within: 30 * time.Second, Log: log, Program: "test",
		Load: Load{Iterations: 5, Seconds: 1, Size: 64, QPTimeout: 14}, Limits: Limits{Cross: CrossTold}}
	self, err := os.Executable()
	s.must(err)
	testdata, err := filepath.Abs("testdata")
	s.must(err)
	for rank := range nodes {
		tree, err := sysfs.New(t.TempDir())
		s.must(err)
		netdevs := map[string]Netdev{}
		programs := t.TempDir()
		for _, name := range []string{writeLatency, readLatency, writeBandwidth} {
			s.must(os.Symlink(self, filepath.Join(programs, name)))
		}
		s.must(os.Symlink(testdata, filepath.Join(programs, "testdata")))
		for rail := range rails {
			h := hca(rail)
			address := netip.AddrFrom4([4]byte{10, 0, byte(rail), byte(rank + 1)})
			s.must(tree.Add(h))
			s.must(tree.SetPort(h, "ACTIVE", "LinkUp"))
			s.gid(tree, h, 3, "RoCE v2", fmt.Sprintf("0000:0000:0000:0000:0000:ffff:0a00:%02x%02x", rail, rank+1))
			s.must(os.WriteFile(filepath.Join(tree.PortDir(h), "rate"), []byte("400 Gb/sec (4X NDR)\n"), 0o600))
			netdevs[h.Netdev] = Netdev{MTU: 9000, Addresses: []netip.Addr{netip.MustParseAddr("fe80::1"), address}}
		}
		s.trees, s.netdevs = append(s.trees, tree), append(s.netdevs, netdevs)
		s.nodes = append(s.nodes, &Node{Rank: rank, Nodes: nodes, Name: fmt.Sprintf("node-%c", 'a'+rank), Wait: time.Minute,
			Programs: programs, FirstPort: 20000 + 100*rank, Log: log,
			Place: Place{rdma.Node{Sys: tree.Sys(), Dev: tree.Dev()}, func(name string) (Netdev, error) {
				n, ok := netdevs[name]
				if !ok {
					return n, fmt.Errorf("no netdev %s", name)
				}
				return n, nil
			}}})
	}
	return s
}

// hca is the NIC of a rail, as a pod sees it.
func hca(rail int) sysfs.HCA {
	h := sysfs.MLX5(rail)
	h.Netdev = fmt.Sprintf("net%d", rail+1)
	return h
}

// gid fills the table of a port up to an index.
func (s *site) gid(tree *sysfs.Tree, h sysfs.HCA, index int, kind, gid string) {
	s.Helper()
	for _, folder := range []string{"gids", "gid_attrs/types"} {
		s.must(os.MkdirAll(filepath.Join(tree.PortDir(h), folder), 0o700))
	}
	for i := range index + 1 {
		text, of := "0000:0000:0000:0000:0000:0000:0000:0000", "IB/RoCE v1"
		if i == index {
			text, of = gid, kind
		}
		s.must(os.WriteFile(filepath.Join(tree.PortDir(h), "gids", fmt.Sprint(i)), []byte(text+"\n"), 0o600))
		s.must(os.WriteFile(filepath.Join(tree.PortDir(h), "gid_attrs/types", fmt.Sprint(i)), []byte(of+"\n"), 0o600))
	}
}

func (s *site) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// on has the stand-in of a node do something with a device.
func (s *site) on(rank int, what string, rail int) {
	s.must(os.WriteFile(filepath.Join(s.nodes[rank].Programs, what+" "+hca(rail).RDMA), nil, 0o600))
}

// test runs the nodes, without those that stay away.
func (s *site) test(away ...int) *Report {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 5*time.Minute) // each run of a stand-in is a process
	defer cancel()
	in, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	s.errs = make([]error, len(s.nodes))
	verdicts := make([]Verdict, len(s.nodes))
	var done sync.WaitGroup
	for rank, n := range s.nodes {
		if slices.Contains(away, rank) {
			continue
		}
		n.Coordinator = in.Addr().String()
		done.Go(func() {
			verdicts[rank], s.errs[rank] = n.Run(ctx)
		})
	}
	r := s.coordinator.Run(ctx, in)
	if conn, err := net.Dial("tcp", in.Addr().String()); err == nil {
		s.Error("the coordinator still lets nodes in")
		conn.Close()
	}
	done.Wait()
	for rank := range s.nodes {
		if s.errs[rank] == nil && !slices.Contains(away, rank) && verdicts[rank] != r.Verdict {
			s.Errorf("%s hears %q, and it was %q", s.nodes[rank].Name, verdicts[rank], r.Verdict)
		}
		if twice, _ := filepath.Glob(filepath.Join(s.nodes[rank].Programs, "twice *")); len(twice) > 0 {
			s.Errorf("NICs in two tests at once: %q", twice)
		}
	}
	return r
}

// findings are a line each.
func findings(r *Report) (lines []string) {
	for _, f := range r.Findings {
		lines = append(lines, fmt.Sprintf("%s: %s: %s", f.Verdict, f.Where, f.What))
	}
	return lines
}

func (s *site) expect(r *Report, verdict Verdict, want ...string) {
	s.Helper()
	have := findings(r)
	if r.Verdict != verdict || len(have) != len(want) {
		s.Errorf("%s, %q", r.Verdict, have)
		return
	}
	for i := range want {
		if !strings.Contains(have[i], want[i]) {
			s.Errorf("have %s\nwant %s", have[i], want[i])
		}
	}
}

type lockedWriter struct {
	mu sync.Mutex
	w  *strings.Builder
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func TestAllWaysBetweenHealthyNodesAreTested(t *testing.T) {
	s := newSite(t, 5, 3)
	r := s.test()
	s.expect(r, Passed)
	straight, crossed := 0, 0
	for _, m := range r.Tests {
		if m.Cross {
			crossed++
		} else {
			straight++
		}
		if m.Verdict != Passed || m.Typical == 0 || m.MTU != 4096 || (m.Bandwidth == 0) != m.Cross {
			t.Errorf("%s: %+v", m, *m)
		}
	}
	if straight != 10*3 || crossed != 10 {
		t.Errorf("%d tests and %d canaries", straight, crossed)
	}
	for _, err := range s.errs {
		s.must(err)
	}
	if whole, tenths, _ := strings.Cut(fmt.Sprint(r.Seconds), "."); whole+tenths == "0" || len(tenths) > 1 {
		t.Errorf("it took %v s", r.Seconds)
	}
	if rail := r.Nodes[2].Rails[1]; rail.GIDIndex != 3 || rail.IP.String() != "10.0.1.3" || rail.Rate != 400 || rail.Netdev != "net2" || rail.PCI == "" {
		t.Errorf("%+v", rail)
	}
}

func TestACutRailIsTheOnlyOneThatFailsAndItsEndIsNamed(t *testing.T) {
	s := newSite(t, 2, 3)
	s.must(s.trees[1].SetPort(hca(1), "DOWN", "Disabled"))
	s.expect(s.test(), Failed, "failed: node-b rail 1 (net2): the port of mlx5_1 is DOWN: look at cable")
}

func TestANICThatFailsWithAllIsToBlameAndNoOther(t *testing.T) {
	s := newSite(t, 4, 2)
	s.on(2, "fail", 0)
	r := s.test()
	failed := 0
	for _, m := range r.Tests {
		if m.Verdict == Failed {
			failed++
			if m.From != 2 || m.FromRail != 0 {
				t.Errorf("%s failed", m)
			}
		}
	}
	for _, m := range r.Tests {
		if strings.Contains(m.Error, "%!") {
			t.Error(m.Error)
		}
	}
	if failed == 0 || r.Verdict != Failed || !strings.Contains(r.Findings[0].What, "Completion with error at client; Failed status 12") {
		t.Errorf("%d failed, %q", failed, findings(r))
	}
}

func TestANodeThatDoesNotComeIsReportedAndNotWaitedForForEver(t *testing.T) {
	s := newSite(t, 3, 1)
	s.coordinator.Wait = 3 * time.Second
	r := s.test(1)
	s.expect(r, Failed, "failed: node 1: it did not come in 3s")
	passed := 0
	for _, m := range r.Tests {
		if m.Verdict == Passed {
			passed++
		} else if m.Error != "not tested: node 1 did not come" {
			t.Errorf("%s: %s", m, m.Error)
		}
	}
	if passed != 1 || r.nics[NIC{0, 0}].Verdict != Passed || r.nics[NIC{1, 0}].Verdict != Failed {
		t.Errorf("%d passed, %+v", passed, r.nics)
	}
}

func TestATestThatDoesNotEndIsEnded(t *testing.T) {
	s := newSite(t, 2, 2)
	// What does not hang has to be done in it, on a busy machine, too.
	s.coordinator.Within, s.coordinator.Limits.Cross = 8*time.Second, CrossOff
	s.on(0, "hang", 1)
	s.on(1, "hang", 1)
	s.expect(s.test(), Failed, "rail 1 (net2): node-")
}

func TestANodeThatGoesAwayMidwayKeepsNobody(t *testing.T) {
	s := newSite(t, 3, 1)
	s.on(0, "hang", 0)
	s.on(1, "hang", 0)
	s.on(2, "hang", 0)
	s.coordinator.Within = 8 * time.Second
	ctx, leave := context.WithTimeout(t.Context(), 5*time.Second)
	defer leave()
	in, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	var done sync.WaitGroup
	for rank, n := range s.nodes {
		n.Coordinator = in.Addr().String()
		ctx := ctx
		if rank != 2 {
			ctx = t.Context()
		}
		done.Go(func() { _, _ = n.Run(ctx) })
	}
	r := s.coordinator.Run(t.Context(), in)
	done.Wait()
	if !strings.Contains(strings.Join(findings(r), "\n"), "node-c: it went away") {
		t.Errorf("%q", findings(r))
	}
}

func TestASmallMTUIsExplainedOnBothEnds(t *testing.T) {
	s := newSite(t, 3, 2)
	s.netdevs[1]["net2"] = Netdev{MTU: 1500, Addresses: s.netdevs[1]["net2"].Addresses}
	r := s.test()
	s.expect(r, Slow, "slow: node-b rail 1 (net2): MTU 1500: RoCE packets of 1024 bytes (active_mtu), where others have MTU 9000 and 4096 bytes")
	if r.Findings[0].Tests != 2 || r.nics[NIC{1, 1}].Verdict != Slow || r.nics[NIC{0, 1}].Verdict != Passed {
		t.Errorf("%+v, %+v", r.Findings, r.nics)
	}
}

func TestACanaryIsJudgedAsTheSiteWants(t *testing.T) {
	for cross, want := range map[string]Verdict{CrossTold: Passed, CrossWorks: Passed, CrossApart: Failed, CrossOff: Passed} {
		s := newSite(t, 2, 2)
		s.coordinator.Limits.Cross = cross
		if r := s.test(); r.Verdict != want || (cross == CrossOff) != (len(r.Tests) == 2) {
			t.Errorf("%s: %s, %d tests", cross, r.Verdict, len(r.Tests))
		}
	}
	for cross, want := range map[string]Verdict{CrossTold: Apart, CrossWorks: Failed, CrossApart: Apart} {
		c := &Test{Cross: true, Error: "no way"}
		if c.judgeCanary(cross); c.Verdict != want {
			t.Errorf("%s without a way: %s", cross, c.Verdict)
		}
	}
}

// Packets that go nowhere have no answer that says so.
func TestACanaryWithoutAWayCostsAThirdOfTheTime(t *testing.T) {
	s := newSite(t, 2, 2)
	s.coordinator.Within = 12 * time.Second
	var cross *Test
	r := s.coordinator.newReport(time.Now(), []*peer{{hello: hello{Rails: make([]Rail, 2)}}, {hello: hello{Rails: make([]Rail, 2)}}})
	for _, m := range r.Tests {
		if m.Cross {
			cross = m
		}
	}
	s.on(cross.From, "hang", cross.FromRail)
	r = s.test()
	i := slices.IndexFunc(r.Tests, func(m *Test) bool { return m.Cross })
	if r.Tests[i].Verdict != Apart || !strings.Contains(r.Tests[i].Error, "was not done in 4s") {
		t.Errorf("%+v", *r.Tests[i])
	}
}

func TestWhoHasNoPlaceIsTurnedAwayWithTheReason(t *testing.T) {
	s := newSite(t, 2, 1)
	s.coordinator.Wait = 2 * time.Second
	in, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	ended := make(chan *Report)
	go func() { ended <- s.coordinator.Run(t.Context(), in) }()
	first := *s.nodes[0]
	first.Coordinator = in.Addr().String()
	go func() { _, _ = first.Run(t.Context()) }()
	time.Sleep(200 * time.Millisecond)
	many := slices.Repeat([]string{"net1"}, mostRails+1)
	for want, n := range map[string]Node{
		"it has 65 rails, and 64 are the most": {Rank: 1, Nodes: 2, Name: "b", Wait: time.Second, Place: s.nodes[1].Place, Log: s.nodes[1].Log, Rails: many},
		"node-a has rank 0 already":            *s.nodes[0],
		"it is 1 of 3 nodes, and there are 2":  {Rank: 1, Nodes: 3, Name: "c", Wait: time.Second, Place: s.nodes[1].Place, Log: s.nodes[1].Log},
		"it is 7 of 2 nodes, and there are 2":  {Rank: 7, Nodes: 2, Name: "d", Wait: time.Second, Place: s.nodes[1].Place, Log: s.nodes[1].Log},
	} {
		n.Coordinator = in.Addr().String()
		if _, err := n.Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	conn, err := net.Dial("tcp", in.Addr().String())
	s.must(err)
	defer conn.Close()
	_, _ = conn.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	if answer, _ := bufio.NewReader(conn).ReadString('\n'); !strings.Contains(answer, "it did not say hello") {
		t.Errorf("a browser is told %q", answer)
	}
	<-ended
}

// arrivals are the log lines about nodes that came.
type arrivals chan struct{}

func (a arrivals) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "a node came") {
		a <- struct{}{}
	}
	return len(b), nil
}

// Its pod failed, and Kubernetes made another.
func TestANodeThatComesAgainIsOneNode(t *testing.T) {
	s := newSite(t, 2, 1)
	came := make(arrivals, 9)
	s.coordinator.Log = slog.New(slog.NewTextHandler(came, nil))
	in, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	ended := make(chan *Report)
	go func() { ended <- s.coordinator.Run(t.Context(), in) }()
	for _, n := range s.nodes {
		n.Coordinator = in.Addr().String()
	}
	ctx, fail := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() { _, err := s.nodes[0].Run(ctx); failed <- err }()
	<-came
	fail()
	<-failed
	go func() {
		for turnedAway := true; turnedAway; { // until the coordinator knows
			_, err := s.nodes[0].Run(t.Context())
			turnedAway = err != nil && strings.Contains(err.Error(), "has rank 0 already")
		}
	}()
	<-came
	go func() { _, _ = s.nodes[1].Run(t.Context()) }()
	s.expect(<-ended, Passed)
}

func TestANodeGivesUpOnACoordinatorThatNeverComes(t *testing.T) {
	s := newSite(t, 2, 1)
	n := s.nodes[1]
	in, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	s.must(in.Close())
	n.Coordinator, n.Wait = in.Addr().String(), 300*time.Millisecond
	// The reason is the last try's, and not that the time is over.
	if _, err := n.Run(t.Context()); err == nil || !strings.Contains(err.Error(), n.Coordinator+" did not come in 300ms: dial tcp") || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v", err)
	}
	if said := strings.Count(s.log.String(), "waiting for the coordinator"); said != 1 {
		t.Errorf("said %d times:\n%s", said, s.log)
	}
	n.Coordinator = "nobody.invalid:7471"
	if _, err := n.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "nobody.invalid:7471 did not come in 300ms") {
		t.Errorf("%v", err)
	}
}

// The name of a pod is known some time after its pod has started.
func TestACoordinatorThatComesLaterIsFound(t *testing.T) {
	s := newSite(t, 2, 1)
	in, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	address := in.Addr().String()
	s.must(in.Close())
	var done sync.WaitGroup
	for _, n := range s.nodes {
		n.Coordinator = address
		done.Go(func() {
			if _, err := n.Run(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	in, err = net.Listen("tcp", address)
	s.must(err)
	s.expect(s.coordinator.Run(t.Context(), in), Passed)
	done.Wait()
}

func TestATestThatIsEndedSaysWhatWasNotTested(t *testing.T) {
	s := newSite(t, 4, 2)
	ctx, end := context.WithCancel(t.Context())
	in, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	for rank, n := range s.nodes {
		s.on(rank, "hang", 0)
		n.Coordinator = in.Addr().String()
		go func() { _, _ = n.Run(t.Context()) }()
	}
	time.AfterFunc(3*time.Second, end)
	begun := time.Now()
	r := s.coordinator.Run(ctx, in)
	if time.Since(begun) > s.coordinator.Within || !strings.Contains(strings.Join(findings(r), "\n"), "not tested: the test was ended") {
		t.Errorf("after %s: %q", time.Since(begun), findings(r))
	}
}

func TestEachSideRunsPerftestOverItsOwnNIC(t *testing.T) {
	s := newSite(t, 2, 2)
	s.expect(s.test(), Passed)
	const client = " --out_json --out_json_file=/dev/fd/3 127.0.0.1"
	var want [2][]string
	for _, run := range []struct{ from, to int }{{0, 0}, {1, 1}, {1, 0}} { // the last is the canary
		over := func(program string, rail int, load string) string {
			return fmt.Sprintf("%s -d mlx5_%d -i 1 -x 3 -p %d -u 14 --tclass=0 -F %s", program, rail, 20100+run.to, load)
		}
		want[0] = append(want[0], over("ib_write_lat", run.from, "-n 5")+client)
		want[1] = append(want[1], over("ib_write_lat", run.to, "-n 5"))
		if run.from == run.to {
			want[0] = append(want[0], over("ib_write_bw", run.from, "-D 1 -s 64 --report_gbits")+client)
			want[1] = append(want[1], over("ib_write_bw", run.to, "-D 1 -s 64 --report_gbits"))
		}
	}
	for rank, n := range s.nodes {
		b, err := os.ReadFile(filepath.Join(n.Programs, "runs"))
		s.must(err)
		runs := strings.Split(strings.TrimSpace(string(b)), "\n")
		slices.Sort(runs)
		if slices.Sort(want[rank]); !slices.Equal(runs, want[rank]) {
			t.Errorf("%s ran\n%s\nwant\n%s", n.Name, strings.Join(runs, "\n"), strings.Join(want[rank], "\n"))
		}
	}
}

func TestOfARailThatFailsNothingElseIsMeasured(t *testing.T) {
	s := newSite(t, 2, 1)
	s.on(0, "fail", 0)
	s.expect(s.test(), Failed, "Failed status 12")
	if b, err := os.ReadFile(filepath.Join(s.nodes[0].Programs, "runs")); err != nil || strings.Contains(string(b), writeBandwidth) {
		t.Errorf("%v, ran\n%s", err, b)
	}
}

func TestAllRailsOfAPairAreTestedAtOnceIfNothingElseIsSaid(t *testing.T) {
	s := newSite(t, 2, 2)
	s.coordinator.Limits.Cross = CrossOff
	s.must(unix.Mkfifo(filepath.Join(s.nodes[0].Programs, "meeting"), 0o600))
	s.on(0, "first", 0)
	s.on(0, "second", 1)
	s.expect(s.test(), Passed)
}

func TestATaskThatIsToEndEnds(t *testing.T) {
	s := newSite(t, 2, 1)
	in, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	defer in.Close()
	s.nodes[1].Coordinator = in.Addr().String()
	ended := make(chan string, 1)
	go func() {
		verdict, err := s.nodes[1].Run(t.Context())
		ended <- fmt.Sprint(verdict, " ", err)
	}()
	conn, err := in.Accept()
	s.must(err)
	defer conn.Close()
	s.must(conn.SetReadDeadline(time.Now().Add(time.Minute)))
	w := newWire(conn)
	receive := func() message {
		m, err := w.receive()
		s.must(err)
		return m
	}
	if m := receive(); m.Hello == nil || m.Hello.Name != "node-b" || len(m.Hello.Rails) != 1 {
		t.Fatalf("%+v", m)
	}
	s.must(w.send(message{Task: &task{Number: 7, Program: writeLatency, Load: s.coordinator.Load, Serve: true, Server: "127.0.0.1", Within: time.Hour}}))
	if m := receive(); m.Listening == nil || *m.Listening != (listening{7, s.nodes[1].FirstPort}) {
		t.Fatalf("%+v", m)
	}
	s.must(w.send(message{Stop: 7}))
	if m := receive(); m.Result == nil || m.Result.Number != 7 || m.Result.Error != context.Canceled.Error() {
		t.Errorf("%+v", m.Result)
	}
	s.must(w.send(message{Task: &task{Number: 8, Program: writeLatency, Load: s.coordinator.Load, Serve: true, Server: "127.0.0.1", Within: time.Hour}}))
	if m := receive(); m.Listening == nil || m.Listening.Number != 8 {
		t.Fatalf("%+v", m)
	}
	s.must(w.send(message{End: &end{Slow}})) // which ends its tasks
	if got := <-ended; got != "slow <nil>" {
		t.Error(got)
	}
}

// A node runs perftest, and nothing else, whatever it is told.
func TestANodeRunsOnlyTests(t *testing.T) {
	s := newSite(t, 2, 1)
	load := s.coordinator.Load
	for want, task := range map[string]task{
		`"bash" is no test`:   {Program: "bash", Load: load, Server: "10.0.0.1"},
		`ParseAddr("--help")`: {Program: writeLatency, Load: load, Server: "--help"},
		"there is no rail 1":  {Program: writeLatency, Load: load, Server: "10.0.0.1", Rail: 1},
		"there is no rail -1": {Program: writeLatency, Load: load, Server: "10.0.0.1", Rail: -1},
		"no port 0":           {Program: writeLatency, Load: load, Server: "10.0.0.1"},
		"no port 65536":       {Program: writeLatency, Load: load, Server: "10.0.0.1", Port: 65536},
		"is no iterations":    {Program: writeLatency, Server: "10.0.0.1", Port: 1},
	} {
		var m Measurement
		at := &taking{s.nodes[0], []string{"net1"}}
		if err := at.do(t.Context(), nil, task, &m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
