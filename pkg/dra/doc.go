// Package dra is the DRA driver: it tells Kubernetes of the node's RDMA NICs in
// ResourceSlices, and prepares what is allocated of them for a pod.
//
// It allocates and moves nothing. What a pod is to get it writes down by
// pkg/claim, for the CNI plugin, which has the NICs' journal; what became of it
// it reads there. It must not know the CNI plugin, nor how a network's keys are
// checked.
package dra
