package cni

import (
	"github.com/roce-k8s/roce-k8s/pkg/attachment"
)

// lockAttachment keeps other operations away from an attachment.
func (o *operation) lockAttachment(id attachment.ID) (*attachment.Lock, error) {
	lock, err := o.journal.LockAttachment(o.ctx, id, o.who())
	if err != nil {
		return nil, fail(codeJournal, "", "", err, "is the state folder writable?")
	}
	return lock, nil
}

// lockNIC keeps other pods away from a NIC. name is for the error.
func (o *operation) lockNIC(key, name string) (*attachment.Lock, error) {
	lock, err := o.journal.LockNIC(o.ctx, key, name, o.who())
	if err != nil {
		return nil, fail(codeJournal, "", "", err, "is the state folder writable?")
	}
	return lock, nil
}

// lockNICOf is lockNIC for a record's.
func (o *operation) lockNICOf(r *attachment.Record) (*attachment.Lock, error) {
	return o.lockNIC(r.NIC.Netdev.Key(), r.Host.Name)
}

// id is the attachment that the command is about.
func (o *operation) id() attachment.ID {
	return attachment.ID{ContainerID: o.args.ContainerID, IfName: o.args.IfName}
}
