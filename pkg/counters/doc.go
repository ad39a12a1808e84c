// Package counters tells Prometheus what the RDMA devices of the node have
// counted, by rail and by the pod that has the NIC.
//
// It knows where the counters of a NIC are that is in a pod, how they are called
// and in which units they are, and how to go on when a driver hangs. It must not
// know how it comes out who has a NIC: no kubelet, no units, no configuration.
package counters
