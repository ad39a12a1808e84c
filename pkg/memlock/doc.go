// Package memlock gives containers with RDMA devices, and no others, a higher
// RLIMIT_MEMLOCK, as a plugin of the container runtime's NRI.
//
// It knows the device nodes and CDI devices of a container that is about to be
// made. It must not know the node's NICs, nor who handed the devices out: what
// keeps a container waiting is not looked at.
package memlock
