package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/discovery"
	"github.com/roce-k8s/roce-k8s/pkg/logging"
	"github.com/roce-k8s/roce-k8s/pkg/memlock"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// A commandLine is what the flags say, and the arguments behind them.
type commandLine struct {
	deviceplugin.Options
	useCDI      bool
	pluginDir   string
	output      string
	addressing  discovery.Addressing
	doctor      doctorLine
	memlock     memlock.Options
	showVersion bool
	rest        []string
}

// A flagGroup defines flags that belong together.
type flagGroup func(*commandLine, *flag.FlagSet)

// parse reads the flags that the command has; every command has those of the log,
// and --version.
func (c *command) parse(args []string, stderr io.Writer) (*commandLine, error) {
	line := &commandLine{Options: deviceplugin.Options{Version: buildVersion, Proc: "/proc"}}
	flags := flag.NewFlagSet("rdma-device-plugin", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // an error is one line, without the usage text
	for _, define := range c.flags {
		define(line, flags)
	}
	level := flags.String("log-level", "info", "debug, info, warn or error")
	format := flags.String("log-format", "text", "text or json")
	flags.BoolVar(&line.showVersion, "version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			c.printUsage(stderr)
			flags.SetOutput(stderr)
			flags.PrintDefaults()
		}
		return nil, err
	}
	if !line.useCDI {
		line.CDIDir = ""
	}
	line.rest = flags.Args()
	if len(line.rest) > c.most {
		return nil, fmt.Errorf("unexpected argument %q", line.rest[c.most])
	}
	if err := line.MetricsAccess.Check(); err != nil {
		return nil, err
	}
	var err error
	line.Log, err = logging.New(stderr, *level, *format)
	return line, err
}

// ofNode is where the node's things are.
func ofNode(line *commandLine, flags *flag.FlagSet) {
	flags.StringVar(&line.KubeletDir, "kubelet-dir", "/var/lib/kubelet", "the `folder` with the kubelet's device-plugins and pod-resources")
	flags.StringVar(&line.Node.Sys, "sysfs-root", rdma.Host().Sys, "where sysfs is mounted")
	flags.StringVar(&line.Node.Dev, "dev-root", rdma.DevRoot(mountedDev), "where the host's /dev is")
	flags.StringVar(&line.StateDir, "state-dir", attachment.DefaultDir, "the CNI plugin's state `folder`")
}

func ofConfig(line *commandLine, flags *flag.FlagSet) {
	flags.StringVar(&line.ConfigFile, "config-file", config.DefaultFile, "the configuration `file`, JSON or YAML")
}

// ofInstance is how a running device plugin is reached.
func ofInstance(line *commandLine, flags *flag.FlagSet) {
	flags.StringVar(&line.MetricsAddress, "metrics-address", defaultMetrics, "where /metrics, /healthz and /readyz are served; empty for nowhere")
	flags.StringVar(&line.ProbeSocket, "probe-socket", "", "a unix `socket` that serves the same for one instance alone; the commands probe, forget, status and doctor use it, and look for "+servedSocket+" if nothing is said")
}

// ofPlugin is what else the device plugin itself is told.
func ofPlugin(line *commandLine, flags *flag.FlagSet) {
	flags.BoolVar(&line.Rescue, "rescue", true, "restore a NIC that came back without a DEL; needs NET_ADMIN")
	line.MetricsAccess.Flags(flags)
	flags.StringVar(&line.CountersSocket, "counters-socket", "", "a unix `socket` at which the command counters reads in the namespaces of pods; empty if it does not run")
	flags.BoolVar(&line.useCDI, "use-cdi", false, "hand out CDI devices instead of character devices")
	flags.StringVar(&line.CDIDir, "cdi-dir", "/var/run/cdi", "the `folder` for the CDI spec")
}

// ofMemlockSocket is where the command memlock says how it is.
func ofMemlockSocket(line *commandLine, flags *flag.FlagSet) {
	flags.StringVar(&line.MemlockSocket, "memlock-socket", "", "a unix `socket` at which the command memlock says how it is; empty if it does not run")
}

// ofMemlock is what that command is told.
func ofMemlock(line *commandLine, flags *flag.FlagSet) {
	ofMemlockSocket(line, flags)
	flags.StringVar(&line.memlock.Socket, "nri-socket", memlock.DefaultSocket, "the `socket` of the container runtime's NRI")
	flags.StringVar((*string)(&line.memlock.Limit), "memlock-limit", string(memlock.Unlimited), "what a container with RDMA devices may lock: unlimited, or containerMemory for as much as its memory")
}

func ofCNI(line *commandLine, flags *flag.FlagSet) {
	flags.StringVar(&line.pluginDir, "cni-dir", "/opt/cni/bin", "the `folder` of the CNI plugins")
}

func ofOutput(line *commandLine, flags *flag.FlagSet) {
	flags.StringVar(&line.output, "o", "", "`what` to print. discover: configmap, networks, values, pod or json; all that kubectl can apply if it is left out. status: json; a text if it is left out")
}

// ofNetworks is how discover writes networks.
func ofNetworks(line *commandLine, flags *flag.FlagSet) {
	flags.StringVar(&line.addressing.IPAM, "ipam", discovery.Whereabouts, "the networks' IPAM `type`: whereabouts, host-local or dhcp; keep for the host's addresses")
	flags.StringVar(&line.addressing.Range, "range", discovery.GuideRange, "their `subnet`, with an N for the network's number, or one for all")
	flags.StringVar(&line.addressing.Gateway, "gateway", "", "the router's `address` in it: first, none, or an address, with an N as in --range")
	flags.IntVar(&line.addressing.MTU, "mtu", 0, "the `MTU` in pods; 0 for the host's")
}

// defaultMetrics is where metrics are served if nothing is said.
const defaultMetrics = "127.0.0.1:9817"

// servedSocket is what our DaemonSet says with --probe-socket. It is found there
// without a flag, so that a command in the container asks the instance there,
// whatever its metrics' address takes for a key.
const servedSocket = "/run/rdma-device-plugin/probe.sock"

// findInstance finds a socket that is served, unless the flags say where to ask.
func (c *commandLine) findInstance(socket string) {
	if c.ProbeSocket != "" || c.MetricsAddress != defaultMetrics {
		return
	}
	if info, err := os.Stat(socket); err == nil && info.Mode().Type() == os.ModeSocket {
		c.ProbeSocket = socket
	}
}

// mountedDev is where our DaemonSet has the host's device folder. It is found
// there without a flag, so that `explain` in the container sees what the plugin
// does.
const mountedDev = "/host/dev"
