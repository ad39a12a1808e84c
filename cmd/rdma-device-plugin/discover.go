package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/roce-k8s/roce-k8s/pkg/discovery"
)

// discover prints what a site needs for this node, or for those of which the
// files were made.
func discover(ctx context.Context, c *commandLine, merge bool, stdout, stderr io.Writer) error {
	output := cmp.Or(c.output, discovery.All)
	if err := discovery.CheckOutput(output); err != nil {
		return err
	}
	if err := c.addressing.Check(); err != nil {
		return err
	}
	var nodes []*discovery.Node
	var err error
	if merge {
		nodes, err = discovery.ReadNodes(c.rest)
	} else {
		var name string
		if name, err = os.Hostname(); err != nil {
			return err
		}
		nodes = make([]*discovery.Node, 1)
		nodes[0], err = discovery.Look(ctx, discovery.Place{Name: name, Node: c.Node, StateDir: c.StateDir, Proc: c.Proc, Log: c.Log})
	}
	if err != nil {
		return err
	}
	fleet := discovery.Merge(nodes)
	if err := fleet.Print(stdout, output, c.addressing); err != nil {
		return err
	}
	// Comments do not reach somebody who applies the rest at once.
	if n := len(fleet.Differences); n > 0 && output != discovery.JSON {
		_, _ = fmt.Fprintf(stderr, "rdma-device-plugin: %d remarks are in the comments, below \"Look at\"\n", n)
	}
	return nil
}
