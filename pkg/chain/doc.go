// Package chain keeps the CNI plugin at the end of the list of plugins that a
// node's own network runs for every pod, so that a pod's claims are attached where
// its network is made, and nothing runs beside the runtime.
//
// It knows the folder of CNI configurations, how runtimes choose from it, and where
// Multus finds what it delegates to. It must not know what a claim is, or a NIC.
package chain
