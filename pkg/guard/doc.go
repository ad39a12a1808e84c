// Package guard knows what the host needs a NIC for: its routes, its addresses,
// what is on top of it, who uses its RDMA device. Such a NIC is not for pods.
//
// It only looks, and must not know who asks: no CNI protocol, no journal, no
// configuration.
package guard
