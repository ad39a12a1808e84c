package cni

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
)

// returnTimeout bounds the way back of a NIC. The runtime gives a whole DEL some
// minutes, or one.
const returnTimeout = 15 * time.Second

// release ends an attachment: NIC to the host, address to the IPAM plugin,
// record closed. Each part is tried whatever became of the others, and each can
// be repeated; the record stays until all are done. The caller holds the NIC's
// lock.
func (o *operation) release(r *attachment.Record) error {
	var nicErr, ipamErr error
	steps := []func(){
		func() { nicErr = o.returnNIC(r) },
		func() { ipamErr = o.freeAddress(o.ctx, r) },
	}
	if ipam, _ := ipamOf(r); ipam == ipamInPod {
		slices.Reverse(steps) // it sends its release through the interface
	}
	for _, step := range steps {
		step()
	}
	var errs []error
	if nicErr != nil {
		errs = append(errs, nicErr)
	}
	if ipamErr != nil {
		errs = append(errs, fail(codeIPAM, r.Host.Name, "free its address", ipamErr, "see the IPAM plugin's own documentation and log"))
	}
	if nicErr == nil && ipamErr != nil { // the next pod may have the NIC
		r.Step = attachment.Returned
		if err := o.journal.Update(r); err != nil {
			errs = append(errs, fail(codeJournal, r.Host.Name, "write down that it is back", err, "is the state folder writable?"))
		}
	}
	if err := o.removeDeviceInfo(r); err != nil {
		o.logFor(r).Warn("could not remove the device information file", "file", r.DeviceInfoFile, "err", err)
	}
	if len(errs) > 0 {
		return joined(errs)
	}
	if err := o.journal.Remove(r.ID()); err != nil {
		return fail(codeJournal, r.Host.Name, "close its record; the NIC is back on the host", err, "is the state folder writable?")
	}
	return nil
}

// releaseAlone is release for whoever has no lock on the NIC.
func (o *operation) releaseAlone(r *attachment.Record) error {
	lock, err := o.lockNICOf(r)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	return o.release(r)
}

// returnNIC gives the NIC back, unless it is back already or another
// attachment has it by now.
func (o *operation) returnNIC(r *attachment.Record) error {
	others, err := o.records(r.ID())
	if err != nil {
		return err
	}
	other := o.holderIn(others, func(other *attachment.Record) bool { return other.NIC.Netdev.Same(r.NIC.Netdev) })
	if other != nil {
		o.logFor(r).Warn("another attachment has the NIC now; leaving it there", "holder", other.Holder())
		return nil
	}
	if r.Step == attachment.Returned {
		if err := o.way(r).Finish(o.ctx, r); err != nil {
			o.logFor(r).Warn("not all of the NIC's settings were restored", "err", err)
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(o.ctx, returnTimeout)
	defer cancel()
	err = o.way(r).Return(ctx, r)
	if err != nil && o.isPulled(r) { // no namespace can have it
		o.logFor(r).Warn("the NIC was pulled out of the node", "address", r.NIC.Address)
		return nil
	}
	if err != nil {
		return fail(codeReturn, r.Host.Name, "give it back to the host", err,
			"DEL or GC will try again; `ip link` and `rdma dev` on the host show what is missing")
	}
	return nil
}

// isPulled tells whether the node has lost the hardware of a record's NIC.
// When it is plugged in again it is on the host, as the driver makes it.
func (o *operation) isPulled(r *attachment.Record) bool {
	return r.NIC.Bus != "" && !o.Node.HasFunction(r.NIC.Bus, r.NIC.Address)
}

// joined makes one CNI error of several, with the code of the first.
func joined(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	var first *types.Error
	errors.As(errs[0], &first)
	return types.NewError(first.Code, errors.Join(errs...).Error(), "")
}

// read reads a record. A file that is not a record is set aside and reported;
// it stops nothing.
func (o *operation) read(id attachment.ID) (*attachment.Record, error) {
	r, bad, err := o.journal.Read(id)
	if err != nil {
		return nil, fail(codeJournal, "", "", err, "try again")
	}
	for _, b := range bad {
		o.setAside(b)
	}
	return r, nil
}

// ofCall lists the records of the call.
func (o *operation) ofCall() ([]*attachment.Record, error) {
	records, bad, err := o.journal.OfContainer(o.args.ContainerID)
	if err != nil {
		return nil, fail(codeJournal, "", "", err, "try again")
	}
	for _, b := range bad {
		o.setAside(b)
	}
	return slices.DeleteFunc(records, func(r *attachment.Record) bool { return r.CallID() != o.id() }), nil
}

// records lists the journal without the attachments in but, setting bad files
// aside.
func (o *operation) records(but ...attachment.ID) ([]*attachment.Record, error) {
	records, bad, err := o.journal.List(but...)
	if err != nil {
		return nil, fail(codeJournal, "", "list the journal", err, "is the state folder readable?")
	}
	for _, b := range bad {
		o.setAside(b)
	}
	return records, nil
}

func (o *operation) setAside(bad *attachment.BadFile) {
	if bad.Unread {
		o.Log.Warn("a journal file cannot be read at the moment; going on without it", "file", bad.Path, "err", bad.Err)
		return
	}
	reason := bad.Err
	if err := o.journal.SetAside(bad); err != nil {
		o.Log.Error("a bad journal file could not be set aside", "file", bad.Path, "err", err)
		return
	}
	o.Log.Warn("a bad journal file was set aside", "file", bad.Path, "err", reason)
}

// holder finds the record of this boot that a NIC belongs to, nil if none.
func (o *operation) holder(is func(*attachment.Record) bool) (*attachment.Record, error) {
	records, err := o.records()
	return o.holderIn(records, is), err
}

// holderIn is holder among records that are there already.
func (o *operation) holderIn(records []*attachment.Record, is func(*attachment.Record) bool) *attachment.Record {
	for _, r := range records {
		if o.journal.Current(r) && r.Step != attachment.Returned && is(r) {
			return r
		}
	}
	return nil
}
