// Command rdma-dra-driver has a node's RDMA NICs allotted to pods by Kubernetes'
// Dynamic Resource Allocation.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// buildVersion is set by the linker.
var buildVersion = "devel"

const (
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 1 && args[0] == "--version" {
		_, _ = fmt.Fprintln(stdout, "rdma-dra-driver", buildVersion)
		return 0
	}
	if len(args) == 0 || args[0] != "chain" {
		return fail(stderr, errors.New("usage: rdma-dra-driver chain [flags]"), exitUsage)
	}
	line, err := parseChain(args[1:], stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return fail(stderr, err, exitUsage)
	}
	if err := line.run(ctx); err != nil {
		return fail(stderr, err, exitFailure)
	}
	return 0
}

func fail(stderr io.Writer, err error, status int) int {
	_, _ = fmt.Fprintln(stderr, "rdma-dra-driver:", err)
	return status
}
