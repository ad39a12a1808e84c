// Package inventory knows which RDMA devices the node has and who holds them,
// including those in pods, of which the host's own sysfs shows little or
// nothing.
//
// It puts together what pkg/rdma reads, what the journal of pkg/attachment
// says, and what it remembers of earlier looks. It must not know who asks:
// no resources, no units, no configuration, no kubelet.
package inventory
