// Command pod measures how much later a pod is ready for its eight rails, on a
// real Kubernetes, and writes what came out into docs/benchmarks.md.
//
// It starts pods without networks and pods with eight, of ours and of host-device,
// in turns, and takes the time from the request that makes the pod to the word of
// the API server that it is ready. Then it starts some more, with a clock around
// each CNI plugin, and so says whose the time is.
//
// It runs in private namespaces: see the script run beside it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/roce-k8s/roce-k8s/test/bench/report"
)

func main() {
	o := options{}
	flag.IntVar(&o.rounds, "rounds", 15, "how often to start each pod")
	flag.IntVar(&o.traced, "traced", 5, "how often to start each pod with a clock around each plugin")
	flag.StringVar(&o.timed, "timed", "", "the `program` that is the clock")
	docs := flag.String("docs", "", "`folder` with benchmarks.md; empty to write nothing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, o, *docs); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are what to measure.
type options struct {
	rounds, traced int
	timed          string
}

func run(ctx context.Context, o options, docs string) error {
	machine, err := report.ThisMachine()
	if err != nil {
		return err
	}
	r, err := measure(ctx, o)
	if err != nil {
		return err
	}
	ran, err := machine.Ran()
	if err != nil {
		return err
	}
	section := r.section(ran)
	fmt.Print(section.Text)
	if docs == "" {
		return nil
	}
	return section.Write(docs)
}
