package cni

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// status tells whether an ADD could succeed now. A NIC that a pod holds is not
// a failure: the network works, it is in use.
func (p *Plugin) status(args *skel.CmdArgs) error {
	c, err := parseConfig(args.StdinData)
	if err != nil {
		return err
	}
	if c.Claims {
		return p.statusClaims()
	}
	o, err := p.begin(args, c)
	if err != nil {
		return err
	}
	defer o.end()
	if o.lawless != nil {
		return fail(codeNotAvailable, "", "", o.lawless, "only the node's administrator can change that")
	}
	if err := o.statusNICs(); err != nil {
		return err
	}
	if err := o.statusJournal(); err != nil {
		return err
	}
	if err := o.statusRDMA(); err != nil {
		return err
	}
	return o.statusIPAM()
}

func (o *operation) statusNICs() error {
	if o.config.Devices == nil && o.config.namesNoNIC() && o.config.Capabilities["deviceID"] {
		return nil // the device plugin chooses one for each pod; STATUS comes without
	}
	nics, err := o.nics()
	if refusal := (*types.Error)(nil); errors.As(err, &refusal) {
		return types.NewError(codeNotAvailable, refusal.Msg, refusal.Details)
	}
	if err != nil {
		return err
	}
	return first(inTurn(nics, (*operation).statusNIC))
}

func (o *operation) statusNIC() error {
	defer func() { o.rdma.Close() }()
	sel, err := o.config.selector()
	if err != nil {
		return err
	}
	link, err := sel.find(o.ctx, o.host, o.Node)
	if err != nil {
		return fail(codeNotAvailable, "", "find the NIC by "+sel.String(), err, "name one NIC")
	}
	refusal := fail(codeNotAvailable, "", fmt.Sprintf("no NIC with %s on this node", sel), nil, "compare with `ip link` on the host")
	if link != nil {
		if refusal, err = o.refusalOf(link); refusal == nil {
			return err
		}
	}
	// A NIC that is on its way to a pod or back can be without its RDMA device.
	r, err := o.holder(func(r *attachment.Record) bool { return sel.isOf(r) })
	switch {
	case err != nil:
		return err
	case r == nil:
		return refusal
	case o.isPulled(r):
		return fail(codeLimited, r.Host.Name, "its hardware is gone; held by "+r.Holder(), nil, "look for "+r.NIC.Address+" in `lspci` and the kernel log")
	}
	return nil
}

// refusalOf is the error with which an ADD would refuse this NIC on the host,
// nil if it would not.
func (o *operation) refusalOf(link netlink.Link) (*types.Error, error) {
	if why := netdev.Unfit(link); why != "" {
		return fail(codeNotAvailable, link.Attrs().Name, why, nil, "name another link"), nil
	}
	records, err := o.records()
	if err == nil {
		_, err = o.describe(target{link: link, records: records})
	}
	var refusal *types.Error
	if errors.As(err, &refusal) {
		return types.NewError(codeNotAvailable, refusal.Msg, refusal.Details), nil
	}
	return nil, err
}

// statusJournal tells whether the state folder is there for ADD to write to, or
// could be made. It makes nothing, because runtimes ask every few seconds.
func (o *operation) statusJournal() error {
	dir := o.journal.RecordsDir()
	for {
		err := unix.Access(dir, unix.W_OK|unix.X_OK)
		parent := filepath.Dir(dir)
		if errors.Is(err, fs.ErrNotExist) && parent != dir {
			dir = parent
			continue
		}
		if err != nil {
			return fail(codeNotAvailable, "", "use the state folder "+o.policy.StateDir, &fs.PathError{Op: "write to", Path: dir, Err: err}, "mount it, or free space on it")
		}
		return nil
	}
}

func (o *operation) statusRDMA() error {
	if o.config.RDMA != rdmaRequired && o.config.RDMAMode == "" {
		return nil
	}
	_, mode, err := o.rdmaMode()
	switch {
	case err != nil:
		return fail(codeNotAvailable, "", "read the RDMA mode", err, "load the NIC's RDMA driver")
	case o.config.RDMAMode != "" && o.config.RDMAMode != mode:
		return fail(codeNotAvailable, "", fmt.Sprintf("the configuration wants RDMA mode %s, but the node is in %s mode", o.config.RDMAMode, mode), nil,
			fmt.Sprintf("boot the node with `options ib_core netns_mode=%d`", o.config.RDMAMode.Parameter()))
	}
	return nil
}

func (o *operation) statusIPAM() error {
	if o.config.IPAM.Type == "" {
		return nil
	}
	if err := o.checkIPAMType(); err != nil {
		return fail(codeNotAvailable, "", "", err, "only the node's administrator can change that")
	}
	ctx, cancel := context.WithTimeout(o.ctx, ipamTimeout)
	defer cancel()
	err := invoke.DelegateStatus(ctx, o.config.IPAM.Type, o.config.raw, plugins())
	if err == nil || lacksCommand(err, "STATUS") {
		return nil
	}
	return fail(codeNotAvailable, "", "ask IPAM plugin "+o.config.IPAM.Type, err, "see the IPAM plugin's own documentation and log")
}

// lacksCommand tells whether an IPAM plugin does not know a command: it is
// older than the specification that introduced it, and that says nothing about
// the plugin's state.
func lacksCommand(err error, command string) bool {
	msg := err.Error()
	return strings.Contains(msg, "unknown CNI_COMMAND: "+command) ||
		strings.Contains(msg, "does not allow "+command) ||
		strings.Contains(msg, "incompatible CNI versions")
}
