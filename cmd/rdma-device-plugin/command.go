package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin"
	"github.com/roce-k8s/roce-k8s/pkg/selftest"
)

// A command is one of the program's.
type command struct {
	name      string // of one word or two; "" is the device plugin itself
	arguments string // for the usage text
	does      string // likewise
	most      int    // arguments
	flags     []flagGroup
	// run returns the exit status; for an error, 0 leaves that to the error.
	run func(context.Context, *commandLine, streams) (status int, err error)
	// usage is the status for bad flags and arguments; 0 is exitUsage.
	usage int
}

// streams are the standard ones.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// commands has the device plugin itself first.
func commands() []command {
	return []command{
		{does: "run", flags: []flagGroup{ofNode, ofConfig, ofInstance, ofPlugin, ofMemlockSocket}, run: runPlugin},
		{name: "explain", does: "print the node's devices and why each is in a resource or not",
			flags: []flagGroup{ofNode, ofConfig, ofInstance, ofPlugin}, run: explain},
		{name: "validate", arguments: "[FILE]", does: "check a configuration", most: 1,
			flags: []flagGroup{ofConfig}, run: validate},
		{name: "discover", does: "print configuration and networks for the node's NICs",
			flags: []flagGroup{ofNode, ofOutput, ofNetworks}, run: discoverNode},
		{name: "discover merge", arguments: "FILE…", does: "the same for several nodes, of which the files have what discover -o json printed", most: math.MaxInt,
			flags: []flagGroup{ofOutput, ofNetworks}, run: discoverMerge},
		{name: "status", does: "print who has which NIC and unit, what came back and what is owed",
			flags: []flagGroup{ofNode, ofInstance, ofOutput}, run: printStatus},
		{name: "doctor", arguments: "[NIC…]", does: "print what is wrong with the node, what it costs and what mends it", most: math.MaxInt,
			flags: []flagGroup{ofNode, ofConfig, ofInstance, ofCNI, ofDoctor}, run: runDoctor, usage: exitBlind},
		{name: "selftest", arguments: "[NIC…]", does: "try the CNI plugin on one or two NICs and print a report", most: selftest.MostNICs,
			flags: []flagGroup{ofNode, ofCNI}, run: runSelftest},
		{name: "probe", arguments: "PATH", does: "ask the instance at --probe-socket for /healthz or /readyz", most: 1,
			flags: []flagGroup{ofInstance}, run: probe},
		{name: "forget", arguments: "DEVICE", does: "have that instance forget a device that is gone for good", most: 1,
			flags: []flagGroup{ofInstance}, run: forget},
		{name: "counters", does: "read counters in pods' namespaces for the instance that asks at --counters-socket",
			flags: []flagGroup{ofNode, ofInstance, ofPlugin}, run: readCounters},
		{name: "memlock", does: "have the container runtime raise the memlock limit of containers with RDMA devices, as a plugin of its NRI",
			flags: []flagGroup{ofMemlock}, run: raiseMemlock},
		{name: "rescue", does: "restore NICs that came back without a DEL, and nothing else, on a node that has the DRA driver",
			flags: []flagGroup{ofNode}, run: rescue},
	}
}

// names are those of commands, as one says them.
func names() string {
	var all []string
	for _, c := range commands() {
		if c.name != "" && !strings.Contains(c.name, " ") {
			all = append(all, c.name)
		}
	}
	last := len(all) - 1
	return strings.Join(all[:last], ", ") + " or " + all[last]
}

// usageStatus is the one for bad flags and arguments.
func (c *command) usageStatus() int {
	if c.usage != 0 {
		return c.usage
	}
	return exitUsage
}

// A usageError is a command line with too little on it.
type usageError struct{ text string }

func (e *usageError) Error() string { return "usage: " + e.text }

func runPlugin(ctx context.Context, line *commandLine, _ streams) (int, error) {
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	line.Reload = reload
	return 0, deviceplugin.Run(ctx, line.Options)
}

func explain(ctx context.Context, line *commandLine, s streams) (int, error) {
	return 0, deviceplugin.Explain(ctx, line.Options, s.out)
}

func validate(_ context.Context, line *commandLine, s streams) (int, error) {
	if len(line.rest) > 0 {
		line.ConfigFile = line.rest[0]
	}
	return 0, deviceplugin.Validate(line.ConfigFile, s.out)
}

func probe(ctx context.Context, line *commandLine, _ streams) (int, error) {
	line.findInstance(servedSocket)
	if line.ProbeSocket == "" || len(line.rest) == 0 {
		return 0, &usageError{"probe --probe-socket=FILE PATH, where PATH is /healthz or /readyz"}
	}
	return 0, deviceplugin.Probe(ctx, line.ProbeSocket, line.rest[0])
}

func forget(ctx context.Context, line *commandLine, _ streams) (int, error) {
	line.findInstance(servedSocket)
	if line.ProbeSocket == "" || len(line.rest) == 0 {
		return 0, &usageError{"forget --probe-socket=FILE DEVICE, where DEVICE is the name of a device that is gone"}
	}
	return 0, deviceplugin.Forget(ctx, line.ProbeSocket, line.rest[0])
}

func readCounters(ctx context.Context, line *commandLine, _ streams) (int, error) {
	if line.CountersSocket == "" {
		return 0, &usageError{"counters --counters-socket=FILE"}
	}
	return 0, deviceplugin.Counters(ctx, line.Options)
}

func raiseMemlock(ctx context.Context, line *commandLine, _ streams) (int, error) {
	if err := line.memlock.Limit.Check(); err != nil {
		return exitUsage, err
	}
	line.memlock.Log = line.Log
	deviceplugin.Memlock(ctx, line.Options, line.memlock)
	return 0, nil
}

func rescue(ctx context.Context, line *commandLine, _ streams) (int, error) {
	return 0, deviceplugin.Rescue(ctx, line.Options)
}

func runSelftest(ctx context.Context, line *commandLine, s streams) (int, error) {
	return 0, selftest.Run(ctx, selftest.Options{
		Node: line.Node, PluginDir: line.pluginDir, StateDir: line.StateDir, Proc: line.Proc, NICs: line.rest, Version: buildVersion,
	}, s.out)
}

// printUsage is the answer to --help; the flags follow.
func (c *command) printUsage(w io.Writer) {
	if c.name != "" {
		_, _ = fmt.Fprintf(w, "Usage: rdma-device-plugin %s\n%s\n", strings.TrimSpace(c.name+" [flags] "+c.arguments), c.does)
		return
	}
	_, _ = fmt.Fprintln(w, "Usage: rdma-device-plugin [flags], or rdma-device-plugin COMMAND [flags]")
	for _, other := range commands() {
		if other.name != "" {
			_, _ = fmt.Fprintf(w, "  %-24s %s\n", strings.TrimSpace(other.name+" "+other.arguments), other.does)
		}
	}
}
