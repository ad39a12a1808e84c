package attachment

import "github.com/roce-k8s/roce-k8s/pkg/netdev"

// OpenPod opens the namespace of a record's pod, nil if it is gone: also when its
// path leads to another namespace by now. It takes SYS_ADMIN.
func (r *Record) OpenPod() (*netdev.Namespace, error) { return openPod(r) }
