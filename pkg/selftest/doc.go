// Package selftest tries the CNI plugin on a node's own NICs, as a container
// runtime would: what the plugin does with hardware that no test of this project
// has is seen by those who have it.
//
// It knows the plugin by its program and by CNI, and not by how it works. The
// pods are network namespaces of this process, with nothing that would outlive
// it: whatever ends a test half-way, the kernel takes the NICs back to the host,
// where the journal says what they were.
package selftest
