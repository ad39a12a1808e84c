// Command rdma-device-plugin offers a node's RDMA devices to the kubelet.
//
//	rdma-device-plugin [flags]            run
//	rdma-device-plugin explain [flags]    print the node's devices and why each is in a resource or not
//	rdma-device-plugin validate [FILE]    check a configuration
//	rdma-device-plugin discover [flags]   print configuration and networks for the node's NICs
//	rdma-device-plugin discover merge [flags] FILE…   for those of several nodes
//	rdma-device-plugin status [flags]     print who has which NIC and unit, what came back and what is owed
//	rdma-device-plugin probe PATH         ask the instance at --probe-socket for /healthz or /readyz
//	rdma-device-plugin forget DEVICE      have it forget a device that is gone for good
//	rdma-device-plugin counters [flags]   read counters in pods' namespaces for the instance that asks at --counters-socket
//	rdma-device-plugin selftest [NIC…]    try the CNI plugin on one or two NICs and print a report
//	rdma-device-plugin doctor [NIC…]      print what is wrong with the node, what it costs and what mends it
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/discovery"
	"github.com/roce-k8s/roce-k8s/pkg/logging"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/pkg/selftest"
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
	command := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	merge := command == "discover" && len(args) > 0 && args[0] == "merge"
	if merge {
		args = args[1:]
	}
	c, err := parse(args, stderr)
	usage := exitUsage
	if command == "doctor" {
		usage = exitBlind
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return fail(stderr, err, usage)
	case c.showVersion:
		_, _ = fmt.Fprintln(stdout, "rdma-device-plugin", buildVersion)
		return 0
	case !merge && len(c.rest) > most(command):
		return fail(stderr, fmt.Errorf("unexpected argument %q", c.rest[most(command)]), usage)
	}
	switch command {
	case "":
		reload := make(chan os.Signal, 1)
		signal.Notify(reload, syscall.SIGHUP)
		defer signal.Stop(reload)
		c.Reload = reload
		err = deviceplugin.Run(ctx, c.Options)
	case "explain":
		err = deviceplugin.Explain(ctx, c.Options, stdout)
	case "validate":
		if len(c.rest) > 0 {
			c.ConfigFile = c.rest[0]
		}
		err = deviceplugin.Validate(c.ConfigFile, stdout)
	case "discover":
		err = discover(ctx, c, merge, stdout, stderr)
	case "status":
		if c.output != "" && c.output != jsonOutput {
			return fail(stderr, fmt.Errorf("-o %q: use %s, or leave it out for a text", c.output, jsonOutput), exitUsage)
		}
		err = printStatus(ctx, c, stdout)
	case "probe":
		if c.ProbeSocket == "" || len(c.rest) == 0 {
			return fail(stderr, errors.New("usage: probe --probe-socket=FILE PATH, where PATH is /healthz or /readyz"), exitUsage)
		}
		err = deviceplugin.Probe(ctx, c.ProbeSocket, c.rest[0])
	case "forget":
		if c.ProbeSocket == "" || len(c.rest) == 0 {
			return fail(stderr, errors.New("usage: forget --probe-socket=FILE DEVICE, where DEVICE is the name of a device that is gone"), exitUsage)
		}
		err = deviceplugin.Forget(ctx, c.ProbeSocket, c.rest[0])
	case "counters":
		if c.CountersSocket == "" {
			return fail(stderr, errors.New("usage: counters --counters-socket=FILE"), exitUsage)
		}
		err = deviceplugin.Counters(ctx, c.Options)
	case "selftest":
		err = selftest.Run(ctx, selftest.Options{
			Node: c.Node, PluginDir: c.pluginDir, StateDir: c.StateDir, Proc: c.Proc, NICs: c.rest, Version: buildVersion,
		}, stdout)
	case "doctor":
		return c.runDoctor(ctx, os.Stdin, stdout, stderr)
	default:
		err = fmt.Errorf("unknown command %q: use explain, validate, discover, status, probe, forget, counters, selftest or doctor, or leave it out to run the device plugin", command)
		return fail(stderr, err, exitUsage)
	}
	var bad *deviceplugin.ConfigError
	var input *discovery.InputError
	switch {
	case errors.As(err, &bad), errors.As(err, &input):
		return fail(stderr, err, exitUsage)
	case err != nil:
		return fail(stderr, err, exitFailure)
	}
	return 0
}

// most is how many arguments a command takes.
func most(command string) int {
	switch command {
	case "validate", "probe", "forget":
		return 1
	case "selftest":
		return selftest.MostNICs
	case "doctor":
		return math.MaxInt
	}
	return 0
}

