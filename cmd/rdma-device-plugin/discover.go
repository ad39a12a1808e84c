package main

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"github.com/roce-k8s/roce-k8s/pkg/discovery"
)

// discoverNode prints what a site needs for this node.
func discoverNode(ctx context.Context, line *commandLine, s streams) (int, error) {
	return 0, printFleet(line, s, func() ([]*discovery.Node, error) {
		name, err := os.Hostname()
		if err != nil {
			return nil, err
		}
		n, err := discovery.Look(ctx, discovery.Place{Name: name, Node: line.Node, StateDir: line.StateDir, Proc: line.Proc, Log: line.Log})
		return []*discovery.Node{n}, err
	})
}

// discoverMerge does so for the nodes of which the files were made.
func discoverMerge(_ context.Context, line *commandLine, s streams) (int, error) {
	return 0, printFleet(line, s, func() ([]*discovery.Node, error) { return discovery.ReadNodes(line.rest) })
}

// printFleet prints what a site needs for nodes, which it looks at only if it is
// asked for something that there is.
func printFleet(line *commandLine, s streams, look func() ([]*discovery.Node, error)) error {
	output := cmp.Or(line.output, discovery.All)
	if err := discovery.CheckOutput(output); err != nil {
		return err
	}
	if err := line.addressing.Check(); err != nil {
		return err
	}
	nodes, err := look()
	if err != nil {
		return err
	}
	fleet := discovery.Merge(nodes)
	if err := fleet.Print(s.out, output, line.addressing); err != nil {
		return err
	}
	// Comments do not reach somebody who applies the rest at once.
	if n := len(fleet.Differences); n > 0 && output != discovery.JSON {
		_, _ = fmt.Fprintf(s.err, "rdma-device-plugin: %d remarks are in the comments, below \"Look at\"\n", n)
	}
	return nil
}
