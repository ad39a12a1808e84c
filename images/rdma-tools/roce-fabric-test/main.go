// Command roce-fabric-test tests the NICs of several nodes against each other. It is
// started on each of them: the one of rank 0 coordinates and reports, the others do
// what they are told. docs/fabric-test.md has all of it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/fabric"
)

// buildVersion is set by the linker.
var buildVersion = "devel" //nolint:gochecknoglobals // the linker can set nothing else

// exitUnable is for a test that did not come about: a wrong flag, no coordinator, a
// report that cannot be written. Until 2 it is what the test says.
const exitUnable = 3

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	status := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

type options struct {
	node                     fabric.Node
	coordinator              fabric.Coordinator
	port                     int
	rails, json, page, fails string
	version                  bool
}

func parse(args []string, getenv func(string) string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("roce-fabric-test", flag.ContinueOnError)
	flags.SetOutput(stderr)
	rank, _ := strconv.Atoi(getenv("JOB_COMPLETION_INDEX"))
	host, _ := os.Hostname()
	c, n := &o.coordinator, &o.node
	flags.IntVar(&n.Nodes, "nodes", 2, "how many `nodes` there are")
	flags.IntVar(&n.Rank, "rank", rank, "this one's `number`, from 0; JOB_COMPLETION_INDEX if that is set. 0 coordinates")
	flags.StringVar(&n.Name, "name", host, "what the report calls this `node`")
	flags.StringVar(&n.Coordinator, "coordinator", "", "`host` of rank 0, as the others reach it")
	flags.IntVar(&o.port, "port", 7471, "TCP `port` of the coordinator")
	flags.IntVar(&n.FirstPort, "perftest-port", 18515, "TCP `port` of perftest for the first rail; each has one of its own")
	flags.DurationVar(&n.Wait, "wait", 5*time.Minute, "how `long` nodes wait for each other; who does not come is reported")
	flags.StringVar(&o.rails, "rails", "", "the `netdevs` to test, with commas, in the order of the rails; all with an RDMA device and an address, by name, if there are none")
	flags.StringVar(&n.Programs, "perftest", "", "`folder` of perftest's programs, where they are not in PATH")
	flags.BoolVar(&c.Load.ReadLatency, "read", false, "measure latency by ib_read_lat, not ib_write_lat")
	flags.IntVar(&c.Load.Iterations, "iterations", 1000, "`number` of iterations of the latency")
	flags.IntVar(&c.Load.Seconds, "seconds", 3, "`seconds` of the bandwidth")
	flags.IntVar(&c.Load.Size, "size", 1<<20, "`bytes` of a message of the bandwidth")
	flags.IntVar(&c.Load.TrafficClass, "traffic-class", 104, "`byte` of the IP header that has the DSCP: 104 is DSCP 26, priority 3")
	flags.IntVar(&c.Load.QPTimeout, "qp-timeout", 14, "how long a NIC waits for an acknowledgement: 4 µs times two to the power of this `number`")
	flags.IntVar(&c.AtOnce, "at-once", 0, "how many `rails` of a pair are tested at the same time; all if it is 0")
	flags.DurationVar(&c.Within, "within", 30*time.Second, "how `long` a single run of perftest may take")
	c.Limits.Bandwidth = fabric.Bandwidth{Percent: 80}
	flags.Var(&c.Limits.Bandwidth, "min-bandwidth", "less is slow: Gbit/s, or a `percentage` of the rate of the slower port; 0 for no limit")
	flags.Float64Var(&c.Limits.Latency, "max-latency", 20, "more is slow: `µs`, of the median; 0 for no limit")
	flags.StringVar(&c.Limits.Cross, "cross-rail", fabric.CrossTold, "`what` to make of a way between two rails: told, works (it has to), apart (there must be none) or off")
	flags.StringVar(&o.json, "json", "", "the `file` for the report as JSON, of rank 0")
	flags.StringVar(&o.page, "page", "", "the `file` for the report as a page, of rank 0")
	flags.StringVar(&o.fails, "fail-on", "slow", "the least that makes the status of rank 0 other than 0: slow or `failed`")
	flags.BoolVar(&o.version, "version", false, "print the version")
	flags.Usage = func() {
		_, _ = fmt.Fprintln(stderr, "usage: roce-fabric-test --nodes=N --rank=R --coordinator=HOST [FLAGS]")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected %q: all arguments are flags", flags.Arg(0))
	}
	return o, o.check()
}

func (o *options) check() error {
	n, c := &o.node, &o.coordinator
	if o.rails != "" {
		n.Rails = strings.Split(o.rails, ",")
	}
	switch {
	case n.Nodes < 2 || n.Nodes > 1024:
		return fmt.Errorf("--nodes=%d: use 2 to 1024", n.Nodes)
	case n.Rank < 0 || n.Rank >= n.Nodes:
		return fmt.Errorf("--rank=%d: use 0 to %d", n.Rank, n.Nodes-1)
	case n.Rank > 0 && n.Coordinator == "":
		return errors.New("--coordinator: name the host of rank 0")
	case o.port < 1 || o.port > 65535:
		return fmt.Errorf("--port=%d: use 1 to 65535", o.port)
	case n.FirstPort < 1 || n.FirstPort > 65000:
		return fmt.Errorf("--perftest-port=%d: use 1 to 65000", n.FirstPort)
	case o.fails != "slow" && o.fails != "failed":
		return fmt.Errorf("--fail-on=%s: use slow or failed", o.fails)
	}
	if n.Rank == 0 {
		n.Coordinator = "localhost"
	}
	n.Coordinator = net.JoinHostPort(n.Coordinator, strconv.Itoa(o.port))
	c.Nodes, c.Wait, c.Program = n.Nodes, n.Wait, "roce-fabric-test "+buildVersion
	return c.Check()
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	o, err := parse(args, getenv, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err == nil && o.version:
		_, _ = fmt.Fprintln(stdout, "roce-fabric-test", buildVersion)
		return 0
	}
	status := 0
	if err == nil {
		log := slog.New(slog.NewTextHandler(stderr, nil))
		o.node.Place, o.node.Log, o.coordinator.Log = fabric.Here(), log, log
		if o.node.Rank == 0 {
			status, err = o.coordinate(ctx, stdout)
		} else {
			// What came of it is the status of rank 0: a Job in which any other pod
			// fails ends before that one has reported.
			_, err = o.node.Run(ctx)
		}
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "roce-fabric-test:", err)
		return exitUnable
	}
	return status
}

// coordinate has one of the nodes in this process.
func (o *options) coordinate(ctx context.Context, stdout io.Writer) (status int, err error) {
	in, err := new(net.ListenConfig).Listen(ctx, "tcp", ":"+strconv.Itoa(o.port))
	if err != nil {
		return 0, err
	}
	taking := make(chan error, 1)
	go func() {
		_, err := o.node.Run(ctx)
		taking <- err
	}()
	r := o.coordinator.Run(ctx, in)
	err = errors.Join(<-taking, write(o.json, r.WriteJSON), write(o.page, r.WritePage), r.WriteTable(stdout))
	status = r.Verdict.Status()
	if status == 1 && o.fails == "failed" {
		status = 0
	}
	return status, err
}

// write writes a file that is whole as soon as it is there: others wait for it.
func write(path string, content func(io.Writer) error) (err error) {
	if path == "" {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path))
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	if err := errors.Join(content(f), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
