// Package cni is the CNI plugin roce-host-device: it moves a netdev and its
// RDMA device into a pod's network namespace, has an IPAM plugin give it an
// address, and takes all of it back.
//
// It knows the CNI protocol and what is moved. It must not know the kubelet or
// the device plugin; what those need to know of a NIC in a pod they read from
// package attachment.
//
// Every change to the node is written to the journal before it is made, and
// attachment.Returner is the one undo of all of them: a failed ADD, a
// DEL, a GC and the repair of what a crash left go the same way.
package cni
