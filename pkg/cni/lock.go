package cni

import (
	"maps"
	"slices"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
)

// lockContainer keeps other operations away from what a container has.
func (o *operation) lockContainer(id string) (*attachment.Lock, error) {
	lock, err := o.journal.LockContainer(o.ctx, id, o.who())
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

// nicLocks are the locks of several NICs, by their keys. Two ports of one function
// share one.
type nicLocks struct {
	names map[string]string
	locks []*attachment.Lock
}

// want adds a NIC to those that are to be locked.
func (l *nicLocks) want(key, name string) {
	if l.names == nil {
		l.names = map[string]string{}
	}
	l.names[key] = name
}

// has tells whether all that another one wants is locked, and nothing else.
func (l nicLocks) has(wanted nicLocks) bool {
	return maps.Equal(l.names, wanted.names)
}

// lockNICs locks all that is wanted, in the order of the keys: two calls for some
// of the same NICs would wait for each other otherwise.
func (o *operation) lockNICs(wanted nicLocks) (nicLocks, error) {
	for _, key := range slices.Sorted(maps.Keys(wanted.names)) {
		lock, err := o.lockNIC(key, wanted.names[key])
		if err != nil {
			wanted.unlock()
			return nicLocks{}, err
		}
		wanted.locks = append(wanted.locks, lock)
	}
	return wanted, nil
}

func (l nicLocks) unlock() {
	for _, lock := range l.locks {
		lock.Unlock()
	}
}

// id is what the runtime knows the call by, or the NIC of forNIC in the journal.
func (o *operation) id() attachment.ID {
	return attachment.ID{ContainerID: o.args.ContainerID, IfName: o.args.IfName}
}