func fail(stderr io.Writer, err error, status int) int {
	_, _ = fmt.Fprintln(stderr, "rdma-device-plugin:", err)
	return status
}

// A commandLine is what the flags say.
type commandLine struct {
	deviceplugin.Options
	pluginDir   string
	output      string
	addressing  discovery.Addressing
	doctor      doctorLine
	showVersion bool
	rest        []string
}

// mountedDev is where our DaemonSet has the host's device folder. It is found
// there without a flag, so that `explain` in the container sees what the plugin
// does.
const mountedDev = "/host/dev"

// devRoot is where the host's /dev is mounted, or else this machine's own.
func devRoot(mounted string) string {
	if info, err := os.Stat(mounted); err == nil && info.IsDir() {
		return mounted
	}
	return rdma.Host().Dev
}

func parse(args []string, stderr io.Writer) (*commandLine, error) {
	c := &commandLine{Options: deviceplugin.Options{Version: buildVersion, Proc: "/proc"}}
	flags := flag.NewFlagSet("rdma-device-plugin", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // an error is one line, without the usage text
	flags.StringVar(&c.ConfigFile, "config-file", config.DefaultFile, "the configuration `file`, JSON or YAML")
	flags.StringVar(&c.KubeletDir, "kubelet-dir", "/var/lib/kubelet", "the `folder` with the kubelet's device-plugins and pod-resources")
	flags.StringVar(&c.Node.Sys, "sysfs-root", rdma.Host().Sys, "where sysfs is mounted")
	flags.StringVar(&c.Node.Dev, "dev-root", devRoot(mountedDev), "where the host's /dev is")
	flags.StringVar(&c.StateDir, "state-dir", attachment.DefaultDir, "the CNI plugin's state `folder`")
	flags.StringVar(&c.pluginDir, "cni-dir", "/opt/cni/bin", "the `folder` of the CNI plugins; the commands selftest and doctor use it")
	flags.StringVar(&c.output, "o", "", "`what` to print. discover: configmap, networks, values, pod or json; all that kubectl can apply if it is left out. status: json; a text if it is left out")
	flags.StringVar(&c.addressing.IPAM, "ipam", discovery.Whereabouts, "the networks' IPAM `type`, for discover: whereabouts, host-local or dhcp; keep for the host's addresses")
	flags.StringVar(&c.addressing.Range, "range", discovery.GuideRange, "their `subnet`, for discover, with an N for the network's number, or one for all")
	flags.StringVar(&c.addressing.Gateway, "gateway", "", "the router's `address` in it, for discover: first, none, or an address, with an N as in --range")
	flags.IntVar(&c.addressing.MTU, "mtu", 0, "the `MTU` in pods, for discover; 0 for the host's")
	flags.BoolVar(&c.Rescue, "rescue", true, "restore a NIC that came back without a DEL; needs NET_ADMIN")
	flags.StringVar(&c.MetricsAddress, "metrics-address", "127.0.0.1:9817", "where to serve /metrics, /healthz and /readyz; empty to serve them nowhere")
	flags.StringVar(&c.MetricsAccess.TLSDir, "metrics-tls-dir", "", "a `folder` with tls.crt and tls.key; serves the metrics' address by HTTPS")
	flags.StringVar(&c.MetricsAccess.ClientCA, "metrics-client-ca", "", "a `file` with certificates; a client there needs one that they have signed")
	flags.StringVar(&c.MetricsAccess.TokenFile, "metrics-token-file", "", "a `file` with the bearer token that a client there must send")
	flags.StringVar(&c.ProbeSocket, "probe-socket", "", "a unix `socket` that serves the same for this instance alone; the commands probe, forget and status use it")
	flags.StringVar(&c.CountersSocket, "counters-socket", "", "a unix `socket` at which the command counters reads in the namespaces of pods; empty if it does not run")
	c.doctor.define(flags)
	useCDI := flags.Bool("use-cdi", false, "hand out CDI devices instead of character devices")
	cdiDir := flags.String("cdi-dir", "/var/run/cdi", "the `folder` for the CDI spec")
	level := flags.String("log-level", "info", "debug, info, warn or error")
	format := flags.String("log-format", "text", "text or json")
	flags.BoolVar(&c.showVersion, "version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			flags.SetOutput(stderr)
			flags.Usage()
		}
		return nil, err
	}
	if *useCDI {
		c.CDIDir = *cdiDir
	}
	c.rest = flags.Args()
	err := c.MetricsAccess.Check()
	if err != nil {
		return nil, err
	}
	c.Log, err = logging.New(stderr, *level, *format)
	return c, err
}
