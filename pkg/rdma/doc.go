// Package rdma knows what RDMA hardware the node has: RDMA devices with their
// ports, netdevs, bus address, NUMA node and character devices, the network
// namespace mode of the RDMA subsystem, and how one RDMA device is moved to
// another namespace.
//
// It must not know who uses a device: no pods, no journal, no Kubernetes. It
// reads the sysfs tree and the device folder below roots that its caller
// names, so that it can be pointed at a recorded tree; only finding the device
// of one netdev goes through rdmamap, which reads the live /sys. It speaks
// NETLINK_RDMA where sysfs has no answer. No other package does either, and this
// one writes to sysfs once: see Appear.
package rdma
