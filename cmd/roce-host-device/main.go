// Command roce-host-device is a CNI plugin that gives a pod a RoCE NIC: the
// netdev and its RDMA device.
//
//	roce-host-device                   answer a CNI command (from the environment and stdin)
//	roce-host-device install …         copy itself into a CNI plugin folder, and a policy to where it looks for it
//	roce-host-device validate [FILE]   check a policy, or the node's
//	roce-host-device attached CLAIM    fail a container whose pod lacks NICs of a claim
package main

import (
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/roce-k8s/roce-k8s/pkg/cni"
	"github.com/roce-k8s/roce-k8s/pkg/netmanager"
	"github.com/roce-k8s/roce-k8s/pkg/policy"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// memoryLimit is in bytes: above it garbage is collected.
const memoryLimit = 64 << 20

// buildVersion is set by the linker.
var buildVersion = "devel"

func main() {
	if len(os.Args) > 1 {
		switch command, args := os.Args[1], os.Args[2:]; command {
		case "install":
			exit(command, install(args))
		case "validate":
			exit(command, validate(args, os.Stdout))
		case "attached":
			exit(command, attached(args, os.Stdin, policy.File, "/proc"))
		}
	}
	// The process lives for some milliseconds and its heap stays small:
	// collecting garbage would only cost time. What others make us read is
	// bounded, but it can be a lot.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memoryLimit)
	if os.Getenv("CNI_COMMAND") == "DEL" {
		// What is at the path of a pod that is gone may be another namespace by
		// now, the host's too, or no namespace. Then skel would fail when all is
		// done, in the IPAM plugin as well, each time.
		_ = os.Setenv("CNI_NETNS_OVERRIDE", "1")
	}
	plugin := &cni.Plugin{
		Node:       rdma.Host(),
		Proc:       "/proc",
		Managers:   netmanager.Host(),
		PolicyFile: policy.File,
		Log:        slog.New(slog.NewTextHandler(os.Stderr, nil)).With("plugin", "roce-host-device"),
	}
	skel.PluginMainFuncs(plugin.Funcs(), version.All, "roce-host-device "+buildVersion)
}

// exit ends a command that is not one of CNI's.
func exit(command string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "roce-host-device: %s: %v\n", command, err)
		os.Exit(1)
	}
	os.Exit(0)
}
