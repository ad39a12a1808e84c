package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/roce-k8s/roce-k8s/pkg/chain"
	"github.com/roce-k8s/roce-k8s/pkg/logging"
)

// A chainLine is what the command line of chain says.
type chainLine struct {
	chain.Chain
	remove bool
}

const chainUsage = "rdma-dra-driver chain [--conf-dir DIR] [--cni-dir DIR] [--remove]"

func parseChain(args []string, stderr io.Writer) (*chainLine, error) {
	line := &chainLine{}
	flags := flag.NewFlagSet("rdma-dra-driver chain", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // an error is one line, without the usage text
	flags.StringVar(&line.Dir, "conf-dir", "/etc/cni/net.d", "the `folder` of the CNI configurations")
	flags.StringVar(&line.Plugins, "cni-dir", "/opt/cni/bin", "the `folder` of the CNI plugins; the list has the plugin while it is in there")
	flags.BoolVar(&line.remove, "remove", false, "take the plugin out of the list, and end: for what an installer left that was killed")
	level := flags.String("log-level", "info", "debug, info, warn or error")
	format := flags.String("log-format", "text", "text or json")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			_, _ = fmt.Fprintf(stderr, "Usage: %s\nkeep the CNI plugin in the list of plugins of the node's network\n", chainUsage)
			flags.SetOutput(stderr)
			flags.PrintDefaults()
		}
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	var err error
	line.Log, err = logging.New(stderr, *level, *format)
	return line, err
}

func (l *chainLine) run(ctx context.Context) error {
	if l.remove {
		return l.Take()
	}
	l.Run(ctx)
	return nil
}
