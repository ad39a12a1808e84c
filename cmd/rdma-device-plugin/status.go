package main

import (
	"context"
	"io"
	"os"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin"
	"github.com/roce-k8s/roce-k8s/pkg/status"
)

// jsonOutput is the -o of status for programs.
const jsonOutput = "json"

// printStatus prints how the node is at the moment.
func printStatus(ctx context.Context, c *commandLine, stdout io.Writer) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	s, err := status.Look(ctx, status.Options{
		Name: name, Node: c.Node, StateDir: c.StateDir, Proc: c.Proc, Log: c.Log,
		PodResources: deviceplugin.PodResourcesSocket(c.KubeletDir), MetricsAddress: c.MetricsAddress, ProbeSocket: c.ProbeSocket,
	})
	if err != nil {
		return err
	}
	if c.output == jsonOutput {
		return s.JSON(stdout)
	}
	return s.Text(stdout)
}
