package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/chain"
	"github.com/roce-k8s/roce-k8s/pkg/cni"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/dra"
	"github.com/roce-k8s/roce-k8s/pkg/logging"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// A driverLine is what the driver's own command line says.
type driverLine struct {
	dra.Options
	kubeconfig, confDir, pluginDir string
}

func parseDriver(args []string, stderr io.Writer) (*driverLine, error) {
	line := &driverLine{Options: dra.Options{Proc: "/proc", CheckNetwork: cni.CheckNetwork}}
	flags := flag.NewFlagSet("rdma-dra-driver", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // an error is one line, without the usage text
	flags.StringVar(&line.NodeName, "node-name", os.Getenv("NODE_NAME"), "the `name` of the node in Kubernetes; the variable NODE_NAME if it is left out")
	flags.StringVar(&line.PodUID, "pod-uid", os.Getenv("POD_UID"), "the `UID` of the driver's own pod, so that two instances get along during an update; the variable POD_UID if it is left out")
	flags.StringVar(&line.kubeconfig, "kubeconfig", "", "a `file` that says how to reach the API server; left out, as pods do")
	flags.StringVar(&line.ConfigFile, "config-file", config.DefaultFile, "the device plugin's configuration `file`, JSON or YAML")
	flags.StringVar(&line.AttributesFile, "attributes-file", "", "a `file`, JSON or YAML, with more attributes of devices; it need not exist")
	flags.StringVar(&line.KubeletDir, "kubelet-dir", "/var/lib/kubelet", "the `folder` with the kubelet's plugins and plugins_registry")
	flags.StringVar(&line.Node.Sys, "sysfs-root", rdma.Host().Sys, "where sysfs is mounted")
	flags.StringVar(&line.Node.Dev, "dev-root", rdma.DevRoot(mountedDev), "where the host's /dev is")
	flags.StringVar(&line.StateDir, "state-dir", attachment.DefaultDir, "the CNI plugin's state `folder`")
	flags.StringVar(&line.CDIDir, "cdi-dir", "/var/run/cdi", "the `folder` for the CDI specs")
	flags.StringVar(&line.confDir, "conf-dir", "/etc/cni/net.d", "the `folder` of the CNI configurations")
	flags.StringVar(&line.pluginDir, "cni-dir", "/opt/cni/bin", "the `folder` of the CNI plugins on the node, from which runtimes run a hook")
	flags.StringVar(&line.MetricsAddress, "metrics-address", "127.0.0.1:9817", "where /metrics is served; empty for nowhere")
	line.MetricsAccess.Flags(flags)
	flags.StringVar(&line.CountersSocket, "counters-socket", "", "a unix `socket` at which the command counters of rdma-device-plugin reads in the namespaces of pods; empty if it does not run")
	flags.StringVar(&line.MemlockSocket, "memlock-socket", "", "a unix `socket` at which the command memlock of rdma-device-plugin says how it is; empty if it does not run")
	level := flags.String("log-level", "info", "debug, info, warn or error")
	format := flags.String("log-format", "text", "text or json")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			_, _ = fmt.Fprintln(stderr, "Usage: rdma-dra-driver [flags], or "+chainUsage)
			flags.SetOutput(stderr)
			flags.PrintDefaults()
		}
		return nil, err
	}
	switch {
	case flags.NArg() > 0:
		return nil, fmt.Errorf("unknown command %q: use chain, or leave it out to run the driver", flags.Arg(0))
	case line.NodeName == "":
		return nil, errors.New("which node is this? Use --node-name, or set NODE_NAME")
	}
	if err := line.MetricsAccess.Check(); err != nil {
		return nil, err
	}
	line.Chained = func() error { return chain.Check(line.confDir) }
	line.Hook = filepath.Join(line.pluginDir, chain.Plugin)
	var err error
	line.Log, err = logging.New(stderr, *level, *format)
	return line, err
}

// mountedDev is where our DaemonSet has the host's /dev.
const mountedDev = "/host/dev"

func (l *driverLine) run(ctx context.Context) error {
	// client-go logs by klog, which is the process's.
	klog.SetSlogLogger(slog.New(l.Log.Handler()))
	l.Metrics = dra.NewMetrics(buildVersion, l.StateDir)
	server, err := l.server()
	if err == nil {
		server.Wrap(l.Metrics.Count)
		l.Client, err = kubernetes.NewForConfig(server)
	}
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	return dra.Run(ctx, l.Options)
}

// server is how the API server is reached.
func (l *driverLine) server() (c *rest.Config, err error) {
	if l.kubeconfig == "" {
		c, err = rest.InClusterConfig()
	} else {
		c, err = clientcmd.BuildConfigFromFlags("", l.kubeconfig)
	}
	if err != nil {
		return nil, err
	}
	// A claim is one request to prepare and two for its status, and pods come in rows.
	c.QPS, c.Burst = 20, 50
	c.UserAgent = "rdma-dra-driver/" + buildVersion
	return c, nil
}
