package cni

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/claim"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/netmanager"
	"github.com/roce-k8s/roce-k8s/pkg/policy"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/pkg/trusted"
)

// A Plugin answers the CNI commands on one node.
type Plugin struct {
	Node rdma.Node
	// Proc is where proc is mounted.
	Proc string
	// Managers is where the host's network managers keep their files.
	Managers netmanager.Roots
	// PolicyFile is the file of the node's administrator.
	PolicyFile string
	// Log gets what is not an error of the command: repairs, and what the
	// operator should look at.
	Log *slog.Logger
}

// Funcs are the plugin's commands, for skel.PluginMainFuncs.
func (p *Plugin) Funcs() skel.CNIFuncs {
	return skel.CNIFuncs{Add: p.add, Del: p.del, Check: p.check, GC: p.gc, Status: p.status}
}

// An operation is one run of a command, or what it does about one of its NICs: what
// all of the steps share.
type operation struct {
	*Plugin
	// call is the interface name of the CNI call, where that of a NIC is another.
	call string
	// claims are those of the pod, where the call is about them; claimUID is of the
	// one that allots the NIC.
	claims   []claim.Claim
	claimUID string
	ctx      context.Context
	args     *skel.CmdArgs
	config   *netConf
	policy   *policy.Policy
	lawless  error // why the policy cannot be used, and allows nothing
	journal  *attachment.Journal
	host     *netdev.Namespace
	rdma     *rdma.Namespace // the host's; hostRDMA opens it
	asking   *sync.WaitGroup // who still looks at the host
	pod      attachment.Pod
	// asked is whether an IPAM plugin was asked for the NIC's address by this call.
	asked bool
	// adds and frees are the IPAM plugins' ADDs and DELs.
	adds, frees *ipamQueue
}

// begin opens what every command needs. The caller calls end.
//
// A policy that cannot be read allows nothing: an ADD will say so. What has to
// end still ends, with what could be read.
func (p *Plugin) begin(args *skel.CmdArgs, c *netConf) (*operation, error) {
	rules, lawless := policy.Load(p.PolicyFile)
	if trusted.Transient(lawless) { // it may name another state folder
		return nil, fail(types.ErrTryAgainLater, "", "", lawless, "try again")
	}
	if lawless != nil {
		p.Log.Warn("the node's policy cannot be used", "err", lawless)
	}
	if c.StateDir != "" && c.StateDir != rules.StateDir {
		p.Log.Warn(`the network's "stateDir" is ignored: the node chooses it, in `+policy.File, "network", c.StateDir, "node", rules.StateDir)
	}
	journal, err := attachment.Open(rules.StateDir, p.Proc)
	if err != nil {
		return nil, fail(codeJournal, "", "open the journal", err, `"stateDir" in `+policy.File+" names the folder")
	}
	host, err := netdev.CurrentNamespace()
	if err != nil {
		return nil, fail(types.ErrInternal, "", "open the host's network namespace", err, "the plugin must run as root")
	}
	return &operation{
		Plugin: p, ctx: context.Background(), asking: &sync.WaitGroup{}, args: args, config: c, policy: rules, lawless: lawless, journal: journal, host: host, pod: podOf(args.Args),
		adds:  newIPAMQueue(ipamAddTimeout, ipamAddAllTimeout),
		frees: newIPAMQueue(ipamFreeTimeout, ipamFreeAllTimeout),
	}, nil
}

func (o *operation) end() {
	o.asking.Wait()
	o.rdma.Close()
	o.host.Close()
}

// forNIC is the operation on one NIC of the call. It is for one goroutine, and has
// a look at the RDMA subsystem of its own.
func (o *operation) forNIC(ifName string, c *netConf) *operation {
	one, args := *o, *o.args
	if args.IfName != ifName {
		one.call, args.IfName = args.IfName, ifName
	}
	args.StdinData = c.raw
	one.args, one.config, one.rdma = &args, c, nil
	return &one
}

// nics are the operations on the NICs of the call.
func (o *operation) nics() ([]*operation, error) {
	if o.config.Claims {
		return o.claimed()
	}
	if o.config.Devices != nil {
		return o.listed()
	}
	return []*operation{o.forNIC(o.args.IfName, o.config)}, nil
}

// hostRDMA opens the host's RDMA subsystem when it is first asked for. The error
// wraps rdma.ErrNoSubsystem when the kernel has none.
func (o *operation) hostRDMA() (host *rdma.Namespace, err error) {
	if o.rdma == nil {
		o.rdma, err = rdma.Open(o.host.NS)
	}
	return o.rdma, err
}

// way is the way back to the host for a record's NIC.
func (o *operation) way(r *attachment.Record) attachment.Returner {
	way := attachment.Returner{Journal: o.journal, Host: o.host, Who: o.who(), Log: o.logFor(r)}
	if !o.Managers.HasUp(r.Host.Name) {
		way.Appear = o.Node.Appear
	}
	return way
}

// logFor is the log with the attributes of every line about a record.
func (o *operation) logFor(r *attachment.Record) *slog.Logger {
	return o.Log.With("nic", r.Host.Name, "pod", r.Pod.String())
}

// who names this operation to those who wait for its locks.
func (o *operation) who() string {
	who := fmt.Sprintf("%s of container %s, interface %s (process %d)", os.Getenv("CNI_COMMAND"), o.args.ContainerID, o.args.IfName, os.Getpid())
	if pod := o.pod.String(); pod != "" {
		return "pod " + pod + ", " + who
	}
	return who
}

// podOf reads the pod's name from CNI_ARGS as kubelets and Multus set it:
// "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=…".
func podOf(args string) (pod attachment.Pod) {
	for pair := range strings.SplitSeq(args, ";") {
		switch key, value, _ := strings.Cut(pair, "="); key {
		case "K8S_POD_NAMESPACE":
			pod.Namespace = value
		case "K8S_POD_NAME":
			pod.Name = value
		case "K8S_POD_UID":
			pod.UID = value
		}
	}
	return pod
}
