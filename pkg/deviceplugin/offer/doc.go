// Package offer decides: which devices a resource's selectors choose, whether
// a device is healthy, what units there are, and what a container with some of
// them gets.
//
// It knows a configuration, what the inventory saw, and the kubelet's types
// for an answer. It must not know the node that it was seen on, the journal,
// the log, or who is told.
package offer
