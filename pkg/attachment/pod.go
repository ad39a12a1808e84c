package attachment

import (
	"context"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// OpenPod opens the namespace of a record's pod, nil if it is gone: also when its
// path leads to another namespace by now. It takes SYS_ADMIN.
func (r *Record) OpenPod() (*netdev.Namespace, error) { return openPod(r) }

// HasProcesses tells whether processes run in the namespace of a record's pod, or
// another file keeps it, though it may have lost its own. Without cookies that
// cannot be told.
func (r *Record) HasProcesses(ctx context.Context) bool {
	if r.Netns.Cookie == 0 {
		return false
	}
	for ns, err := range netdev.AllNamespaces(ctx, false) {
		if err == nil && r.Netns.is(ns) {
			return true
		}
	}
	return false
}
