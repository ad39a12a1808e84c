// Package selftest tries the CNI plugin on a node's own NICs, as a container
// runtime would: those who have hardware that this project's tests do not have
// see what the plugin does with it.
//
// It knows the plugin by its program and by CNI, and not by how it works. The
// pods are network namespaces that nothing but this process and the commands it
// runs keeps alive: whatever ends a test half-way, the kernel takes the
// hardware back to the host, where the journal says what state it had.
package selftest
