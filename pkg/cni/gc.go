package cni

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
)

// gc releases every attachment of this network that the runtime no longer
// knows, then has the IPAM plugin do the same. It goes on after an error
// and reports them all.
func (p *Plugin) gc(args *skel.CmdArgs) error {
	c, err := readConfig(args.StdinData)
	if err != nil {
		return err
	}
	if !c.listsAttachments() {
		return invalid("GC without cni.dev/valid-attachments", "the runtime must say which attachments are valid; nothing was changed")
	}
	o, err := p.begin(args, c)
	if err != nil {
		return err
	}
	defer o.end()
	records, err := o.records()
	if err != nil {
		return err
	}
	valid := map[types.GCAttachment]bool{}
	for _, a := range c.ValidAttachments {
		valid[a] = true
	}
	known := slices.Clone(c.ValidAttachments) // by the IPAM plugin
	var errs []error
	for _, r := range records {
		call := r.CallID()
		if r.Network != c.Name {
			continue
		}
		if valid[types.GCAttachment{ContainerID: call.ContainerID, IfName: call.IfName}] {
			if r.IfName != call.IfName {
				known = append(known, types.GCAttachment{ContainerID: r.ContainerID, IfName: r.IfName})
			}
			continue
		}
		if err := o.collect(r); err != nil {
			errs = append(errs, err)
		}
	}
	o.settleOwed()
	unwritten, err := o.journal.Unwritten()
	if err != nil {
		errs = append(errs, fail(codeJournal, "", "list the journal", err, "is the state folder readable?"))
	}
	for _, id := range unwritten {
		if err := o.clear(id); err != nil {
			errs = append(errs, err)
		}
	}
	if c.IPAM.Type != "" && o.checkIPAMType() == nil { // or it has allocated nothing
		if err := o.collectAddresses(known); err != nil && !lacksCommand(err, "GC") {
			errs = append(errs, fail(codeIPAM, "", "have "+c.IPAM.Type+" collect its garbage", err, "see the IPAM plugin's own documentation and log"))
		}
	}
	if len(errs) > 0 {
		return joined(errs)
	}
	return nil
}

// collectAddresses has the IPAM plugin do the same. The runtime lists a call's
// interface; of each of the other NICs of that call the plugin was asked under its
// own name, which only we know to be valid.
func (o *operation) collectAddresses(valid []types.GCAttachment) error {
	config, err := o.config.with(validAttachments, valid)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(o.ctx, ipamTimeout)
	defer cancel()
	return invoke.DelegateGC(ctx, o.config.IPAM.Type, config, plugins())
}

// validAttachments is the key of a GC's list.
const validAttachments = "cni.dev/valid-attachments"

// listsAttachments tells whether the runtime said which attachments are valid,
// as it must; otherwise every NIC would leave its pod. null is an empty list:
// libcni writes it like that.
// Source: CNI specification 1.1.0, section 2, GC.
func (c *netConf) listsAttachments() bool {
	var given map[string]json.RawMessage
	if err := json.Unmarshal(c.raw, &given); err != nil {
		return false
	}
	_, ok := given[validAttachments]
	return ok
}

// collect releases one record, unless a DEL was faster.
func (o *operation) collect(r *attachment.Record) error {
	lock, err := o.lockContainer(r.ContainerID)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	r, err = o.read(r.ID())
	if r == nil || err != nil {
		return err
	}
	o.logFor(r).Warn("releasing an attachment that the runtime does not know", "container", r.ContainerID)
	return o.releaseAlone(r)
}

// clear removes what a crash left of a record that was never written, unless
// its ADD is still at work.
func (o *operation) clear(id attachment.ID) error {
	lock, err := o.lockContainer(id.ContainerID)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if r, err := o.read(id); r != nil || err != nil {
		return err
	}
	if err := o.journal.Clear(id); err != nil {
		return fail(codeJournal, id.IfName, "", err, "is the state folder writable?")
	}
	return nil
}
