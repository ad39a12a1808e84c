package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/delegate"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// ipamInPod is the IPAM plugin that needs the netdev in the pod, up, before it
// is asked. All others are asked while the NIC moves.
const ipamInPod = "dhcp"

// errNoAddress is an IPAM answer without an address.
var errNoAddress = errors.New("the IPAM plugin returned no address")

// Bounds of an IPAM plugin's answers, for one NIC and for all NICs of a call. The
// kubelet gives all networks of a pod some minutes (runtimeRequestTimeout, twice),
// one after another, and runtimes give a DEL less (CRI-O a minute): a plugin that
// is slower than this will be asked again. Until it is, a NIC is in a pod that
// does not start. Eight NICs of a call may wait longer, for each other: what is
// ended early begins its wait again.
const (
	ipamAddTimeout     = 35 * time.Second
	ipamAddAllTimeout  = 100 * time.Second
	ipamFreeTimeout    = 20 * time.Second
	ipamFreeAllTimeout = 30 * time.Second
	ipamTimeout        = 20 * time.Second // for all other commands
)

// plugins runs IPAM plugins.
func plugins() *delegate.Exec { return &delegate.Exec{Stderr: os.Stderr} }

// startIPAM asks the IPAM plugin for an address in parallel with the move, so
// that an ADD takes the longer of the two and not their sum. The returned
// function waits for the answer; moved tells it whether the NIC is in the pod.
func (o *operation) startIPAM() (wait func(moved bool) (*current.Result, error)) {
	switch o.config.IPAM.Type {
	case "": // no address, which is not an error
		return func(bool) (*current.Result, error) {
			return &current.Result{CNIVersion: current.ImplementedSpecVersion}, nil
		}
	case ipamInPod:
		return func(moved bool) (*current.Result, error) {
			if !moved {
				return nil, nil
			}
			return o.execIPAMAdd()
		}
	}
	var result *current.Result
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		result, err = o.execIPAMAdd()
	}()
	return func(bool) (*current.Result, error) {
		<-done
		return result, err
	}
}

// findIPAM looks for the IPAM plugin's file, "" where the network has none.
func (o *operation) findIPAM() (path string, err error) {
	if o.config.IPAM.Type == "" {
		return "", nil
	}
	return plugins().FindInPath(o.config.IPAM.Type, filepath.SplitList(o.args.Path))
}

// ipamArgs is what the IPAM plugin gets in its environment. It is about the NIC,
// of which the call may have several; this process's is about the call.
func (o *operation) ipamArgs(command string) *invoke.Args {
	return &invoke.Args{
		Command: command, ContainerID: o.args.ContainerID, NetNS: o.args.Netns, PluginArgsStr: o.args.Args,
		IfName: o.args.IfName, Path: o.args.Path,
	}
}

// execIPAMAdd runs the IPAM plugin's ADD.
func (o *operation) execIPAMAdd() (*current.Result, error) {
	path, err := o.findIPAM()
	if err != nil {
		return nil, err
	}
	var answer types.Result
	err = o.adds.ask(o.ctx, o.config.IPAM.Type, func(ctx context.Context) (err error) {
		o.asked = true
		answer, err = invoke.ExecPluginWithResult(ctx, path, o.config.raw, o.ipamArgs("ADD"), plugins())
		return err
	})
	if err != nil {
		return nil, err
	}
	result, err := converted(answer)
	if err != nil {
		return nil, fmt.Errorf("read the IPAM plugin's answer: %w", err)
	}
	if len(result.IPs) == 0 {
		return nil, errNoAddress
	}
	for _, ip := range result.IPs {
		if p := netdev.Prefix(&ip.Address); !p.IsValid() || p.Addr().IsUnspecified() || p.Addr().IsMulticast() {
			return nil, fmt.Errorf("the IPAM plugin returned %q, which is no address of an interface", ip.Address.String())
		}
	}
	for _, route := range result.Routes {
		if !netdev.Prefix(&route.Dst).IsValid() {
			return nil, fmt.Errorf("the IPAM plugin returned a route to %q, which is no network", route.Dst.String())
		}
	}
	return result, nil
}

// execIPAMDel frees the address of the running command's attachment.
func (o *operation) execIPAMDel(ctx context.Context) error {
	path, err := o.findIPAM()
	if path == "" || err != nil {
		return err
	}
	if err := o.checkIPAMType(); err != nil {
		return err
	}
	return invoke.ExecPluginWithoutResult(ctx, path, o.config.raw, o.ipamArgs("DEL"), plugins())
}

// freeAddress frees the address of a record's attachment, with the
// configuration and arguments of the ADD: the running command may be about
// another attachment.
func (o *operation) freeAddress(ctx context.Context, r *attachment.Record) error {
	ipam, err := ipamOf(r)
	if ipam == "" || err != nil {
		return err
	}
	path, err := plugins().FindInPath(ipam, filepath.SplitList(o.args.Path))
	if err != nil {
		return err
	}
	args := &invoke.Args{
		Command: "DEL", ContainerID: r.ContainerID, NetNS: r.Netns.Path, PluginArgsStr: r.Args,
		IfName: r.IfName, Path: o.args.Path,
	}
	return o.frees.ask(ctx, ipam, func(ctx context.Context) error {
		return invoke.ExecPluginWithoutResult(ctx, path, r.Config, args, plugins())
	})
}

// ipamOf is the IPAM plugin that gave a record's attachment its address, "" for
// none.
func ipamOf(r *attachment.Record) (string, error) {
	if len(r.Config) == 0 {
		return "", nil
	}
	var c types.PluginConf
	if err := json.Unmarshal(r.Config, &c); err != nil {
		return "", fmt.Errorf("read the record's configuration: %w", err)
	}
	return c.IPAM.Type, nil
}

// freeFailed frees what an IPAM ADD may have taken before it failed, such as
// one address of two. A plugin that fails here too, as it does when it cannot
// read its configuration, is taken to have nothing to free: the record drops
// the configuration, or no DEL could ever close it. If it was only out of reach,
// the runtime's DEL asks it again. One that was not asked has said nothing.
func (o *operation) freeFailed(r *attachment.Record) {
	err := o.freeAddress(o.ctx, r)
	if errors.Is(err, errNoTimeToAsk) {
		return
	}
	if err != nil {
		o.logFor(r).Warn("the IPAM plugin's DEL failed, as its ADD did", "err", err)
	}
	r.Config = nil
}
