// Command rdma-device-plugin offers a node's RDMA devices to the kubelet. Its other
// commands, of which commands has the table, are for who sets up or looks after a
// node.
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
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin"
	"github.com/roce-k8s/roce-k8s/pkg/discovery"
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
	// Next to nothing happens in parallel here. A second processor would be
	// woken for each event to find nothing to do, and each one that Go sees, of
	// hundreds on a GPU node, has caches of its own.
	runtime.GOMAXPROCS(1)
	// The heap is small and stays so; memory is worth more to a node than the
	// time that collecting takes is to this program. The start goes without: it
	// is over before there is anything to collect.
	time.AfterFunc(startTime, func() { debug.SetGCPercent(25) })
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run does what the arguments say and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, args := find(args)
	if c == nil {
		return fail(stderr, fmt.Errorf("unknown command %q: use %s, or leave it out to run the device plugin", args[0], names()), exitUsage)
	}
	line, err := c.parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return fail(stderr, err, c.usageStatus())
	case line.showVersion:
		_, _ = fmt.Fprintln(stdout, "rdma-device-plugin", buildVersion)
		return 0
	}
	status, err := c.run(ctx, line, streams{os.Stdin, stdout, stderr})
	var bad *deviceplugin.ConfigError
	var input *discovery.InputError
	var usage *usageError
	switch {
	case err == nil || status != 0:
	case errors.As(err, &bad), errors.As(err, &input), errors.As(err, &usage):
		status = exitUsage
	default:
		status = exitFailure
	}
	if err != nil {
		return fail(stderr, err, status)
	}
	return status
}

// find is the command that the arguments begin with, and its own arguments: the
// device plugin's own if they begin with a flag, nil if there is no such command.
func find(args []string) (*command, []string) {
	all := commands()
	words := 0
	for words < len(args) && !strings.HasPrefix(args[words], "-") {
		words++
	}
	for n := min(words, 2); n > 0; n-- {
		name := strings.Join(args[:n], " ")
		if at := slices.IndexFunc(all, func(c command) bool { return c.name == name }); at >= 0 {
			return &all[at], args[n:]
		}
	}
	if words > 0 {
		return nil, args
	}
	return &all[0], args
}

func fail(stderr io.Writer, err error, status int) int {
	_, _ = fmt.Fprintln(stderr, "rdma-device-plugin:", err)
	return status
}
