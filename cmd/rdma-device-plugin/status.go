package main

import (
	"context"
	"fmt"
	"os"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin"
	"github.com/roce-k8s/roce-k8s/pkg/status"
)

// jsonOutput is the -o of status for programs.
const jsonOutput = "json"

// printStatus prints how the node is at the moment.
func printStatus(ctx context.Context, c *commandLine, out streams) (int, error) {
	if c.output != "" && c.output != jsonOutput {
		return exitUsage, fmt.Errorf("-o %q: use %s, or leave it out for a text", c.output, jsonOutput)
	}
	s, err := c.look(ctx)
	if err != nil {
		return 0, err
	}
	if c.output == jsonOutput {
		return 0, s.JSON(out.out)
	}
	return 0, s.Text(out.out)
}

// look asks how the node is.
func (c *commandLine) look(ctx context.Context) (*status.Status, error) {
	c.findInstance(servedSocket)
	name, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	return status.Look(ctx, status.Options{
		Name: name, Node: c.Node, StateDir: c.StateDir, Proc: c.Proc, Log: c.Log,
		PodResources: deviceplugin.PodResourcesSocket(c.KubeletDir), MetricsAddress: c.MetricsAddress, ProbeSocket: c.ProbeSocket,
	})
}
