package counters

import "github.com/roce-k8s/roce-k8s/pkg/inventory"

// A NIC is an RDMA device with what its counters are to be found by.
type NIC struct {
	inventory.Device
	// Rail is its number, "" for none.
	Rail string
	// Pod is who has it, zero if nobody has or that is not known.
	Pod Holder
}

// A Holder is a container that has a NIC for itself. Container and Resource are
// "" where only the pod is known.
type Holder struct{ Namespace, Pod, Container, Resource string }
