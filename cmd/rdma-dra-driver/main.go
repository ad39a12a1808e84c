// Command rdma-dra-driver has a node's RDMA NICs allotted to pods by Kubernetes'
// Dynamic Resource Allocation. Its command chain keeps the CNI plugin in the list
// of plugins of the node's own network.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/dra"
)

// buildVersion is set by the linker.
var buildVersion = "devel"

const (
	exitFailure = 1
	exitUsage   = 2 // bad flag or configuration
)

// startTime is when a start is nearly always over.
const startTime = time.Second

func main() {
	// As in rdma-device-plugin: next to nothing happens in parallel, and memory is
	// worth more to a node than the time that collecting takes.
	runtime.GOMAXPROCS(1)
	time.AfterFunc(startTime, func() { debug.SetGCPercent(25) })
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// A task is what a command line asks for.
type task interface {
	run(context.Context) error
}

// run does what the arguments say and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 1 && args[0] == "--version" {
		_, _ = fmt.Fprintln(stdout, "rdma-dra-driver", buildVersion)
		return 0
	}
	line, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return fail(stderr, err, exitUsage)
	}
	err = line.run(ctx)
	switch bad := (*dra.ConfigError)(nil); {
	case err == nil:
		return 0
	case errors.As(err, &bad):
		return fail(stderr, err, exitUsage)
	}
	return fail(stderr, err, exitFailure)
}

func parse(args []string, stderr io.Writer) (task, error) {
	if len(args) > 0 && args[0] == "chain" {
		return parseChain(args[1:], stderr)
	}
	return parseDriver(args, stderr)
}

func fail(stderr io.Writer, err error, status int) int {
	_, _ = fmt.Fprintln(stderr, "rdma-dra-driver:", err)
	return status
}
