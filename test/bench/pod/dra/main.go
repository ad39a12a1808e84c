// Command dra measures how much later a pod is ready for eight NICs that it gets by
// a claim, by rdma-dra-driver and by DRANET, and what comes back of the NICs after
// each of the ways in which a pod can end. It writes that into docs/benchmarks.md.
//
// The drivers serve the same node of a real Kubernetes in turns. It runs in private
// namespaces: see the script run beside it.
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
	flag.IntVar(&o.rounds, "rounds", 4, "how often each driver has its turn")
	flag.IntVar(&o.each, "each", 3, "how often to start each pod in a turn")
	flag.IntVar(&o.row, "row", 50, "how many pods in a row, each at the end of the one before")
	flag.StringVar(&o.image, "image", "", "the `archive` with DRANET's image")
	flag.StringVar(&o.manifest, "manifest", "", "the `file` by which it is installed")
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
	rounds, each, row int
	image, manifest   string
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
